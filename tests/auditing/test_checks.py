"""The checks find CAMs that lie, and leave the run as it is."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from clusterkit.auditing import checks
from clusterkit.auditing.checks import CamChecks, check_cams, places_of
from clusterkit.auditing.checks.curves import centre_blob, curves, interval, random_heats
from clusterkit.auditing.checks.places import TOLERANCE, PairScore, energy_inside, pointing_game
from clusterkit.auditing.checks.weights import cascade, randomised, rank_correlation
from clusterkit.auditing.explain import Explainer, reference_images
from clusterkit.data.imageio.read import to_array
from clusterkit.inference.predictor import Predictor
from clusterkit.models.heads import pool


@pytest.fixture
def predictor(run, config):
    return Predictor(run, config)


@pytest.fixture
def pairs(run):
    """Six pairs of labelled images of one class each."""
    images, labels = reference_images(run, 18)
    order = np.argsort(labels, kind="stable")
    return images[order][:-1:2], images[order][1::2], labels[order][:-1:2]


def state_of(networks) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, part in networks.parts().items()
        for key, value in part.state_dict().items()
    }


@pytest.mark.slow
def test_a_run_is_checked_and_not_changed(predictor, pairs):
    before, generator = state_of(predictor.networks), torch.get_rng_state()
    found = check_cams(predictor, *pairs, n=6)
    after = state_of(predictor.networks)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert torch.equal(generator, torch.get_rng_state())
    assert not any(part.training for part in predictor.networks.parts().values())
    assert found.images == 6
    assert list(found.correlation) == ["heads", "stage 3", "stage 2", "stage 1"]
    assert all(-1 <= value <= 1 for value in found.correlation.values())
    for row in found.curves.values():
        for order in ("cam", "random", "centre"):
            assert 0 <= row["deletion"][order] <= 1
            assert 0 <= row["insertion"][order] <= 1
        mean, low, high = row["over_random"]
        assert low <= mean <= high
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["images"] == 6
    assert all(len(row) == 3 and all(isinstance(v, str) for v in row) for row in found.rows())


@pytest.mark.slow
def test_the_same_seed_gives_the_same_figures(predictor, pairs):
    assert (
        check_cams(predictor, *pairs, n=4, seed=1).to_dict()
        == check_cams(predictor, *pairs, n=4, seed=1).to_dict()
    )


def test_weights_become_random_from_the_head_down(run):
    before = state_of(run.networks)
    changed = []
    for _stage, networks in randomised(run.networks, 0):
        now = state_of(networks)
        changed.append({key for key in before if not torch.equal(before[key], now[key])})
    assert {key.split(".")[0] for key in changed[0]} == {"classifier_head", "siamese_head"}
    for fewer, more in pairwise(changed):
        assert fewer < more
    weights = {k for k in before if k.endswith("weight") and before[k].ndim == 4}
    assert weights <= changed[-1]


@pytest.mark.slow
def test_a_map_that_ignores_the_weights_is_found(run, predictor, pairs, monkeypatch):
    """A planted CAM: edges of the picture, whatever the network is."""
    queries = pairs[0]

    def edges(self, first, second, classes, side, order="both"):
        grey = queries[: len(first)].astype(np.float32).mean(3)
        heats = np.abs(np.diff(grey, axis=1, prepend=0))
        return heats / heats.max((1, 2), keepdims=True), heats

    honest = check_cams(predictor, *pairs, n=len(queries))
    monkeypatch.setattr(Explainer, "pair_heats", edges)
    planted = check_cams(predictor, *pairs, n=len(queries))
    assert planted.survives == pytest.approx(1)
    assert any("hardly depend" in line for line in planted.warnings())
    assert honest.survives < planted.survives


def test_identical_maps_correlate_fully_and_constant_ones_not_at_all():
    maps = np.random.default_rng(0).random((3, 8, 8))
    assert rank_correlation(maps, maps**3) == pytest.approx(np.ones(3))
    assert rank_correlation(maps, -maps) == pytest.approx(-np.ones(3))
    assert np.isnan(rank_correlation(maps, np.zeros((3, 8, 8)))).all()


def test_constant_maps_do_not_break_the_cascade(run):
    found, floor = cascade(run.networks, lambda networks: np.zeros((4, 8, 8)), 0)
    assert all(np.isnan(value) for value in found.values())
    assert np.isnan(floor)


@pytest.fixture
def spots():
    """Pictures with one bright spot, a score that sees only it, and where it is."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (12, 48, 48, 3)).astype(np.uint8)
    at = rng.integers(6, 42, (12, 2))
    row, column = np.mgrid[:48, :48]
    masks = np.hypot(row - at[:, 0, None, None], column - at[:, 1, None, None]) <= 4
    images[masks] = 255

    def score(pictures):
        bright = pictures[..., 0] / 255
        return ((bright * masks).sum((1, 2)) / masks.sum((1, 2)))[:, None]

    return images, masks, at, score


