"""What the answers prove: which set is certified, and the bounds before and after correction."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from clusterkit.certifying.answers import Answers
from clusterkit.certifying.answers import cannot_tell as is_untold
from clusterkit.certifying.drawn_sample import fewest_answers
from clusterkit.certifying.plan import Plan
from clusterkit.certifying.population import Population
from clusterkit.methods.asking import states_of
from clusterkit.methods.certificate import (
    SetState,
    answers_needed,
    null_total,
    upper_bound,
)
from clusterkit.methods.nested_sets import NestedSets

# Of sums of losses.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Proof:
    """The state of all sets after the answers so far.

    Attributes
    ----------
    plan : Plan
    population : Population
    sets : NestedSets
    states : list of SetState
        Of the sets that are listed.
    wrong : (N,) float
        Of each image of the population: 1 where an answer is not the label, 0 where it is, NaN
        where there is none.
    cannot_tell : (N,) bool
    """

    plan: Plan
    population: Population
    sets: NestedSets
    states: list[SetState]
    wrong: np.ndarray
    cannot_tell: np.ndarray

    @property
    def certified(self) -> int | None:
        """Number of the largest certified set; None: there is none."""
        found = [i for i, state in enumerate(self.states) if state.certified]
        return found[-1] if found else None

    @property
    def number(self) -> int:
        """The set that there is something to say about: the certified one, else the first."""
        return self.certified or 0

    @property
    def state(self) -> SetState:
        """The state of set `number`."""
        return self.states[self.number]

    @cached_property
    def members(self) -> np.ndarray:
        """(N,) bool: the images of set `number`."""
        return self.sets.member <= self.number

    @property
    def labels(self) -> int:
        """Labels of that set."""
        return int(self.members.sum())

    @property
    def different(self) -> float:
        """Losses of its units that were checked: of patients their shares of wrong labels."""
        return float(self.state.losses.sum())

    @cached_property
    def known_wrong(self) -> float:
        """Losses that are known by all answers, also those that the test does not use (yet)."""
        return _known_wrong(self.population, self.members, self.wrong)

    @cached_property
    def bound_before(self) -> float:
        """At most so many of its units are wrong as the labels were set.

        Of a certified set what was asked for, and no less: which set it is has been chosen by the
        answers, and only this was tested. Of the first set its own bound, which holds at every
        moment. Where all were checked, what was found.
        """
        plan, state = self.plan, self.state
        whole = plan.by == "image"
        if len(state.losses) == state.population:
            return self.different
        if self.certified is not None:
            most = plan.max_error * state.population
            return float(math.floor(most + _ROUNDING)) if whole else most
        bound = upper_bound(state.losses, state.population, plan.confidence, whole)
        return max(bound, self.known_wrong)

    @property
    def bound_after(self) -> float:
        """At most so many after all that was found in the set is corrected or taken out."""
        return max(0.0, self.bound_before - self.known_wrong)

    @property
    def beyond_novel(self) -> int:
        """Labels outside the set that are as sure as those in it, and called novel."""
        confidence = self.population.table["confidence"].to_numpy(dtype=float)
        least = self.sets.least_confidence[self.number]
        return int((~self.members & self.population.novel & (confidence >= least)).sum())

    @property
    def waiting(self) -> int:
        """Answers in the sample that do not count yet: one drawn before them is missing."""
        counted = np.zeros(len(self.wrong), dtype=bool)
        for number, state in enumerate(self.states):
            inside = self.sets.member <= number
            units = np.unique(self.population.unit[inside])[: len(state.losses)]
            counted |= inside & np.isin(self.population.unit, units)
        return int((~np.isnan(self.wrong) & ~counted).sum())

    def needed(self, number: int) -> int | None:
        """Further units without a difference that certify a set; None: they cannot."""
        state, plan = self.states[number], self.plan
        if not plan.max_error:
            return state.population - len(state.losses) if not state.losses.any() else None
        total = null_total(state.population, plan.max_error, plan.by == "image")
        return answers_needed(state.losses, state.population, total, plan.confidence)

    def fewest(self, number: int) -> int:
        """Units that certify a set if no label is wrong."""
        plan = self.plan
        return fewest_answers(
            plan.sets[number].units, plan.max_error, plan.confidence, plan.by == "image"
        )


def prove(plan: Plan, population: Population, sets: NestedSets, answers: Answers | None) -> Proof:
    """Test the nested sets by the answers of the sample."""
    wrong = np.full(len(population), np.nan)
    cannot_tell = np.zeros(len(population), dtype=bool)
    if answers is not None:
        given = answers.table
        places = pd.Index(population.table["image_id"]).get_indexer(given["image_id"])
        there = places >= 0
        wrong[places[there]] = (~given["agrees"].to_numpy(dtype=bool))[there]
        untold = (given["label"] == "") & given["note"].map(is_untold).astype(bool)
        cannot_tell[places[there & untold.to_numpy(dtype=bool)]] = True
    # Only the sample counts: whoever answered others may have had a reason.
    sampled = wrong.copy()
    if answers is not None:
        outside = answers.table["image_id"][~answers.table["in_sample"].to_numpy(dtype=bool)]
        sampled[population.table["image_id"].isin(outside)] = np.nan
    states = _states(plan, population, sets, sampled)
    holds, kept = True, []
    for number, state in enumerate(states):
        # Whatever the test says: what is known to be false is not certified, nor what rests on it.
        known = _known_wrong(population, sets.member <= number, wrong)
        holds = holds and known <= plan.max_error * state.population + _ROUNDING
        kept.append(replace(state, certified=state.certified and holds))
    return Proof(plan, population, sets, kept, wrong, cannot_tell)


def _known_wrong(population: Population, members: np.ndarray, wrong: np.ndarray) -> float:
    """Return the losses of a set that are known, by all answers: summed over its units."""
    unit = population.unit[members]
    images = np.bincount(unit)
    found = np.bincount(unit, np.nan_to_num(wrong[members]))
    return float((found / np.maximum(images, 1)).sum())


def _states(
    plan: Plan, population: Population, sets: NestedSets, wrong: np.ndarray
) -> list[SetState]:
    """Test the sets by the answers (N,) of the sample, NaN where there is none."""
    answered = population.unit[~np.isnan(wrong)]
    # Beyond the last answer nothing counts: of a million images a few hundred are looked at.
    near = np.flatnonzero(population.unit <= (answered.max() if len(answered) else -1))
    rows = near[np.argsort(population.unit[near], kind="stable")]
    units = [planned.units for planned in plan.sets[: plan.listed_sets]]
    # Only a full check shows that none is wrong.
    level = plan.confidence if plan.max_error else 1.0
    of_rows = None if plan.by == "image" else population.unit[rows]
    return states_of(sets.member[rows], wrong[rows], units, plan.max_error, level, of_rows)


def agreement(answers: Answers, classes: list[str]) -> list[tuple[str, float | None, int]]:
    """Return Cohen's kappa of the two readers with most images in common, in all and by class.

    Cohen (1960, doi:10.1177/001316446002000104); by class it is of "this class" against the rest.

    Returns
    -------
    list of (what, kappa, images): the first is of all classes. Empty: there is one reader. Kappa is
    None where both always gave the same single answer, of which it says nothing.
    """
    from sklearn.metrics import cohen_kappa_score

    wide = answers.by_reader.pivot_table(
        index="image_id", columns="reviewer", values="answer", aggfunc="last"
    )
    pairs = [
        (int(wide[[a, b]].notna().all(axis=1).sum()), a, b)
        for i, a in enumerate(wide.columns) for b in wide.columns[i + 1 :]
    ]  # fmt: skip
    if not pairs or max(pairs)[0] == 0:
        return []
    images, first, second = max(pairs)
    both = wide[[first, second]].dropna()
    found: list[tuple[str, float | None, int]] = []
    for name in ("", *classes):
        a, b = ((both[c] == name) if name else both[c] for c in both.columns)
        one = len({*a, *b}) < 2
        kappa = None if one else float(cohen_kappa_score(a, b))
        count = images if not name else int((a | b).sum())
        found.append((name or f"{first} and {second}", kappa, count))
    return [found[0], *(part for part in found[1:] if part[2])]
