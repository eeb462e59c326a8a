"""Transduction in `assign`: what takes part, what it changes, and that nothing else does."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from clusterkit import Run, assign
from clusterkit.config import Config, override
from clusterkit.errors import RunError
from clusterkit.formats.assignment_record import AssignmentRecord
from clusterkit.inference.evidence import Evidence
from clusterkit.inference.fold_models import FoldModels
from clusterkit.inference.transduce import transduce
from clusterkit.methods.batch_blocks import BatchBlocks
from clusterkit.methods.calibration import Calibration


@pytest.fixture(scope="module")
def neighbourly(run):
    """The run, with held-out images that lie in tight groups and a classifier that is unsure."""
    found = Run.load(run.path)
    held = found.calibration["held_out"]
    labels, k = np.asarray(held["labels"]), len(found.classes)
    rng = np.random.default_rng(0)
    said = np.where(rng.random(len(labels)) < 0.7, labels, rng.integers(0, k, len(labels)))
    held["probs"] = (0.7 * np.eye(k)[said] + 0.3 / k).tolist()
    of_folds = found.gallery["folds.logits"]
    rows = np.asarray(held["rows"])
    of_folds[rows] = of_folds.new_tensor(np.log(held["probs"]))
    # Each is a unit: a test of what neighbours do, not of patients.
    held["units"] = list(range(len(labels)))
    features = found.gallery["features"]
    centre, axes = found.gallery["centre"], found.gallery["projection"]
    spread = np.eye(axes.shape[1])[np.asarray(found.labels)] * 10
    spread += rng.normal(0, 1, spread.shape)
    inverse = np.linalg.pinv(axes.numpy())
    moved = features.numpy() * 0 + centre.numpy() + spread @ inverse
    found.gallery["features"] = features.new_tensor(moved)
    return found


def evidence_of(run, n, seed=1, **changes):
    """Evidence on n images in the same groups."""
    rng = np.random.default_rng(seed)
    k, axes = len(run.classes), run.gallery["projection"].shape[1]
    labels = rng.integers(0, k, n)
    said = np.where(rng.random(n) < 0.7, labels, rng.integers(0, k, n))
    probs = (0.7 * np.eye(k)[said] + 0.3 / k).astype(np.float32)
    folds = len(run.gallery["folds.bias"])
    arrays = {
        "ids": np.array([f"{i:016x}" for i in range(n)], dtype=object),
        "errors": np.array([""] * n, dtype=object),
        "near": np.full(n, -1),
        "probs": probs,
        "classifier": probs,
        "of_folds": np.repeat(probs[:, None], folds, axis=1).astype(np.float16),
        "reduced": (np.eye(axes)[labels] * 10 + rng.normal(0, 1, (n, axes))).astype(np.float32),
    }
    return Evidence(arrays | changes), labels


def probs_of(found):
    return np.concatenate([part["probs"] for _, part in found.evidence.parts("probs")])


def test_neighbours_mend_labels_and_the_record_says_so(neighbourly):
    evidence, labels = evidence_of(neighbourly, 200)
    found = transduce(neighbourly, Config(), evidence, np.array([""] * 200))
    assert found.record.used
    assert found.record.images == 200
    before = probs_of(transduce(neighbourly, off(), evidence, np.array([""] * 200)))
    wrong = [(p.argmax(axis=1) != labels).mean() for p in (before, probs_of(found))]
    assert wrong[1] < 0.75 * wrong[0]


def off():
    return override(Config(), assign__transduction="off")


def test_known_images_take_no_part(neighbourly):
    """Copies, images of labelled patients and unreadable ones tell the others nothing."""
    n = 60
    ids = np.array([f"{i:016x}" for i in range(n)], dtype=object)
    near, errors = np.full(n, -1), np.array([""] * n, dtype=object)
    groups = np.array([""] * n, dtype=object)
    ids[0] = neighbourly.manifest["image_id"].iloc[0]
    near[1], errors[2] = 0, "broken"
    groups[3] = neighbourly.manifest["group"].dropna().iloc[0]
    changed = {"ids": ids, "near": near, "errors": errors}
    evidence, _ = evidence_of(neighbourly, n, **changed)
    found = transduce(neighbourly, Config(), evidence, groups)
    assert (found.record.images, found.record.apart) == (n - 4, 4)
    # Whatever the four are said to be, nobody else's label hangs on it.
    names = ("probs", "reduced", "classifier", "of_folds")
    arrays = {name: part[name].copy() for name in names for _, part in evidence.parts(*names)}
    for name in ("probs", "classifier", "of_folds"):
        arrays[name][:4] = np.eye(len(neighbourly.classes))[0]
    other, _ = evidence_of(neighbourly, n, **changed, **arrays)
    again = transduce(neighbourly, Config(), other, groups)
    np.testing.assert_array_equal(probs_of(found)[4:], probs_of(again)[4:])
    np.testing.assert_array_equal(found.calibration.probs, again.calibration.probs)


@pytest.mark.parametrize("n", [1, 2])
def test_tiny_batches(neighbourly, n):
    evidence, _ = evidence_of(neighbourly, n)
    found = transduce(neighbourly, Config(), evidence, np.array([""] * n))
    assert np.isfinite(probs_of(found)).all()
    np.testing.assert_allclose(probs_of(found).sum(axis=1), 1, rtol=1e-5)


def test_images_that_are_all_copies_or_not_numbers(neighbourly):
    axes, k = neighbourly.gallery["projection"].shape[1], len(neighbourly.classes)
    evidence, _ = evidence_of(neighbourly, 30, reduced=np.zeros((30, axes), dtype=np.float32))
    found = transduce(neighbourly, Config(), evidence, np.array([""] * 30))
    assert np.isfinite(probs_of(found)).all()
    reduced = np.full((30, axes), np.nan, dtype=np.float32)
    evidence, _ = evidence_of(neighbourly, 30, reduced=reduced)
    found = transduce(neighbourly, Config(), evidence, np.array([""] * 30))
    assert found.record.images in (0, None)
    assert probs_of(found).shape == (30, k)


def test_one_image_keeps_its_label(neighbourly):
    evidence, _ = evidence_of(neighbourly, 1)
    found = transduce(neighbourly, Config(), evidence, np.array([""]))
    assert found.evidence is evidence
    assert "no two images" in found.record.why


def test_a_run_without_classifiers_of_its_folds_says_so(neighbourly):
    old = replace(neighbourly, gallery={
        name: values for name, values in neighbourly.gallery.items() if "folds." not in name
    })  # fmt: skip
    evidence, _ = evidence_of(neighbourly, 20)
    found = transduce(old, Config(), evidence, np.array([""] * 20))
    assert (found.record.used, found.evidence) == (False, evidence)
    assert "older version" in found.record.why


@pytest.mark.parametrize("name", ["weight", "bias", "number", "logits"])
def test_a_run_whose_classifiers_of_folds_do_not_fit_is_damaged(neighbourly, name):
    bad = dict(neighbourly.gallery)
    bad[f"folds.{name}"] = bad[f"folds.{name}"][:-1]
    evidence, _ = evidence_of(neighbourly, 20)
    with pytest.raises(RunError, match="fit it again"):
        transduce(replace(neighbourly, gallery=bad), Config(), evidence, np.array([""] * 20))


@pytest.mark.parametrize("number", [-2, 3])
def test_a_fold_that_is_not_there_is_damage(neighbourly, number):
    numbers = neighbourly.gallery["folds.number"].clone()
    numbers[0] = number
    bad = neighbourly.gallery | {"folds.number": numbers}
    evidence, _ = evidence_of(neighbourly, 20)
    with pytest.raises(RunError, match="fit it again"):
        transduce(replace(neighbourly, gallery=bad), Config(), evidence, np.array([""] * 20))


def test_classifiers_of_folds_say_what_held_out_images_were_told(run):
    """What the journal keeps of an image is what its fold's model said of a held-out one."""
    models = FoldModels.stored_in(run)
    fusion = Calibration.from_dict(run.calibration).fusion
    rows = np.asarray(run.calibration["held_out"]["rows"])
    said = models.probs(run.gallery["features"][rows], fusion)
    assert said.shape == (len(rows), 3, len(run.classes))
    own = said[np.arange(len(rows)), models.number[rows]]
    np.testing.assert_allclose(own, fusion.classifier_probs(models.logits[rows]), atol=2e-3)


