"""Labels of one patient only: learned from, measured on that patient, and nothing promised."""

import json

import numpy as np
import pandas as pd
import pytest

from clusterkit import Run, assign, audit, fit
from clusterkit.config import Config, override
from clusterkit.data.labelled import Labelled
from clusterkit.data.splits import choose_units
from clusterkit.encoders.registry import load_backbone
from clusterkit.methods.calibration import Calibration
from clusterkit.progress import silent
from clusterkit.training.crossfit import cross_fit, held_out_folds
from clusterkit.training.frozen import FrozenFeatures
from tests.training.features import blobs


@pytest.fixture(scope="module")
def one_patient(sample, config, tmp_path_factory):
    """Fit the sample's labels as if all were of one patient."""
    folder = tmp_path_factory.mktemp("one")
    rows = pd.read_csv(sample / "labels.csv", dtype=str).assign(group="p")
    rows.to_csv(folder / "l.csv", index=False)
    return fit(folder / "l.csv", config=override(config, data__images=str(sample)),
               run=folder / "run")  # fmt: skip


@pytest.mark.parametrize("per_class", [False, True])
def test_everything_waits_for_a_person(one_patient, sample, config, tmp_path, per_class):
    # An error of 90% could be promised by a single unit.
    asked = override(config, assign__max_error=0.9, assign__per_class=per_class)
    found = assign(Run.load(one_patient.path), sample / "unlabeled.csv", config=asked,
                   out=tmp_path / "a.csv")  # fmt: skip
    assert set(found.table["status"]) <= {"review", "duplicate", "failed"}
    waiting = found.table[found.table["status"] == "review"]
    assert sorted(waiting["order"]) == list(range(1, len(waiting) + 1))
    assert waiting["reason"].str.contains("nothing is promised: all labels are of one group").all()
    text = json.loads((tmp_path / "a.json").read_text())["promise_text"]
    assert text.startswith("Nothing is promised and nothing assigned: all labels are of one group")
    assert "optimistic" in text


def test_everything_is_assigned_where_no_promise_is_asked_for(
    one_patient, sample, config, tmp_path
):
    asked = override(config, assign__max_error="none")
    table = assign(
        one_patient, sample / "unlabeled.csv", config=asked, out=tmp_path / "a.csv"
    ).table
    assert set(table["status"]) <= {"assigned", "duplicate", "failed"}


def test_the_run_and_the_page_say_whom_the_figures_are_about(one_patient, sample, config, tmp_path):
    run = Run.load(one_patient.path)
    assert run.info.metrics["within_groups"] is True
    assert run.info.metrics["held_out_images"] == run.info.data.images
    assert run.info.data.units == 1
    assert Calibration.from_dict(run.calibration).within_groups
    assign(run, sample / "unlabeled.csv", config=config, out=tmp_path / "a.csv")
    page = audit(run, assignments=tmp_path / "a.csv", out=tmp_path / "page", config=config)
    text = page.read_text(encoding="utf-8")
    assert "other images of the same groups: optimistic, and for these groups only" in text
    assert "groups that these images come from" not in text
    assert "Promised is at most" not in text


def test_a_run_says_nothing_of_it_where_patients_are_held_out(run):
    assert run.info.metrics["within_groups"] is False
    assert "within_groups" not in run.calibration
    assert not Calibration.from_dict(run.calibration).within_groups


def test_the_command_says_so_once(sample, tmp_path, command, caplog):
    rows = pd.read_csv(sample / "labels.csv", dtype=str)
    # Two patients, of which the second has one class alone.
    second = rows["label"] == "ring"
    second &= second.cumsum() > 9
    rows.assign(group=np.where(second, "q", "p")).to_csv(tmp_path / "l.csv", index=False)
    code, out, err = command(
        "fit", tmp_path / "l.csv", "--images", sample, "--backbone", "resnet18", "--weights",
        "none", "--size", 48, "--epochs", 1, "--run", tmp_path / "run",
    )  # fmt: skip
    assert code == 0
    assert err.count("optimistic and for these groups only") == 1
    assert out.count("optimistic, and for these groups (patients) only") == 1
    assert "had not seen" not in out


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("squeezenet1_0", "none")


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))]
)
@pytest.mark.parametrize("apart", [0.0, pytest.param(0.3, marks=pytest.mark.slow)])
def test_no_certainty_of_one_patient_is_ever_promised(backbone, apart, seed):
    """However sure: 200 images of one patient, told apart at chance and without an error."""
    features, labels = blobs(200, 2 * sum(backbone.encoder.depths), apart, seed)
    names = [f"{i:016x}" for i in range(200)]
    rows = pd.DataFrame({"image": names, "image_id": names, "group": "p", "split": None,
                         "label": np.array(["a", "b"])[labels]})  # fmt: skip
    units, within = choose_units(rows)
    data = Labelled(rows, np.zeros((200, 1, 1, 3), np.uint8), labels, units, ["a", "b"],
                    within_groups=within)  # fmt: skip
    config = override(Config(), device="cpu", augment__views="allowed")
    folds, n_folds = held_out_folds(data, config, "head")
    strategy = FrozenFeatures.given(data, features[None], None, folds, config, backbone)
    appearance = np.random.default_rng(0).random((200, 27))
    found = cross_fit(data, appearance, strategy, folds, config, silent).calibration
    assert n_folds == 5
    assert sorted(found.rows) == list(range(200))
    right = found.correct.mean()
    assert (right > 0.99) if apart else (0.3 < right < 0.7)
    found = Calibration.from_dict(found.to_dict())
    for error in (0.01, 0.05, 0.5, 0.99):
        promises = [found.promise(error, 0.9), *found.class_promises(error, 0.9)]
        assert {p.threshold for p in promises} == {None}
        assert {(p.available, p.unit) for p in promises} == {(0, "group")}
