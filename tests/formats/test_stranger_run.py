"""A run may be a stranger's: whatever its files hold, it is one line, or a right result."""

import copy
import json
import os
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from clusterkit import Run, assign, fit
from clusterkit.auditing.batch import read_batch
from clusterkit.errors import ClusterkitError, DataError, RunError
from clusterkit.exporting.export import export
from clusterkit.formats.run_schema import GALLERY
from clusterkit.methods.calibration import Calibration

# Trials of each kind that every run of the tests takes, of those that `slow` takes.
SAMPLE = 25

GONE = object()
VALUES = [None, "x", -1, 3.7, [], {}, float("nan"), 10**400, True, [[1]], 0, 1e308, "\0", GONE]


@pytest.fixture(scope="module")
def pooled(sample, config, tmp_path_factory):
    """A run that has all kinds of tensors."""
    folder = tmp_path_factory.mktemp("pooled") / "run"
    run = fit(sample / "labels.csv", config=config, unlabeled=sample / "unlabeled.csv", run=folder)
    assert set(run.gallery) == {n for part in GALLERY for n in part} - {"appearance"}
    return run


@pytest.fixture(scope="module")
def few(sample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("few")
    for path in sorted((sample / "unlabeled").iterdir())[:3]:
        shutil.copy(path, folder)
    return folder


class Stranger:
    """A copy of a run of which one file is another, and what becomes of using it."""

    def __init__(self, run: Path, folder: Path, few: Path) -> None:
        self.whole, self.folder, self.few = run, folder, few
        shutil.copytree(run, folder, ignore=shutil.ignore_patterns("audit", "*.partial"))
        self.right = self.table()

    def table(self) -> bytes:
        out = self.folder.parent / "o.csv"
        loaded = Run.load(self.folder)
        loaded.card().to_text()
        assign(loaded, self.few, out=out, overwrite=True)
        return out.read_bytes()

    def uses(self, file: str, write) -> str:
        """Put another file there and use the run; returns the error's line, "" where it works."""
        path, said = self.folder / file, ""
        path.unlink()
        try:
            write(path)
            self.table()
        except ClusterkitError as error:
            said = str(error)
        finally:
            path.unlink(missing_ok=True)
            shutil.copy(self.whole / file, path)
        assert "\n" not in said
        assert len(said) < 700
        return said


@pytest.fixture(scope="module")
def stranger(pooled, few, tmp_path_factory):
    return Stranger(pooled.path, tmp_path_factory.mktemp("stranger") / "run", few)


def other_tensors(tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor | None]]:
    """Yield (what, tensor) of other types, shapes and values; None: it is missing."""
    number = tensor.is_floating_point()
    plain = tensor.nan_to_num()
    types = [torch.float16, torch.bfloat16, torch.int32, torch.bool, torch.uint8]
    for kind in [kind for kind in types if kind != tensor.dtype]:
        yield str(kind), plain.to(kind)
    yield "one more axis", tensor.unsqueeze(0).clone()
    yield "missing", None
    if tensor.ndim:
        yield "cut", tensor[:-1].clone()
        yield "longer", torch.cat([tensor, tensor[:1]])
        yield "no rows", tensor[:0].clone()
        yield "a scalar", torch.zeros((), dtype=tensor.dtype)
    if tensor.ndim > 1:
        yield "flat", tensor.reshape(-1).clone()
        yield "turned", tensor.transpose(0, 1).contiguous()
    values = [float("nan"), float("inf"), -float("inf"), 1e30] if number else [
        torch.iinfo(tensor.dtype).max, torch.iinfo(tensor.dtype).min]  # fmt: skip
    for value in values:
        changed = tensor.clone()
        changed.view(-1)[-1] = value
        yield f"{value} in it", changed


# Beyond these a value is another one of the same kind.
MAY_WORK = {("folds.logits", "nan in it"), ("folds.logits", "-inf in it"), ("features", "turned")}


def tensor_trials(file: Path) -> list[tuple[str, str]]:
    return [(name, what) for name, tensor in load_file(file).items()
            for what, _ in other_tensors(tensor)]  # fmt: skip


def check_tensors(stranger: Stranger, file: str, trials: list[tuple[str, str]]) -> None:
    whole = load_file(stranger.whole / file)
    for name, what in trials:
        changed = dict(other_tensors(whole[name]))[what]
        tensors = {k: v for k, v in whole.items() if k != name}
        if changed is not None:
            tensors[name] = changed
        said = stranger.uses(file, lambda path, tensors=tensors: save_file(tensors, path))
        if said:
            assert "damaged" in said, (name, what, said)
        elif file == "gallery.safetensors":
            small = name in ("signatures", "exemplar") or (name, what) in MAY_WORK
            same = changed is not None and changed.shape == whole[name].shape
            assert small or (same and changed.dtype == whole[name].dtype), (name, what)


def drawn(trials: list, seed: int = 0) -> list:
    places = np.random.default_rng(seed).permutation(len(trials))[:SAMPLE]
    return [trials[place] for place in places]