def test_off_and_within_groups_change_nothing(neighbourly):
    evidence, _ = evidence_of(neighbourly, 20)
    plain = Calibration.from_dict(neighbourly.calibration)
    found = transduce(neighbourly, off(), evidence, np.array([""] * 20))
    assert found.evidence is evidence
    np.testing.assert_array_equal(found.calibration.probs, plain.probs)
    assert (found.record.used, found.record.why) == (False, "off in the settings")
    neighbourly.calibration["within_groups"] = True
    try:
        found = transduce(neighbourly, Config(), evidence, np.array([""] * 20))
    finally:
        del neighbourly.calibration["within_groups"]
    assert not found.record.used


def test_assign_says_what_it_did(run, sample, config, tmp_path):
    labels = {}
    for name in ("auto", "off"):
        settings = override(config, assign__transduction=name)
        out = tmp_path / f"{name}.csv"
        record = assign(run, sample / "unlabeled.csv", config=settings, out=out).record
        written = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
        assert written["transduction"]["used"] is record.transduction.used
        assert AssignmentRecord.from_dict(written).transduction == record.transduction
        said = any("assign.transduction = 'off'" in text for text in record.remarks)
        assert said is bool(record.transduction.used)
        labels[name] = pd.read_csv(out)
    assert record.transduction.why == "off in the settings"
    assert list(labels["auto"]["image"]) == list(labels["off"]["image"])


