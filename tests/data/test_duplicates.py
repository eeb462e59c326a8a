"""Near duplicates: what a signature leaves alone, what is found, and what is never joined."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from scipy import ndimage

from clusterkit.data.duplicates import grouping as near
from clusterkit.data.duplicates.grouping import near_groups
from clusterkit.data.duplicates.index import NearPairs, match, near_pairs
from clusterkit.data.duplicates.padding import without_margin
from clusterkit.data.duplicates.signature import (
    RINGS,
    SAME,
    SIGNATURE,
    all_scores,
    pair_scores,
    signature,
    threshold,
)
from clusterkit.data.files import find_images
from clusterkit.data.imageio.read import load_image

TURNS = list(Image.Transpose)
seeds = st.integers(0, 10_000)


def picture(seed: int, width: int = 60, height: int = 60) -> Image.Image:
    """Blurred noise, values in about 60 to 200."""
    noise = np.random.default_rng(seed).normal(size=(height, width))
    smooth = ndimage.gaussian_filter(noise, min(width, height) / 25)
    smooth = (smooth - smooth.min()) / max(np.ptp(smooth), 1e-9)
    return Image.fromarray((60 + 140 * smooth).astype(np.uint8)).convert("RGB")


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    store = io.BytesIO()
    image.save(store, "JPEG", quality=quality)
    return Image.open(store).convert("RGB")


def changed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """One of the four kinds of copy that must be found."""
    kind = rng.integers(4)
    if kind == 0:
        return image.rotate(rng.uniform(0, 360), Image.Resampling.BICUBIC)
    if kind == 1:
        factor = 2 ** rng.uniform(-1, 1)
        return image.resize(tuple(round(side * factor) for side in image.size))
    if kind == 2:
        return jpeg(image, int(rng.integers(30, 96)))
    gain = rng.uniform(0.7, 1.2)
    return image.point(lambda v: v * gain)


def signatures(images) -> np.ndarray:
    return np.array([signature(image) for image in images]).reshape(-1, SIGNATURE)


def score(one: Image.Image, other: Image.Image) -> float:
    return float(all_scores(signatures([one]), signatures([other]))[0, 0])


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(20, 150), st.integers(20, 150), st.sampled_from(TURNS))
def test_an_image_is_itself_however_it_is_turned_or_mirrored(seed, width, height, turn):
    image = picture(seed, width, height)
    assert score(image, image) == pytest.approx(1, abs=1e-3)
    assert score(image, image.transpose(turn)) > 0.97


@settings(max_examples=25, deadline=None)
@given(seeds, st.floats(0.4, 1.2), st.floats(-20, 10))
def test_brightness_and_contrast_change_nothing(seed, gain, offset):
    image = picture(seed)
    assert score(image, image.point(lambda v: v * gain + offset)) > 0.97


@settings(max_examples=25, deadline=None)
@given(seeds, seeds)
def test_scores_are_symmetric_and_within_bounds(one, other):
    rows = signatures([picture(one), picture(other)])
    scores = all_scores(rows, rows)
    np.testing.assert_allclose(scores, scores.T, atol=1e-5)
    assert scores.min() >= 0
    assert scores.max() <= 1
    if one != other:
        assert scores[0, 1] < SAME


def test_score_is_the_best_correlation_over_turns_and_mirrors():
    a, b = signatures([picture(1), picture(2)]).astype(float)
    rings, other = a.reshape(RINGS, -1), b.reshape(RINGS, -1)
    naive = max(
        (rings * np.roll(way, shift, axis=1)).sum() / np.linalg.norm(a) / np.linalg.norm(b)
        for way in (other, other[:, ::-1])
        for shift in range(rings.shape[1])
    )
    rows = signatures([picture(1), picture(2)])
    zero, one = np.array([0]), np.array([1])
    assert pair_scores(rows, rows, zero, one)[0] == pytest.approx(naive, abs=1e-4)
    assert all_scores(rows[:1], rows[1:])[0, 0] == pytest.approx(naive, abs=1e-4)


def test_any_size_and_mode_gives_a_signature():
    for size in [(1, 1), (2, 3), (1, 40), (700, 30), (1500, 1100)]:
        row = signature(picture(0, *size))
        assert row.shape == (SIGNATURE,)
        assert row.dtype == np.int8
    assert (signature(picture(3).convert("L")) == signature(picture(3))).all()
    # A large image is reduced in two steps; both ends must agree.
    large = picture(4, 1500, 1100)
    assert score(large, large.resize((300, 220))) > 0.95


def test_an_image_without_structure_matches_nothing():
    flat = [Image.new("RGB", (50, 50), (v, v, v)) for v in (0, 0, 128, 255)]
    rows = signatures([*flat, picture(1)])
    assert not rows[:4].any()
    index, best = match(rows, rows)
    assert index.tolist() == [-1, -1, -1, -1, 4]
    assert best[:4].tolist() == [0, 0, 0, 0]
    pairs = near_pairs(rows)
    assert len(pairs) == 0
    assert (near_groups(5, pairs, rows) == -1).all()


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_and_one_image(n):
    rows = signatures([picture(i) for i in range(n)])
    pairs = near_pairs(rows)
    assert len(pairs) == 0
    assert near_groups(n, pairs, rows).tolist() == [-1] * n
    index, best = match(rows, rows, exclude_self=True)
    assert index.tolist() == [-1] * n
    assert best.shape == (n,)
    assert match(rows[:0], signatures([picture(7)]))[0].shape == (0,)


@pytest.mark.parametrize("fill", [0, 255])
def test_padding_is_no_part_of_the_picture(fill):
    images = [picture(i, 70 + i % 20, 60) for i in range(40)]
    colour = (fill,) * 3
    padded = [ImageOps.pad(image, (110, 110), color=colour) for image in images]
    tilted = [image.rotate(15, Image.Resampling.BICUBIC, expand=True, fillcolor=colour)
              for image in images]  # fmt: skip
    rows, places = signatures(images), np.arange(len(images))
    for copies, least in ((padded, 0.97), (tilted, 0.9)):
        others = signatures(copies)
        found = pair_scores(rows, others, places, places) >= SAME
        assert found.mean() >= least
        # Images that have nothing but their padding in common are no pairs.
        assert len(near_pairs(others)) == 0


def test_a_round_cell_on_black_keeps_its_ground():
    y, x = np.mgrid[:60, :60] - 29.5
    cell = np.where((x / 28) ** 2 + (y / 20) ** 2 < 1, np.asarray(picture(3).convert("L")), 0)
    image = Image.fromarray(cell.astype(np.uint8))
    for degrees in (0, 20, 45, 70):
        turned = image.rotate(degrees)
        assert without_margin(turned) is turned
    assert score(image, image.rotate(45, Image.Resampling.BICUBIC)) >= SAME


def test_match_names_the_original_and_not_the_image_itself():
    others = signatures([picture(i) for i in range(30)])
    copies = [picture(4).rotate(33), picture(9).transpose(TURNS[0]), picture(99)]
    index, best = match(signatures(copies), others)
    assert index.tolist() == [4, 9, -1]
    assert (best[:2] >= SAME).all()
    assert best[2] == 0
    both = np.concatenate([others, signatures(copies)])
    alone, _ = match(both, both, exclude_self=True)
    assert alone[[4, 9, 30, 31]].tolist() == [30, 31, 4, 9]
    assert (np.delete(alone, [4, 9, 30, 31]) == -1).all()


def test_match_does_not_depend_on_the_batch():
    others = signatures([picture(i) for i in range(60)])
    asked = signatures([picture(i).rotate(i) for i in range(40, 80)])
    index, best = match(asked, others)
    for start in (0, 7, 39):
        part, score_of = match(asked[start : start + 3], others)
        assert part.tolist() == index[start : start + 3].tolist()
        np.testing.assert_allclose(score_of, best[start : start + 3], atol=1e-6)


def test_more_comparisons_ask_for_a_higher_score():
    assert threshold(10) == SAME == threshold(1e6)
    assert SAME < threshold(1e8) < threshold(5e9) < 0.95


def check_planted(originals: list[Image.Image], copied: int, known=frozenset()):
    """Recall at least 95% and precision at least 99%, natural pairs left out."""
    rng = np.random.default_rng(0)
    copies = [changed(image, rng) for image in originals[:copied]]
    n, rows = len(originals), signatures([*originals, *copies])
    pairs = near_pairs(rows)
    assert (pairs.first < pairs.second).all()
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) - known
    planted = {(i, n + i) for i in range(copied)}
    origin = [*range(n), *range(copied)]
    false = {p for p in found - planted if tuple(sorted(origin[i] for i in p)) not in known}
    assert len(found & planted) >= 0.95 * copied
    assert len(false) <= 0.01 * (len(false) + len(found & planted))


def test_planted_copies_are_found():
    check_planted([picture(i) for i in range(300)], 150)


@pytest.mark.parametrize("name", ["malaria", "busi"])
def test_planted_copies_are_found_among_real_images(name, real_data):
    root = real_data / name
    images = [load_image(root / image) for image in find_images(root)[::3]]
    natural = near_pairs(signatures(images))
    known = set(zip(natural.first.tolist(), natural.second.tolist(), strict=True))
    # Different cells must not be pairs; busi holds the same scans twice.
    assert name == "busi" or len(known) <= 1
    check_planted(images, 200, frozenset(known))


@pytest.fixture(scope="module")
def many() -> np.ndarray:
    rng = np.random.default_rng(5)
    images = [picture(i, 40, 40) for i in range(900)]
    return signatures(images + [changed(image, rng) for image in images[:100]])


def test_inverted_file_finds_what_brute_force_finds(many, monkeypatch):
    scores = np.triu(all_scores(many, many), 1)
    every = {(int(a), int(b)) for a, b in np.argwhere(scores >= SAME)}
    assert len(every) >= 95
    monkeypatch.setattr("clusterkit.data.duplicates.index.ONE_CELL", 100)
    pairs = near_pairs(many)
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert found <= every
    assert len(found) >= 0.97 * len(every)
    np.testing.assert_allclose(pairs.score, scores[pairs.first, pairs.second], atol=1e-4)


def test_the_same_input_gives_the_same_groups(many, monkeypatch):
    monkeypatch.setattr("clusterkit.data.duplicates.index.ONE_CELL", 100)
    done = []
    first = near_pairs(many, lambda count, total: done.append((count, total)))
    again = near_pairs(many)
    assert done[-1] == (len(many), len(many))
    groups = near_groups(len(many), first, many)
    assert (groups == near_groups(len(many), again, many)).all()
    # Numbered in the order of their first image, two images at least in each.
    used, where, count = np.unique(groups[groups >= 0], return_index=True, return_counts=True)
    assert used.tolist() == list(range(len(used)))
    assert (np.diff(where) > 0).all()
    assert count.min() >= 2


def blends(steps: int) -> np.ndarray:
    """Signatures that go from one picture to an unlike one, each near its neighbours."""
    a, b = (row.astype(float) for row in signatures([picture(1), picture(2)]))
    turn = np.linspace(0, np.pi / 2, steps)[:, None]
    return np.round(a * np.cos(turn) + b * np.sin(turn)).clip(-127, 127).astype(np.int8)


@pytest.mark.parametrize("steps", [3, 4, 5, 8, 20, 100])
def test_a_chain_never_joins_unlike_images(steps):
    rows = blends(steps)
    scores = all_scores(rows, rows)
    # All links that hold, whether or not the search lists them.
    first, second = np.nonzero(np.triu(scores >= SAME, 1))
    pairs = NearPairs(first, second, scores[first, second])
    assert scores[0, -1] < 0.5
    groups = near_groups(steps, pairs, rows)
    for group in range(groups.max() + 1):
        assert scores[np.ix_(groups == group, groups == group)].min() >= near.ALIKE - 1e-4
    if steps > 3:
        assert groups.max() >= 1 or (groups == -1).any()
    # Whoever is split off is tried again: no link is left between two ungrouped images.
    assert not ((groups[first] < 0) & (groups[second] < 0)).any()


def test_three_in_a_row_are_not_one_group():
    rows = blends(91)[[0, 33, 66]]
    scores = all_scores(rows, rows)
    assert scores[0, 1] >= SAME
    assert scores[1, 2] >= SAME
    assert scores[0, 2] < near.ALIKE
    groups = near_groups(3, near_pairs(rows), rows)
    assert groups[0] != groups[2]
    assert sorted(groups) == [-1, 0, 0]


def test_copies_of_one_picture_are_one_group_however_many():
    rng = np.random.default_rng(2)
    same = [picture(1).rotate(rng.uniform(0, 360)) for _ in range(80)]
    rows = signatures([*same, *[picture(1)] * 40, *[picture(i) for i in range(50, 90)]])
    groups = near_groups(len(rows), near_pairs(rows), rows)
    assert (groups[:120] == 0).all()
    assert (groups[120:] == -1).all()
