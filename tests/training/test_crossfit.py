"""Folds: whole patients, and classes that cannot be held out."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit import fit
from clusterkit.config import Config, override
from clusterkit.data.labelled import Labelled
from clusterkit.data.splits import choose_units
from clusterkit.errors import DataError
from clusterkit.training.crossfit import held_out_folds


def test_no_patient_is_on_both_sides_of_a_fold():
    """Of 60 draws, nearly all have folds; patients are torn apart only where that is said."""
    measured: list[bool] = []

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), min_size=8, max_size=40))
    def check(images):
        groups, labels = np.array(images).T
        labels = np.unique(labels, return_inverse=True)[1]
        classes = [f"class {c}" for c in range(labels.max() + 1)]
        rows = pd.DataFrame({"image": [f"{i}.png" for i in range(len(images))], "split": None,
                             "image_id": [f"{i:016x}" for i in range(len(images))],
                             "group": [f"patient {g}" for g in groups],
                             "label": [classes[c] for c in labels]})  # fmt: skip
        units, within = choose_units(rows)
        pixels = np.zeros((len(rows), 1, 1, 3), np.uint8)
        data = Labelled(rows, pixels, labels, units, classes, within_groups=within)
        try:
            folds, n_folds = held_out_folds(data, Config(), "head")
        except DataError as error:
            reason = str(error)
        else:
            reason = ""
        measured.append(not reason)
        if reason:
            assert "no image can be held out" in reason
            assert not within
            assert (np.bincount(labels) < 2).any()
            return
        assert n_folds == folds.max() + 1 >= 1
        for fold in range(n_folds):
            test = folds == fold
            assert test.any()
            assert within or not set(groups[test]) & set(groups[~test])
            assert set(labels[test]) <= set(labels[~test])

    check()
    assert len(measured) >= 60
    assert sum(measured) >= 40


@pytest.mark.slow
def test_a_class_with_one_image_trains_and_is_never_held_out(sample, config, tmp_path, caplog):
    rows = pd.read_csv(sample / "labels.csv")
    rows.loc[0, "label"] = "lonely"
    rows["image"] = rows["image"].map(str)
    (tmp_path / "l.csv").write_text(rows.to_csv(index=False))
    run = fit(tmp_path / "l.csv", config=override(config, data__images=str(sample)),
              run=tmp_path / "run")  # fmt: skip
    assert "lonely" in run.classes
    assert "1 classes have one labelled image" in caplog.text
    assert run.classes.index("lonely") not in run.calibration["held_out"]["labels"]


def test_nothing_can_be_held_out(sample, config, tmp_path):
    rows = pd.read_csv(sample / "labels.csv").drop_duplicates("label")
    (tmp_path / "l.csv").write_text(rows.to_csv(index=False))
    with pytest.raises(DataError, match="no image can be held out"):
        fit(tmp_path / "l.csv", config=override(config, data__images=str(sample)),
            run=tmp_path / "run")  # fmt: skip
    assert not (tmp_path / "run").exists()
