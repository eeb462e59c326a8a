"""`plan.json`: what was fixed before the first answer, and cannot be changed after it."""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from clusterkit.errors import DataError, shown
from clusterkit.formats.json_record import JsonRecord
from clusterkit.methods.certificate import BET

PLAN = "plan.json"

# What names a plan: a longer sample of the same order is the same plan.
_NAMING = ("version", "fingerprint", "seed", "by", "max_error", "confidence", "bet", "question",
           "show_label")  # fmt: skip


@dataclass(frozen=True)
class PlannedSet(JsonRecord):
    """One of the nested sets.

    Attributes
    ----------
    labels, units : int
        Distinct images in it, and the images or patients that are drawn.
    least_confidence : float
        Lowest confidence in it.
    """

    labels: int
    units: int
    least_confidence: float


@dataclass(frozen=True)
class Plan(JsonRecord):
    """The plan of a certificate.

    Attributes
    ----------
    version : int
        Counts up where a sample was drawn anew, of which `replaces` names the plan before.
    run : str
        Id of the run.
    fingerprint : str
        Of the labels; see `population.population_of`.
    seed : int
    by : {"image", "group"}
    max_error : float in [0, 1)
    confidence : float in (0, 1)
    bet : float
        See `methods.certificate.BET`.
    budget : int
        The most answers.
    question : str
        What a reader is asked of each image.
    show_label : bool
        The label is shown before the answer.
    created : str
        ISO 8601, UTC: rows that are older are no answers.
    images, units, left_out : int
        Distinct images whose labels are to be certified, their units, and rows of the table that
        are none of them.
    sets : list of PlannedSet
        All, ascending.
    listed_sets : int
        So many of them can be reached within the budget; the sample is of these.
    sample : str
        SHA-256 of the sample in its order.
    assignments : str
        The table, relative to this file.
    file : str
        SHA-256 of it.
    versions : dict of str to str
    """

    version: int
    run: str
    fingerprint: str
    seed: int
    by: str
    max_error: float
    confidence: float
    bet: float
    budget: int
    question: str
    show_label: bool
    created: str
    images: int
    units: int
    left_out: int
    sets: list[PlannedSet]
    listed_sets: int
    sample: str
    assignments: str
    file: str
    versions: dict[str, str] = field(default_factory=dict)
    replaces: str = ""

    @property
    def key(self) -> str:
        """16 hex digits that name what is fixed: all but how many answers there may be."""
        values = self.to_dict()
        text = json.dumps([values[name] for name in _NAMING], ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def check(self) -> None:
        """Raise a ValueError where a value is none that `certify` writes."""
        for name, holds in (
            ("version", self.version >= 1), ("seed", self.seed >= 0),
            ("by", self.by in ("image", "group")), ("max_error", 0 <= self.max_error < 1),
            ("confidence", 0 < self.confidence < 1), ("bet", self.bet == BET),
            ("budget", 1 <= self.budget <= self.images), ("sets", len(self.sets) > 0),
            ("listed_sets", 1 <= self.listed_sets <= len(self.sets)),
            ("assignments", self.assignments.endswith(".csv")),
        ):  # fmt: skip
            if not holds:
                raise ValueError(f"{name} is {shown(str(getattr(self, name)))}")


def time_now() -> str:
    """Return the time as it is kept: ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_plan(folder: Path) -> Plan | None:
    """Read the plan of a folder; None: it has none.

    Raises
    ------
    DataError
        It cannot be read.
    """
    path = folder / PLAN
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it is no JSON object")
        plan = Plan.from_dict(values)
        plan.check()
        return plan
    except (OSError, ValueError, KeyError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({error}); put it back from a copy, or draw a new "
                        "sample with --fresh")  from error  # fmt: skip