def test_the_right_map_beats_a_random_one_and_a_wrong_one_does_not(spots):
    images, masks, _at, score = spots
    orders = {
        "right": masks.astype(float),
        "wrong": 1.0 - masks,
        "random": random_heats(12, 24, np.random.default_rng(1)),
    }
    found = {name: curve.gain[:, 0] for name, curve in curves(images, orders, score).items()}
    assert interval(found["right"] - found["random"])[1] > 0
    assert interval(found["wrong"] - found["random"])[2] < 0


def test_a_cam_no_better_than_random_is_warned_of():
    row = {"images": 8, "deletion": {}, "insertion": {}, "over_centre": (0.0, -0.1, 0.1)}
    bad = CamChecks(images=8, curves={"pair": row | {"over_random": (0.1, -0.01, 0.2)}})
    good = CamChecks(images=8, curves={"pair": row | {"over_random": (0.1, 0.01, 0.2)}})
    assert any("heat map of similarity is not shown" in line for line in bad.warnings())
    assert good.warnings() == []


def test_without_images_it_is_said(predictor, pairs):
    none = check_cams(predictor, *(part[:0] for part in pairs))
    assert none.images == 0
    assert none.rows()[0][1] == "0"
    assert none.warnings() == []
    few = check_cams(predictor, *(part[:2] for part in pairs))
    assert few.curves == {}
    assert any("too few" in note for note in few.notes)
    json.dumps(few.to_dict(), allow_nan=False)
    assert few.rows()


def test_empty_cams_are_said(predictor, pairs, monkeypatch):
    def empty(self, first, second, classes, side, order="both"):
        return np.zeros((len(first), 16, 16), np.float32), np.zeros((len(first), 16, 16))

    monkeypatch.setattr(Explainer, "pair_heats", empty)
    found = check_cams(predictor, *pairs, n=6)
    assert found.empty == 6
    assert any("are empty" in line for line in found.warnings())
    assert "cannot be said" in str(found.rows())
    json.dumps(found.to_dict(), allow_nan=False)


def test_known_places_are_compared_with_the_middle(predictor, pairs):
    n = len(pairs[0])
    places = np.tile([24.0, 24.0, 6.0, 6.0], (n, 1))
    places[0] = np.nan
    found = check_cams(predictor, *pairs, places=places, n=4)
    assert found.placed == n - 1
    assert found.places["centre of the picture"]["pointing"] == 1
    assert any("known place" in name for name, _, _ in found.rows())
    nowhere = check_cams(predictor, *pairs, places=np.full((n, 4), np.nan), n=4)
    assert nowhere.places == {}
    assert any("No place" in note for note in nowhere.notes)