def test_off_labels_do_not_depend_on_the_batch(run, sample, config, tmp_path):
    settings = override(config, assign__transduction="off", engine__label_shift=False)
    whole = assign(run, sample / "unlabeled.csv", config=settings, out=tmp_path / "a.csv").table
    row = whole[whole["status"] != "failed"].iloc[0]
    alone = tmp_path / "one" / row["image"].rsplit("/", 1)[-1]
    alone.parent.mkdir()
    source = next(p for p in sample.rglob(alone.name))
    shutil.copy(source, alone)
    one = assign(run, alone, config=settings, out=tmp_path / "b.csv").table.iloc[0]
    assert one["predicted_label"] == row["predicted_label"]
    assert one["confidence"] == pytest.approx(row["confidence"], abs=1e-6)


def test_blocks_mend_labels_too_and_the_record_says_so(neighbourly):
    evidence, labels = evidence_of(neighbourly, 200)
    found = transduce(neighbourly, Config(), evidence, np.array([""] * 200), most=70)
    assert found.record.why == "held-out labels gained by it, in 3 of 3 blocks of the batch"
    assert (found.record.images, found.record.apart) == (200, 0)
    assert len(found.record.weights) == 3
    before = probs_of(transduce(neighbourly, off(), evidence, np.array([""] * 200)))
    wrong = [(p.argmax(axis=1) != labels).mean() for p in (before, probs_of(found))]
    assert wrong[1] < 0.75 * wrong[0]


def test_images_that_are_settled_take_no_part(neighbourly):
    """The others are refined as if they were alone."""
    evidence, _ = evidence_of(neighbourly, 60)
    settled = np.arange(60) < 40
    found = transduce(neighbourly, Config(), evidence, np.array([""] * 60), settled)
    names = ("ids", "errors", "near", "probs", "reduced", "classifier", "of_folds")
    _, arrays = next(evidence.parts(*names))
    alone = {name: values[~settled] for name, values in arrays.items()}
    others = transduce(neighbourly, Config(), Evidence(alone), np.array([""] * 20))
    assert found.record.apart == 40
    np.testing.assert_array_equal(probs_of(found)[~settled], probs_of(others))


def test_a_batch_that_fits_is_one_block(neighbourly):
    evidence, _ = evidence_of(neighbourly, 60)
    found, fits = (transduce(neighbourly, Config(), evidence, np.array([""] * 60), most=most)
                   for most in (100_000, 60))  # fmt: skip
    np.testing.assert_array_equal(probs_of(found), probs_of(fits))
    np.testing.assert_array_equal(found.calibration.probs, fits.calibration.probs)


def test_each_image_and_each_held_out_one_is_scored_by_one_block(neighbourly):
    """A block's images are refined as if they were the whole batch, copies by its weights."""
    near = np.full(90, -1)
    near[::30] = 0
    evidence, _ = evidence_of(neighbourly, 90, near=near)
    groups, calibration = np.array([""] * 90, dtype=object), neighbourly.calibration
    found = transduce(neighbourly, Config(), evidence, groups, most=30)
    units = np.asarray(calibration["held_out"]["units"])
    blocks = BatchBlocks.drawn(groups[near < 0], units, 30, neighbourly.info.seed)
    chosen, probs = np.flatnonzero(near < 0), np.zeros_like(probs_of(found))
    held_out = np.zeros_like(found.calibration.probs)
    for own, drawn in blocks:
        rows = chosen[own]
        names = ("ids", "errors", "near", "probs", "classifier", "of_folds", "reduced")
        arrays = {n: p[n][rows] for n in names for _, p in evidence.parts(*names)}
        alone = transduce(neighbourly, Config(), Evidence(arrays), groups[rows])
        probs[rows], held_out[drawn] = probs_of(alone), alone.calibration.probs[drawn]
    np.testing.assert_allclose(probs_of(found)[chosen], probs[chosen], atol=1e-6)
    np.testing.assert_allclose(found.calibration.probs, held_out, atol=1e-6)
    assert (probs_of(found)[near >= 0].sum(axis=1) > 0.999).all()


@pytest.mark.long
def test_held_out_images_are_as_often_right_as_the_batch_is_in_blocks(neighbourly):
    """What thresholds and promises rest on; the same images are drawn as both."""
    right = []
    for seed in range(12):
        evidence, labels = evidence_of(neighbourly, 300, seed=seed)
        found = transduce(neighbourly, Config(), evidence, np.array([""] * 300), most=60)
        own = probs_of(found).argmax(axis=1) == labels
        held_out = found.calibration
        known = held_out.probs.argmax(axis=1) == np.asarray(held_out.labels)
        right.append((own.mean(), known.mean()))
    of_batch, of_held_out = np.mean(right, axis=0)
    # Held-out images are the same each time: their share is as sure as they are many.
    n = len(found.calibration.labels)
    assert of_held_out < of_batch + 3 * np.sqrt(of_batch * (1 - of_batch) / n) + 0.01
