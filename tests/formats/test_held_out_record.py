"""What a run's models said of images that were held out."""

from dataclasses import replace

import numpy as np
import pytest

from clusterkit.errors import RunError
from clusterkit.formats.held_out_record import HeldOutRecord
from clusterkit.methods.calibration import Calibration


def test_it_is_what_the_run_was_calibrated_on(run):
    held, calibration = HeldOutRecord.of(run), Calibration.from_dict(run.calibration)
    assert held.classes == run.classes
    assert held.ids.tolist() == run.manifest["image_id"].iloc[calibration.rows].tolist()
    named = np.array(run.classes)[held.labels].tolist()
    assert named == run.manifest["label"].iloc[calibration.rows].tolist()
    np.testing.assert_array_equal(held.probs, calibration.probs)
    np.testing.assert_array_equal(held.predicted, calibration.predicted)


@pytest.mark.parametrize(
    "damage",
    [
        {"rows": [10**6]},
        {"rows": None},
        {"labels": [99]},
        {"probs": [[0.5]]},
        {"probs": "x"},
        {"labels": ["dots"]},
    ],
)
def test_a_damaged_record_is_one_line(run, damage):
    held = run.calibration["held_out"]
    one = {name: list(held[name])[:1] for name in ("rows", "labels", "probs")} | damage
    broken = replace(run, calibration=run.calibration | {"held_out": one})
    with pytest.raises(RunError, match="fit the run again") as error:
        HeldOutRecord.of(broken)
    assert "\n" not in str(error.value)
    with pytest.raises(RunError, match="cannot be read"):
        HeldOutRecord.of(replace(run, calibration={}))
