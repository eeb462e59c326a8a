"""The plan of a certificate: made once from what is wanted, and kept to from then on."""

import logging
from dataclasses import asdict, dataclass, replace

import pandas as pd

import clusterkit
from clusterkit.certifying.batch_to_certify import BatchToCertify, PlannedBatch, keep_before
from clusterkit.certifying.certificate_file import read_certificate
from clusterkit.certifying.drawn_sample import (
    SAMPLE,
    draw_sample,
    fewest_answers,
    reachable_sets,
    sample_digest,
    units_of_sets,
    write_sample,
)
from clusterkit.certifying.plan import PLAN, Plan, PlannedSet, time_now
from clusterkit.certifying.population import Population, population_of
from clusterkit.data.written_names import relative_folder
from clusterkit.errors import ConfigError, DataError
from clusterkit.formats.atomic import write_json
from clusterkit.formats.run import Run
from clusterkit.methods.certificate import BET
from clusterkit.methods.nested_sets import NestedSets

log = logging.getLogger("clusterkit")

DEFAULT_ERROR, DEFAULT_BUDGET = 0.05, 200
QUESTION = "Which of the classes does this image show?"


@dataclass(frozen=True)
class Wanted:
    """What the caller asks for; None: it says nothing of it.

    Attributes
    ----------
    max_error : float in [0, 1)
        Share of wrong labels; else that of the run's promise, or 0.05. 0 takes an answer for each
        image.
    confidence : float in (0, 1)
        Else that of the run.
    budget : int
        The most answers; else 200. A larger one goes on with the same sample.
    by : {"image", "group"}
        What is drawn: images (else), or patients with all their images.
    question : str
        What a reader is asked of each image.
    show_label : bool
        Show the label before the answer: quicker, and biased towards it.
    seed : int
        Else the run's.
    """

    max_error: float | None = None
    confidence: float | None = None
    budget: int | None = None
    by: str | None = None
    question: str | None = None
    show_label: bool | None = None
    seed: int | None = None

    def check(self) -> None:
        """Raise a ConfigError where a value is impossible."""
        if self.max_error is not None and not 0 <= self.max_error < 1:
            raise ConfigError(f"--max-error {self.max_error:g} is no share of wrong labels; give "
                              "one from 0 to below 1, e.g. 0.05")  # fmt: skip
        if self.confidence is not None and not 0 < self.confidence < 1:
            raise ConfigError(f"--confidence {self.confidence:g} is no probability; give one "
                              "between 0 and 1, e.g. 0.9")  # fmt: skip
        if self.budget is not None and self.budget < 1:
            raise ConfigError(f"--budget {self.budget} asks nobody anything; give the most answers "
                              "that somebody has time for, e.g. 100")  # fmt: skip
        if self.seed is not None and self.seed < 0:
            raise ConfigError(f"--seed {self.seed} is below 0; give a whole number from 0")
        if self.by not in (None, "image", "group"):
            raise ConfigError(f"--by {self.by} is neither image nor group")

    def over(self, before: Plan | None) -> "Wanted":
        """Return it with what it does not say as in a plan that is drawn anew."""
        if before is None:
            return self
        values = {name: getattr(before, name) if value is None else value
                  for name, value in asdict(self).items()}  # fmt: skip
        return replace(self, **values)


def agreed_plan(run: Run, batch: BatchToCertify, wanted: Wanted) -> tuple[PlannedBatch, bool]:
    """Return the batch with its plan, and whether the plan is new or longer than it was.

    Raises
    ------
    ClusterkitError
        What is wanted is impossible, or not what was fixed.
    """
    if batch.earlier is None:
        return _new_plan(run, batch, wanted), True
    plan = batch.earlier
    _check_kept(plan, wanted)
    population = population_of(batch.table, plan.by, plan.seed, plan.version)
    if population.fingerprint != plan.fingerprint:
        raise DataError(f"the labels in {batch.csv} are not those of {batch.folder / PLAN}: one of "
                        "them was changed; draw anew with --fresh")  # fmt: skip
    sets = population.nested_sets(plan.max_error)
    sample = draw_sample(population, sets, plan.listed_sets, plan.budget)
    _check_unchanged(batch, plan, units_of_sets(population, sets), sample_digest(sample))
    longer = wanted.budget is not None and wanted.budget > plan.budget
    if wanted.budget is not None and wanted.budget < plan.budget:
        raise DataError(
            f"the plan has {plan.budget} answers at most, and --budget {wanted.budget} "
            "would be fewer: stop whenever you like, the certificate holds"
        )
    if longer:
        budget = min(wanted.budget or 0, len(population))
        plan, sample = _listed(plan, population, sets, budget)
        _write(batch, plan, sample)
    elif not (batch.folder / SAMPLE).is_file():
        write_sample(sample, batch.folder / SAMPLE)
    return _planned(batch, plan, population, sets), longer


