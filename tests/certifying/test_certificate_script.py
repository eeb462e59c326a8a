"""The page's mathematics in a browser against the package's: wealth, sets, the next image."""

import json
from dataclasses import replace

import numpy as np
import pytest

from clusterkit.certifying.certify_page import PageSet
from clusterkit.methods.certificate import (
    BET,
    answers_needed,
    certify_in_order,
    log_wealth,
    null_total,
    refuted,
    upper_bound,
)
from tests.certify_pages import asked, page_of, write_certify_page
from tests.pages import data_of


@pytest.fixture(scope="module")
def script(browser, tmp_path_factory):
    """Run a function of the page's script on values."""
    folder = tmp_path_factory.mktemp("script")
    page = write_certify_page(folder, page_of(asked(1)))
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(page.as_uri())
    yield tab.evaluate
    context.close()


def losses_of(rng, count: int, whole: bool) -> list[float]:
    wrong = rng.random(count) < rng.choice([0, 0.02, 0.1, 0.5, 1])
    return [float(x) for x in (wrong if whole else wrong * rng.integers(0, 5, count) / 4)]


def cases(seed: int, number: int):
    rng = np.random.default_rng(seed)
    for _ in range(number):
        population = int(rng.choice([1, 2, 5, 40, 300, 20_000]))
        count = int(rng.integers(0, min(population, 120) + 1))
        whole = bool(rng.integers(2))
        error = float(rng.choice([0, 0.01, 0.05, 0.1, 0.5]))
        yield {"losses": losses_of(rng, count, whole), "population": population, "whole": whole,
               "error": error, "level": float(rng.choice([0.5, 0.9, 0.99]))}  # fmt: skip


def test_wealth_and_bounds_are_those_of_the_package(script):
    made = list(cases(0, 400))
    found = script(
        """([cases, bet]) => cases.map(({ losses, population, whole, error, level }) => {
            const total = nullTotal(population, error, whole);
            const wealth = total > 0 && total <= population
                ? logWealth(losses, population, total, bet) : [];
            return { total, refuted: refuted(losses, population, total, level, bet),
                wealth: wealth.map((value) => (Number.isFinite(value) ? value : String(value))),
                bound: upperBound(losses, population, level, whole, bet) };
        })""",
        [made, BET],
    )
    reached = 0
    for case, own in zip(made, found, strict=True):
        total = null_total(case["population"], case["error"], case["whole"])
        assert own["total"] == total
        values = case["losses"], case["population"]
        assert own["refuted"] == refuted(*values, total, case["level"]), case
        reached += own["refuted"]
        if own["wealth"]:
            theirs = log_wealth(*values, total)
            mine = np.array([float(value.replace("Infinity", "inf")) if isinstance(value, str)
                             else value for value in own["wealth"]])  # fmt: skip
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-9)
        bound = upper_bound(*values, case["level"], case["whole"])
        assert own["bound"] == pytest.approx(bound, abs=1e-9), case
    assert 40 < reached < 360


