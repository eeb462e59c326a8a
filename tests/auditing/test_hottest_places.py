"""Heat maps switch themselves off where their hottest point lies on nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from clusterkit import audit
from clusterkit.auditing.checks import CamChecks
from clusterkit.auditing.checks.hottest_places import (
    HottestPlacesSeen,
    background,
    chance_of_as_many,
    hottest_places,
)
from clusterkit.auditing.explain import Explainer

SIDE, MAP = 64, 32


def cells(n: int, ground=(0, 0, 0)) -> tuple[np.ndarray, np.ndarray]:
    """Cells with texture, cut out on one colour: images, and the middle of each."""
    rng = np.random.default_rng(1)
    images = np.empty((n, SIDE, SIDE, 3), np.uint8)
    images[:] = ground
    middle = rng.integers(24, 40, (n, 2))
    row, column = np.mgrid[:SIDE, :SIDE]
    inside = np.hypot(row - middle[:, :1, None], column - middle[:, 1:, None]) < 18
    images[inside] = rng.integers(90, 200, (int(inside.sum()), 1))
    return images, middle


def maps_at(points) -> np.ndarray:
    """Maps (N, MAP, MAP) that are hottest at points of the images."""
    heats = np.random.default_rng(0).random((len(points), MAP, MAP)) / 2
    for heat, (row, column) in zip(heats, np.asarray(points) * MAP // SIDE, strict=True):
        heat[row, column] = 1
    return heats


@pytest.mark.parametrize("ground", [(0, 0, 0), (235, 228, 240)])
def test_the_ground_that_an_object_is_cut_out_on_is_background(ground):
    images, middle = cells(4, ground)
    row, column = np.mgrid[:SIDE, :SIDE]
    for image, (y, x) in zip(images, middle, strict=True):
        away = np.hypot(row - y, column - x)
        found = background(image)
        assert not found[away < 18].any()
        assert found[away > 23].all()


def test_texture_and_dark_holes_inside_are_no_background():
    rng = np.random.default_rng(0)
    image = rng.integers(60, 160, (SIDE, SIDE, 1)).repeat(3, 2).astype(np.uint8)
    assert not background(image).any()
    image[20:40, 20:40] = 0
    assert not background(image).any()
    image[:, :12] = 3
    found = background(image)
    assert found[:, :8].all()
    assert not found[:, 14:].any()


def test_as_many_by_chance_is_binomial_where_shares_are_the_same():
    for k in (0, 1, 7, 20):
        assert chance_of_as_many(k, np.full(20, 0.3)) == pytest.approx(binom.sf(k - 1, 20, 0.3))
    shares = np.random.default_rng(0).random(12)
    draws = (np.random.default_rng(1).random((40_000, 12)) < shares).sum(1)
    assert chance_of_as_many(7, shares) == pytest.approx((draws >= 7).mean(), abs=0.01)


def test_maps_on_the_object_pass_and_maps_beside_it_fail():
    images, middle = cells(30)
    right = hottest_places(maps_at(middle), images).measured()
    assert (right["on_background"], right["at_border"], right["failed"]) == (0, 0, [])
    corner = hottest_places(maps_at(np.full((30, 2), 8)), images).measured()
    assert corner["failed"] == ["background"]
    assert corner["black"]
    edge = hottest_places(maps_at(np.full((30, 2), (0, 30))), images).measured()
    assert edge["on_background"] == edge["at_border"] == 30
    assert edge["failed"] == ["background", "border"]
    empty = hottest_places(np.zeros((30, MAP, MAP)), images)
    assert len(empty) == 0
    assert empty.measured()["failed"] == []


@pytest.mark.long
def test_hottest_places_at_random_are_seldom_called_more_than_chance():
    """Every false alarm counts, of both places on all three maps of a run."""
    rng = np.random.default_rng(3)
    images, _ = cells(40)
    alarms, rounds = 0, 120
    for _ in range(rounds):
        seen = HottestPlacesSeen()
        for side in ("image", "labelled", "class"):
            heats = rng.random((40, MAP, MAP))
            seen.add(side, list(heats), list(images), ["review"] * 40)
        # On background more often than in 1 of 5 images is too often, chance or not.
        measured = seen.measured().values()
        alarms += any(row["border_p"] <= 0.05 / 6 or row["background_p"] <= 0.05 / 6
                      for row in measured)  # fmt: skip
    assert alarms <= binom.ppf(0.999, rounds, 0.05)


def test_a_map_that_is_failed_says_so_in_words():
    images, middle = cells(30)
    seen = HottestPlacesSeen()
    status = ["assigned"] * 10 + ["review"] * 20
    seen.add("image", list(maps_at(middle)), list(images), status)
    seen.add("labelled", list(maps_at(np.full((30, 2), 8))), list(images), status)
    row = {"images": 8, "deletion": {}, "insertion": {}, "over_centre": (0.0, -0.1, 0.1),
           "over_random": (0.1, 0.01, 0.2)}  # fmt: skip
    good = CamChecks(30, correlation={"heads": 0.1}, floor=0.2, curves={"pair": row})
    bad = replace(good, hottest=seen.measured())
    assert (bad.overlays, bad.verdict) == ("off", "ignore here")
    assert bad.headline() == ("Heat maps are off: the hottest point lies on black background in "
                              "30 of 30 labelled images. Ignore them here.")  # fmt: skip
    assert bad.to_dict()["overlays"] == "off"
    assert json.loads(json.dumps(bad.to_dict()))["hottest"]["image"]["by_status"]["review"] == {
        "images": 20, "at_border": 0, "on_background": 0,
    }  # fmt: skip
    assert "By status: Labelled 0 + 0 of 10" in str(bad.rows())
    assert (good.overlays, good.verdict, good.headline()) == ("on", "with care", "")
    seen = HottestPlacesSeen()
    seen.add("image", list(maps_at(middle)), list(images), status)
    assert replace(good, hottest=seen.measured()).verdict == "trust"


@pytest.mark.parametrize(
    ("curves", "said"),
    [({"class": (0.1, -0.01, 0.2)}, "the classifier's map"),
     ({"pair": (0.1, 0.0, 0.2), "class": (0.1, -0.01, 0.2)},
      "the similarity's map and the classifier's map")],
)  # fmt: skip
def test_a_failed_check_of_deletion_or_weights_switches_them_off(curves, said):
    plain = {"images": 8, "deletion": {}, "insertion": {}, "over_centre": (0.0, -0.1, 0.1)}
    weak = CamChecks(8, curves={name: plain | {"over_random": row}
                                for name, row in curves.items()})  # fmt: skip
    assert weak.overlays == "off"
    assert said in weak.reason
    same = CamChecks(8, correlation={"heads": 0.99}, floor=0.2)
    assert (same.overlays, same.verdict) == ("off", "ignore here")
    assert "random" in same.headline()


@pytest.fixture
def planted(run, assignment, config, monkeypatch, tmp_path):
    """Pages whose maps are hottest where they are told to be."""

    def page(row: int, column: int):
        def heats(self, first, *_):
            found = np.zeros((len(first), MAP, MAP), np.float32)
            found[:, row, column] = 1
            return found

        monkeypatch.setattr(Explainer, "pair_heats", lambda *a: (heats(*a), heats(*a)))
        monkeypatch.setattr(Explainer, "class_heats", heats)
        # What is planted knows no weights; that is another check.
        monkeypatch.setattr("clusterkit.auditing.checks.report.cascade", lambda *_: ({}, 0.5))
        monkeypatch.setattr(
            "clusterkit.auditing.checks.report.interval", lambda *_: (0.2, 0.1, 0.3)
        )
        out = tmp_path / f"{row}-{column}"
        audit(run, assignments=assignment.path, config=config, out=out)
        data = (out / "index.html").read_text().split('id="data">')[1].split("</script>")[0]
        return json.loads(data), json.loads((out / "metrics.json").read_text())["cams"], out

    return page


@pytest.mark.slow
def test_the_page_begins_without_maps_that_point_at_the_border(planted):
    data, cams, out = planted(0, 0)
    assert data["overlays"] == cams["overlays"] == "off"
    assert "at the border in" in cams["reason"]
    assert "Heat maps are off: the hottest point lies" in (out / "index.html").read_text()
    data, cams, out = planted(MAP // 2, MAP // 2)
    assert data["overlays"] == cams["overlays"] == "on"
    assert "Heat maps are off" not in (out / "index.html").read_text()


@pytest.mark.slow
def test_maps_that_are_off_can_be_switched_on(planted, visit):
    _, _, out = planted(0, 0)
    page = visit((out / "index.html").as_uri())
    assert page.tab.locator(".picture .over").count() == 0
    page.tab.click('[data-layer="cam"]')
    assert page.tab.locator(".picture .over").count() > 0
