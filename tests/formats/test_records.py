"""Records of the contract: run.json and assignments.json, old ones, newer ones, damaged ones."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from clusterkit import Run, assign
from clusterkit.data.appearance import measure_appearance
from clusterkit.data.imageio.read import to_array
from clusterkit.errors import RunError
from clusterkit.formats.assignment_record import AssignmentRecord
from clusterkit.formats.run_info import FORMAT, RunInfo


def saved(folder):
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


@pytest.fixture
def copied(run, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(run.path, folder, ignore=shutil.ignore_patterns("audit", "*.partial"))
    return folder


@pytest.fixture
def old(run, copied):
    """The run as clusterkit wrote it in format 3: appearance is kept, no model, no precision."""
    info = saved(copied)
    del info["precision"], info["config"]["model"]["precision"], info["config"]["train"]["cache_mb"]
    (copied / "run.json").write_text(json.dumps(info | {"format": 3}))
    how = run.config.image
    images = np.stack([to_array(run.open_image(name), how.size, how.resize)
                       for name in run.manifest["image"]])  # fmt: skip
    tensors = {k: v for k, v in run.gallery.items() if not k.startswith("novelty.")}
    tensors["appearance"] = torch.from_numpy(measure_appearance(images))
    save_file(tensors, copied / "gallery.safetensors")
    return copied


@pytest.mark.slow
def test_a_run_of_format_3_gives_the_same_csv(old, run, sample, config, tmp_path):
    assert not any(name.startswith("novelty") for name in load_file(old / "gallery.safetensors"))
    loaded = Run.load(old)
    assert loaded.info.format == 3
    assert loaded.networks.precision == "float32"
    assert loaded.config.model.precision == "auto"
    tables = [assign(r, sample / "unlabeled.csv", config=config, out=tmp_path / f"{i}.csv")
              for i, r in enumerate((loaded, run))]  # fmt: skip
    first, second = (t.path.read_bytes() for t in tables)
    assert run.networks.precision == "float32"
    assert first == second


def test_a_run_of_format_4_gives_the_same_csv(copied, run, sample, config, tmp_path):
    """It says the name of a network of torchvision, and nothing of how it is fed."""
    info = saved(copied)
    del info["network"], info["config"]["image"]["interpolation"]
    (copied / "run.json").write_text(json.dumps(info | {"format": 4}))
    tables = [assign(r, sample / "unlabeled.csv", config=config, out=tmp_path / f"{i}.csv")
              for i, r in enumerate((Run.load(copied), run))]  # fmt: skip
    first, second = (t.path.read_bytes() for t in tables)
    assert first == second


@pytest.mark.parametrize(
    ("version", "what"),
    [(FORMAT + 1, "upgrade clusterkit"), (99, "upgrade clusterkit"), (2, "fit the run again"),
     (0, "fit the run again"), (None, "fit the run again"), ("4", "fit the run again"),
     (4.0, "fit the run again"), (True, "fit the run again"), ([4], "fit the run again"),
     ({"x": "y" * 500}, "fit the run again")],
)  # fmt: skip
def test_other_formats_are_refused_in_one_line(command, copied, sample, version, what):
    (copied / "run.json").write_text(json.dumps(saved(copied) | {"format": version}))
    code, _, err = command("assign", sample / "unlabeled.csv", "--run", copied)
    assert (code, err.count("\n")) == (1, 1)
    assert f"this clusterkit reads {FORMAT}; {what}" in err
    assert len(err) < 400


def test_a_format_that_is_missing_is_refused(copied):
    info = saved(copied)
    del info["format"]
    (copied / "run.json").write_text(json.dumps(info))
    with pytest.raises(RunError, match="run format None, this clusterkit reads"):
        Run.load(copied)


def test_run_json_is_written_as_it_was_read(run, copied):
    values = saved(copied)
    info = Run.load(copied).info
    assert info.to_dict() == values
    assert list(info.to_dict()) == list(values)
    assert list(info["data"]) == list(values["data"])
    # As users' notebooks have it.
    assert run.info["metrics"] == values["metrics"]
    assert run.info["data"]["units"] == run.info.data.units
    with pytest.raises(KeyError):
        run.info["unknown"]


def test_keys_of_a_newer_version_are_kept(copied):
    values = saved(copied) | {"taste": "sweet"}
    values["data"]["weather"] = ["rain"]
    (copied / "run.json").write_text(json.dumps(values))
    assert Run.load(copied).info.to_dict() == values


@pytest.mark.parametrize(
    "damage",
    [{"classes": "abc"}, {"classes": [1, 2]}, {"classes": None}, {"size": "48"}, {"size": True},
     {"data": []}, {"data": {}}, {"data": {"root": 3}}, {"seed": 1.5}, {"metrics": [1]},
     {"versions": {"torch": 2}}, {"decisions": {"pool": "many"}}, {"id": ["x" * 1000]}],
)  # fmt: skip
def test_a_damaged_run_json_is_one_line(command, copied, sample, damage):
    (copied / "run.json").write_text(json.dumps(saved(copied) | damage))
    code, _, err = command("assign", sample / "unlabeled.csv", "--run", copied)
    assert (code, err.count("\n")) == (1, 1)
    assert "damaged" in err
    assert "fit it again" in err
    assert next(iter(damage)) in err
    assert len(err) < 400


@pytest.mark.parametrize("key", ["classes", "data", "config", "precision", "backbone", "id"])
def test_a_key_that_is_missing_is_named(copied, key):
    values = saved(copied)
    del values[key]
    with pytest.raises(RunError, match=f"damaged .*'{key}'.*fit it again"):
        RunInfo.of_run(values, "run")


def test_assignments_json_is_the_record(assignment):
    text = assignment.path.with_suffix(".json").read_text(encoding="utf-8")
    values = json.loads(text)
    assert assignment.summary == values
    assert list(assignment.summary) == [
        "images", "status", "failures", "assigned_by_class", "clusters", "near_duplicates",
        "class_shares", "promise", "promise_text", "confidence", "label_sets", "untestable_classes",
        "remarks", "run", "input_root", "device", "versions", "cluster_summaries", "fingerprint",
        "resumed_batches", "seconds", "images_per_second", "left_out", "not_read", "link_roots",
        "transduction", "ladder", "certify_answers", "table", "settings",
    ]  # fmt: skip
    assert list(values["promise"]) == [
        "max_error", "level", "threshold", "bound", "accepted", "errors", "units", "available",
        "needed", "more", "unit",
    ]  # fmt: skip
    assert AssignmentRecord.from_dict(values) == assignment.record
    assert json.dumps(AssignmentRecord.fitting(values).to_dict()) == json.dumps(values)


def test_a_promise_for_each_class_is_kept_as_it_was(run, sample, config, tmp_path):
    from clusterkit.config import override

    each = override(config, assign__per_class=True)
    result = assign(run, sample / "unlabeled.csv", config=each, out=tmp_path / "a.csv")
    promise = result.summary["promise"]
    assert list(promise) == ["max_error", "level", "unit", "per_class"]
    assert list(promise["per_class"]) == run.classes
    assert all("per_class" not in one for one in promise["per_class"].values())
    for label, one in promise["per_class"].items():
        assert result.record.threshold(label) == one["threshold"]


@pytest.mark.parametrize("value", [None, "x", 3, [], {}, float("nan"), 10**400, True, {"a": []}])
def test_an_edited_assignments_json_says_what_fits(assignment, value):
    whole = assignment.summary
    for key in whole:
        record = AssignmentRecord.fitting(whole | {key: value})
        assert record.threshold("ring") is None or 0 <= record.threshold("ring") <= 1
        assert record.clusters is None or type(record.clusters) is int
        others = [k for k in whole if k not in (key, "promise")]
        assert all(record[k] == whole[k] for k in others)
    assert AssignmentRecord.fitting({"promise": {"per_class": {"a": 1}}}).threshold("a") is None


def test_weights_of_another_network_are_one_line(copied):
    weights = load_file(copied / "weights.safetensors")
    name = next(iter(weights))
    save_file(weights | {f"{name}.more": weights[name].clone()}, copied / "weights.safetensors")
    with pytest.raises(RunError, match=r"is damaged.*more") as caught:
        Run.load(copied)
    assert "\n" not in str(caught.value)
