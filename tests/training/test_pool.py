"""Which unlabelled images join the pool."""

import pandas as pd
import pytest

from clusterkit import fit
from clusterkit.config import override


@pytest.mark.slow
def test_unlabelled_images_of_labelled_patients_do_not_teach(sample, config, tmp_path):
    """A held-out patient with own images in the pool would be easier than a new one."""
    table = pd.read_csv(sample / "labels.csv")
    groups = sorted(table["group"].unique())
    table.loc[table.index[::3], "label"] = ""
    fresh = table[table["group"] == groups[0]].index
    table.loc[fresh, "label"] = ""
    (tmp_path / "l.csv").write_text(table.to_csv(index=False))
    run = fit(tmp_path / "l.csv", config=override(config, data__images=str(sample)),
              run=tmp_path / "run")  # fmt: skip
    assert run.info["decisions"]["pool"] == len(fresh)
    assert run.info["data"]["unlabelled"] > len(fresh)