def plans(seed: int, number: int, patients: bool):
    """Batches of nested sets, drawn, some of them answered: what the page and the package read."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        images, sets = int(rng.integers(1, 90)), int(rng.integers(1, 6))
        first = [int(value) for value in rng.integers(0, sets, images)]
        first[0] = 0
        unit = sorted(int(u) for u in rng.integers(0, max(1, images // 3), images))
        unit = unit if patients else list(range(images))
        open_ = rng.random() * 0.3
        answers = [
            None if rng.random() < open_ else int(rng.random() < 0.05) for _ in range(images)
        ]
        populations = []
        for number_ in range(sets):
            members = {u for u, s in zip(unit, first, strict=True) if s <= number_}
            grown = int(rng.integers(0, 4)) * int(rng.integers(2))
            populations.append(max(len(members) + grown, *populations, 0))
        yield {"first": first, "unit": unit, "answers": answers, "populations": populations,
               "whole": not patients, "error": float(rng.choice([0.05, 0.2, 0.4])),
               "level": float(rng.choice([0.5, 0.9]))}  # fmt: skip


def units_of(case, number: int) -> list[list[int]]:
    """Images of each unit of a set in the drawn order, written out."""
    members = [i for i, first in enumerate(case["first"]) if first <= number]
    return [[i for i in members if case["unit"][i] == unit]
            for unit in sorted({case["unit"][i] for i in members})]  # fmt: skip


def prefix(case, number: int, answers) -> list[float]:
    losses = []
    for images in units_of(case, number):
        own = [answers[i] for i in images]
        if None in own:
            break
        losses.append(sum(own) / len(own))
    return losses


RUN = """(cases) => cases.map((one) => {
    const images = one.first.map((set, number) => ({ set, unit: one.unit[number] }));
    const sets = one.populations.map((units) => ({ units, listed: units }));
    const plan = { sets, units: unitsOfSets(images, sets), maxError: one.error, level: one.level,
        whole: one.whole, bet: one.bet };
    const lossOf = (number) => one.answers[number] ?? undefined;
    const states = certifyInOrder(plan, lossOf);
    const certified = targetOf(states);
    return { losses: states.map((state) => state.losses),
        certified: states.map((state) => state.certified),
        next: nextImage(plan, lossOf),
        needed: certified < sets.length ? answersToCertify(plan, certified, lossOf) : 0 };
})"""


@pytest.mark.parametrize("patients", [False, True])
def test_sets_and_the_next_image_are_those_of_the_package(script, patients):
    made = [case | {"bet": BET} for case in plans(1, 400, patients)]
    found = script(RUN, json.loads(json.dumps(made)))
    certified, asked_next = set(), 0
    for case, own in zip(made, found, strict=True):
        sets = range(len(case["populations"]))
        losses = [prefix(case, number, case["answers"]) for number in sets]
        states = certify_in_order(case["populations"], losses, case["error"], case["level"],
                                  case["whole"])  # fmt: skip
        assert own["losses"] == [pytest.approx(one, abs=1e-12) for one in losses]
        assert own["certified"] == [state.certified for state in states]
        target = sum(own["certified"])
        certified.add(target)
        assert own["next"] == next_image(case, target)
        asked_next += own["next"] >= 0
        if target < len(sets):
            assert own["needed"] == needed(case, target)
    assert len(certified) > 3
    assert 0 < asked_next < len(made)


def next_image(case, target: int) -> int:
    for number in range(target, len(case["populations"])):
        for images in units_of(case, number):
            for image in images:
                if case["answers"][image] is None:
                    return image
    return -1


def needed(case, target: int) -> int | None:
    """Answer images as labelled one after the other until the set is certified."""
    answers, total = list(case["answers"]), null_total(
        case["populations"][target], case["error"], case["whole"])  # fmt: skip
    given = 0
    while True:
        losses = prefix(case, target, answers)
        if refuted(losses, case["populations"][target], total, case["level"]):
            return given
        open_ = [i for images in units_of(case, target) for i in images if answers[i] is None]
        if not open_:
            return None
        answers[open_[0]] = 0
        given += 1


def test_answers_needed_at_the_start_are_those_of_the_package(script):
    for population in (60, 2000):
        case = {"first": [0] * 60, "unit": list(range(60)), "answers": [None] * 60,
                "populations": [population], "whole": True, "error": 0.05, "level": 0.9,
                "bet": BET}  # fmt: skip
        total = null_total(population, 0.05)
        assert script(RUN, [case])[0]["needed"] == answers_needed([], population, total, 0.9)


def test_no_unit_beyond_a_gap_is_read(script):
    """The sample holds later units of a set that were drawn for another one: they do not count."""
    found = script(
        """() => unitsOfSets([0, 1, 2, 3].map((unit) => ({ set: 0, unit })),
            [{ units: 50, listed: 2 }])"""
    )
    assert found == [[[0], [1]]]


def test_of_patients_those_count_whose_images_the_budget_has_drawn(tmp_path):
    """Three images each, of every second patient all in the smaller set."""
    images = asked(24, set_of=lambda n: n // 3 % 2, unit_of=lambda n: n // 3)
    page = page_of(images, unit="group", budget=7, sets=[PageSet(30, 10), PageSet(60, 20)])
    sets = data_of(write_certify_page(tmp_path, page))["sets"]
    # Images 0-2, 6-8 and 12; images 0-6.
    assert [one["listed"] for one in sets] == [3, 3]
    exact = replace(page, sets=[PageSet(30, 10, 2), PageSet(60, 20, 8)])
    assert [one["listed"] for one in data_of(write_certify_page(tmp_path, exact))["sets"]] == [2, 8]