def _new_plan(run: Run, batch: BatchToCertify, wanted: Wanted) -> PlannedBatch:
    before, promised = batch.replaced, run.config.assign
    version = before.version + 1 if before else 1
    wanted = wanted.over(before)
    error = wanted.max_error if wanted.max_error is not None else promised.max_error
    error = DEFAULT_ERROR if error is None else error
    by, seed = wanted.by or "image", run.info.seed if wanted.seed is None else wanted.seed
    population = population_of(batch.table, by, seed, version)
    sets = population.nested_sets(error)
    units = units_of_sets(population, sets)
    now = time_now()
    plan = Plan(
        version=version,
        run=run.info.id,
        fingerprint=population.fingerprint,
        seed=seed,
        by=by,
        max_error=error,
        confidence=promised.confidence if wanted.confidence is None else wanted.confidence,
        bet=BET,
        budget=0,
        question=wanted.question or QUESTION,
        show_label=bool(wanted.show_label),
        created=now,
        images=len(population),
        units=population.units,
        left_out=len(batch.table) - len(population),
        sets=[
            PlannedSet(int(size), count, round(float(least), 6))
            for size, count, least in zip(sets.sizes, units, sets.least_confidence, strict=True)
        ],
        listed_sets=1,
        sample="",
        assignments=relative_folder(batch.csv.absolute(), batch.folder.absolute()),
        file=batch.digest,
        versions={"clusterkit": clusterkit.__version__},
        replaces=before.key if before else "",
    )
    budget = wanted.budget or (DEFAULT_BUDGET if error else len(population))
    plan, sample = _listed(plan, population, sets, min(budget, len(population)))
    _write(batch, plan, sample)
    return _planned(batch, plan, population, sets)


def _listed(
    plan: Plan, population: Population, sets: NestedSets, budget: int
) -> tuple[Plan, pd.DataFrame]:
    """Return a plan for so many answers, and its sample."""
    whole = plan.by == "image"
    units = [planned.units for planned in plan.sets]
    fewest = fewest_answers(units[0], plan.max_error, plan.confidence, whole)
    if whole and budget < fewest:
        log.warning("with %d answers nothing can be certified: it takes %d for the first %d labels "
                    "if none is wrong", budget, fewest, plan.sets[0].labels)  # fmt: skip
    # Patients have several images each, so that their number says little of that of answers.
    share = 1.0 if whole else plan.units / plan.images
    reach = reachable_sets(units, plan.max_error, plan.confidence, int(budget * share), whole)
    sample = draw_sample(population, sets, reach, budget)
    plan = replace(plan, budget=budget, listed_sets=reach, sample=sample_digest(sample))
    return plan, sample


def _planned(
    batch: BatchToCertify, plan: Plan, population: Population, sets: NestedSets
) -> PlannedBatch:
    values = {name: getattr(batch, name) for name in BatchToCertify.__dataclass_fields__}
    return PlannedBatch(**values, plan=plan, population=population, sets=sets)


def _write(batch: BatchToCertify, plan: Plan, sample: pd.DataFrame) -> None:
    """Write the plan last: without it nothing was begun."""
    keep_before(batch)
    write_sample(sample, batch.folder / SAMPLE)
    write_json(batch.folder / PLAN, plan.to_dict())


def _check_unchanged(batch: BatchToCertify, plan: Plan, units: list[int], sample: str) -> None:
    """Refuse a plan that is not the one by which a certificate was made, or fits no drawing."""
    made = read_certificate(batch.folder)
    same = units == [planned.units for planned in plan.sets] and sample == plan.sample
    if not same or (made is not None and made.plan != plan.key):
        raise DataError(f"{batch.folder / PLAN} was changed since the sample was drawn; put it "
                        "back from a copy, or draw anew with --fresh")  # fmt: skip


def _check_kept(plan: Plan, wanted: Wanted) -> None:
    """Refuse options that are not those that were fixed before the first answer."""
    for name, value in asdict(wanted).items():
        fixed = getattr(plan, name)
        if value is None or name == "budget" or value == fixed:
            continue
        option = name.replace("_", "-") if name != "show_label" else "open"
        raise DataError(
            f"--{option} {value} is not what was fixed before the first answer ({fixed}); leave it "
            "out, or draw a new sample with --fresh, which the certificate will say"
        )