@pytest.mark.parametrize("file", ["gallery.safetensors", "weights.safetensors"])
def test_other_tensors(stranger, file):
    check_tensors(stranger, file, drawn(tensor_trials(stranger.whole / file)))


@pytest.mark.long
@pytest.mark.parametrize("file", ["gallery.safetensors", "weights.safetensors"])
def test_every_tensor_otherwise(stranger, file):
    trials = tensor_trials(stranger.whole / file)
    assert len(trials) > 250
    check_tensors(stranger, file, trials)


@pytest.mark.parametrize("name", ["features", "novelty.precisions", "folds.weight", "projection"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_named(stranger, name, value):
    tensors = load_file(stranger.whole / "gallery.safetensors")
    tensors[name].view(-1)[0] = value
    said = stranger.uses("gallery.safetensors", lambda path: save_file(tensors, path))
    assert name in said
    assert "damaged" in said


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("file", ["calibration.json", "manifest.csv", "history.csv",
                                  "weights.safetensors", "gallery.safetensors"])  # fmt: skip
def test_a_pipe_in_the_place_of_a_file_is_damage_and_blocks_nobody(stranger, file):
    assert "not a regular file" in stranger.uses(file, os.mkfifo)


def fields_of(values: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yield the way to every field of JSON; of lists to their first item."""
    items = values.items() if isinstance(values, dict) else enumerate(values[:1])
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list) and value:
            yield from fields_of(value, (*path, key))


def changed_at(values: dict, way: tuple, value: Any) -> dict:
    values = copy.deepcopy(values)
    inner: Any = values
    for key in way[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[way[-1]]
    else:
        inner[way[-1]] = value
    return values


def json_trials(file: Path) -> list[tuple[tuple, Any]]:
    fields = sorted(set(fields_of(json.loads(file.read_text()))), key=str)
    # Each value in its turn: five of each field.
    return [(way, VALUES[(5 * number + turn) % len(VALUES)])
            for number, way in enumerate(fields) for turn in range(5)]  # fmt: skip


def check_fields(stranger: Stranger, file: str, trials: list) -> None:
    whole = json.loads((stranger.whole / file).read_text())
    for way, value in trials:
        text = json.dumps(changed_at(whole, way, value))
        stranger.uses(file, lambda path, text=text: path.write_text(text))


@pytest.mark.parametrize("file", ["run.json", "calibration.json"])
def test_other_fields(stranger, file):
    check_fields(stranger, file, drawn(json_trials(stranger.whole / file)))


@pytest.mark.long
@pytest.mark.parametrize("file", ["run.json", "calibration.json"])
def test_every_field_otherwise(stranger, file):
    trials = json_trials(stranger.whole / file)
    assert len(trials) > (500 if file == "run.json" else 120)
    check_fields(stranger, file, trials)


def use_record(run: Run, csv: Path, out: Path) -> None:
    batch = read_batch(run, csv)
    assert isinstance(batch.promise, str)
    assert batch.threshold is None or 0 <= batch.threshold <= 1
    batch.shares(run.classes)
    assert batch.certificate_page is None
    export(run, "coco", out, assignments=csv, status="all")


@pytest.mark.parametrize("part", [SAMPLE, pytest.param(None, marks=pytest.mark.long)])
def test_every_field_of_a_record_otherwise(run, assignment, tmp_path, part):
    whole = assignment.summary | {"input_root": os.path.relpath(
        assignment.path.parent / assignment.summary["input_root"], tmp_path)}  # fmt: skip
    shutil.copy(assignment.path, tmp_path / "a.csv")
    (tmp_path / "b.json").write_text(json.dumps(whole))
    trials = json_trials(tmp_path / "b.json")
    assert len(trials) > 200
    for way, value in trials if part is None else drawn(trials):
        (tmp_path / "a.json").write_text(json.dumps(changed_at(whole, way, value)))
        said = ""
        try:
            use_record(run, tmp_path / "a.csv", tmp_path / "out")
        except DataError as error:
            said = str(error)
        assert "\n" not in said


DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000


@pytest.mark.parametrize("file", ["run.json", "calibration.json"])
@pytest.mark.parametrize(
    "text",
    [DEEP, "[" * 900 + "]" * 900, '{"format": ' + "9" * 5_000 + "}", "", "[]", "\ufeff{}",
     '{"format": 5, "classes": ["' + "a" * 24_000_000 + '"]}', "NaN", "null"],
    ids=["deep", "lists", "digits", "empty", "list", "mark", "24 MB", "NaN", "null"],
)  # fmt: skip
def test_json_of_any_kind_is_one_line_and_soon(stranger, file, text):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    assert stranger.uses(file, lambda path: path.write_text(text, encoding="utf-8"))
    assert time.process_time() - began < 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@pytest.mark.parametrize("key", ["config", "classes", "network", "metrics", "reviews", "data"])
def test_deep_values_are_one_line(stranger, key):
    values = json.loads((stranger.whole / "run.json").read_text())
    inner: Any = []
    for _ in range(300):
        inner = [inner]
    for value in (inner, {"x": inner}, {"seed": inner}):
        text = json.dumps(values | {key: value})
        stranger.uses("run.json", lambda path, text=text: path.write_text(text))


@pytest.mark.parametrize("file", ["manifest.csv", "history.csv"])
@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xfe\x00", b"a,b\n1,2,3\n4,5,6,7\n", b"\0" * 100, b"image\n", b"," * 10_000_000,
     b'"' + b"x" * 1000, b"image,image_id,label,group,split,frame\n"],
)  # fmt: skip
def test_damaged_tables_are_one_line(stranger, file, data):
    began = time.process_time()
    said = stranger.uses(file, lambda path: path.write_bytes(data))
    assert time.process_time() - began < 3
    assert said or file == "history.csv"


def test_a_label_of_the_manifest_is_a_class(stranger):
    text = (stranger.whole / "manifest.csv").read_text(encoding="utf-8")
    said = stranger.uses("manifest.csv", lambda path: path.write_text(
        text.replace(",ring,", ",rinq,", 1), encoding="utf-8"))  # fmt: skip
    assert "label that is no class" in said


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, b"\x02\0\0\0\0\0\0\0{}", b"\xff" * 100_000,
                                  b"\0\0\0\1\0\0\0\0" + b"{" * 1000])  # fmt: skip
@pytest.mark.parametrize("file", ["gallery.safetensors", "weights.safetensors"])
def test_files_of_tensors_that_are_none(stranger, file, data):
    assert "damaged" in stranger.uses(file, lambda path: path.write_bytes(data))


@pytest.mark.parametrize(
    ("network", "arguments"),
    [("vit_giant_patch14_224", {}), ("vit_small_patch16_224", {"depth": 100_000}),
     ("vit_small_patch16_224", {"embed_dim": 384 * 64}), ("regnety_2560", {}), ("nothing", {}),
     ("resnet18", {"pretrained": True}), ("resnet18", {"x": 1}),
     ("vit_small_patch16_224", {"img_size": 10**9}), ("vit_small_patch16_224", {"depth": "x"})],
)  # fmt: skip
def test_no_network_is_larger_than_its_weights(stranger, network, arguments):
    values = json.loads((stranger.whole / "run.json").read_text())
    values["network"] |= {"source": "timm", "architecture": network, "arguments": arguments}
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    assert stranger.uses("run.json", lambda path: path.write_text(json.dumps(values)))
    assert time.process_time() - began < 15
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 700_000


def test_a_run_names_no_other_place_and_no_large_batch(stranger, tmp_path):
    (tmp_path / "key").write_text("a key")
    values = json.loads((stranger.whole / "run.json").read_text())
    config = values["config"]
    config["data"] |= {"key_file": str(tmp_path / "key"), "images": "/", "source": "/etc",
                       "label_map": "/etc/passwd", "follow_links": True, "link_roots": ["/"],
                       "unlabeled": "/home"}  # fmt: skip
    config["image"]["size"] = values["size"] = 4096
    config["assign"] |= {"batch_size": 4096, "workers": 256}
    path = stranger.folder / "run.json"
    path.write_text(json.dumps(values))
    try:
        loaded = Run.load(stranger.folder).config
    finally:
        shutil.copy(stranger.whole / "run.json", path)
    data = loaded.data
    places = (data.key_file, data.images, data.source, data.label_map, data.unlabeled)
    assert places == (None,) * 5
    assert (data.follow_links, data.link_roots) == (False, [])
    assert loaded.assign.batch_size <= 4
    assert loaded.assign.workers <= (os.cpu_count() or 1)


@pytest.mark.parametrize("root", ["/etc", "/", "a\0b", "x\ny"])
def test_an_absolute_root_is_none(stranger, root):
    values = json.loads((stranger.whole / "run.json").read_text())
    values["data"]["root"] = root
    said = stranger.uses("run.json", lambda path: path.write_text(json.dumps(values)))
    assert "fit writes relative paths" in said


def test_only_images_that_fit_has_read_are_shown(pooled, tmp_path):
    """Elsewhere may lie whatever is called so."""
    own = shutil.copytree(pooled.path, tmp_path / "run")
    values = json.loads((own / "run.json").read_text())
    values["data"] |= {"root": "../other", "roots": ["../other"]}
    (own / "run.json").write_text(json.dumps(values))
    loaded = Run.load(own)
    name = loaded.manifest["image"].iloc[0]
    path = tmp_path / "other" / name
    assert loaded.find_image(name) == path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"somebody's picture")
    with pytest.raises(DataError, match="other bytes than when"):
        loaded.find_image(name)
    shutil.copy(pooled.find_image(name), path)
    assert loaded.find_image(name) == path


def test_the_record_of_a_calibration_is_what_is_checked(pooled):
    """Whatever `fit` writes fits; and reading it back is the same."""
    values = json.loads((pooled.path / "calibration.json").read_text())
    again = Calibration.from_dict(values).to_dict()
    assert json.loads(json.dumps(again)) == values
    with pytest.raises(RunError, match="no run"):
        Run.load(pooled.path.parent)