@pytest.mark.slow
def test_both_sides_are_measured_at_their_own_places(predictor, pairs, monkeypatch):
    n = len(pairs[0])
    side = pairs[0].shape[1]
    left, right = np.zeros((2, n, side, side), np.float32)
    left[:, 10, 10] = right[:, 30, 40] = 1
    monkeypatch.setattr(
        Explainer, "pair_heats", lambda self, first, *_: (left[: len(first)], right[: len(first)])
    )
    here, there = (np.tile([x, y, 4.0, 4.0], (n, 1)) for x, y in ((10.0, 10.0), (40.0, 30.0)))
    there[0] = np.nan
    found = check_cams(predictor, *pairs, places=here, exemplar_places=there, n=4)
    assert (found.placed, found.exemplar_placed) == (n, n - 1)
    assert found.places["similarity CAM"]["pointing"] == 1
    assert found.exemplar_places["similarity CAM"]["pointing"] == 1
    assert found.exemplar_places["centre of the picture"]["pointing"] == 0
    assert sum("known place of the labelled image" in name for name, _, _ in found.rows()) == 1
    crossed = check_cams(predictor, *pairs, places=there, exemplar_places=here, n=4)
    assert crossed.exemplar_places["similarity CAM"]["pointing"] == 0


@pytest.mark.parametrize("resize", ["squish", "crop", "pad"])
def test_places_follow_the_picture(resize):
    picture = np.zeros((60, 120, 3), np.uint8)
    picture[28:35, 50:57] = 255
    seen = to_array(Image.fromarray(picture), 48, resize)[..., 0].astype(float)
    truth = pd.DataFrame([{"image": "a", "x": 53, "y": 31, "radius": 3, "width": 120,
                           "height": 60}, {"image": "b", "x": "", "y": "", "radius": "",
                                           "width": "", "height": ""}])  # fmt: skip
    found = places_of(truth, ["b", "a", "unknown"], 48, resize)
    assert np.isnan(found[[0, 2]]).all()
    row, column = np.mgrid[:48, :48]
    centre = [(seen * axis).sum() / seen.sum() for axis in (column, row)]
    assert found[1, :2] == pytest.approx(centre, abs=0.3)


def test_pointing_and_energy(spots):
    _images, masks, at, _score = spots
    places = np.c_[at[:, 1], at[:, 0], np.full((12, 2), 4.0)]
    heats = masks.astype(float)
    assert pointing_game(heats, places, 48).all()
    assert energy_inside(heats, places, 48) == pytest.approx(np.ones(12))
    moved = places + np.array([10.0, 0, 0, 0])
    assert not pointing_game(heats, moved, 48).any()
    assert not pointing_game(np.ones((12, 48, 48)), places, 48).any()
    assert energy_inside(np.zeros((12, 48, 48)), places, 48).tolist() == [0.0] * 12
    blob = centre_blob(48)[None]
    assert pointing_game(blob, np.array([[30.0, 23.5, 5, 5]]), 48).tolist() == [False]
    assert pointing_game(blob, np.array([[30.0, 23.5, 5, 5]]), 48, TOLERANCE).tolist() == [True]


def test_captum_explains_the_logit_that_labels_rest_on(predictor, pairs):
    pytest.importorskip("captum")
    explainer = Explainer.plain(predictor)
    queries, others = explainer.encode(pairs[0]), explainer.encode(pairs[1])
    score = PairScore(predictor.networks.encoder, explainer.siamese)
    exemplars = pool(others.siamese)
    gap = checks.places.layer_grad_cam(score, pairs[0], exemplars)
    assert gap.shape == pairs[0].shape[:3]
    assert (gap >= 0).all()
    from clusterkit.models.forward import normalise

    with torch.no_grad():
        found = score(normalise(pairs[0], "cpu"), exemplars)
    want = explainer.pair_parts(queries, others, pairs[2]).logit - explainer.siamese.bias
    assert torch.allclose(found, want, atol=1e-3)
    assert not any(m._forward_hooks for m in predictor.networks.encoder.modules())


def test_one_class_is_said(predictor, pairs, monkeypatch):
    one = replace(predictor.run.info, classes=predictor.run.classes[:1])
    monkeypatch.setattr(predictor.run, "info", one)
    zeros = replace(
        predictor.run, manifest=predictor.run.manifest.assign(label=predictor.run.classes[0])
    )
    monkeypatch.setattr(predictor, "run", zeros)
    found = check_cams(predictor, pairs[0], pairs[1], np.zeros(len(pairs[0]), int), n=4)
    assert any("one class" in note for note in found.notes)
