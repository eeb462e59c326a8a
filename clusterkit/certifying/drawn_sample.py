"""`sample.csv`: the images that may be asked, in the order in which they were drawn."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from clusterkit.certifying.population import Population
from clusterkit.data.identity import text_id
from clusterkit.data.tables import read_table
from clusterkit.errors import DataError
from clusterkit.formats.atomic import replacing
from clusterkit.formats.csv_text import restore_csv_text, safe_csv_text, table_text
from clusterkit.methods.certificate import answers_needed, null_total
from clusterkit.methods.nested_sets import NestedSets

SAMPLE = "sample.csv"
SAMPLE_COLUMNS = ("place", "image_id", "image", "set", "unit")


def units_of_sets(population: Population, sets: NestedSets) -> list[int]:
    """Count the units of each set: those with an image in it."""
    first = np.full(population.units, len(sets))
    np.minimum.at(first, population.unit, sets.member)
    return np.cumsum(np.bincount(first, minlength=len(sets))).tolist()


def reachable_sets(
    units: list[int], max_error: float, confidence: float, budget: int, whole: bool
) -> int:
    """Count the sets that can be certified with so many answers if no label is wrong; at least 1.

    Going from one set to the next takes those of its further units that were drawn before the last
    one of the set.
    """
    asked, before = 0.0, 0
    for number, population in enumerate(units):
        needed = fewest_answers(population, max_error, confidence, whole)
        asked = max(asked + needed * (population - before) / population, needed)
        if asked > budget:
            return max(1, number)
        before = population
    return len(units)


def fewest_answers(population: int, max_error: float, confidence: float, whole: bool) -> int:
    """Answers that certify a set if no label is wrong; all for an error of 0."""
    if not max_error:
        return population
    total = null_total(population, max_error, whole)
    needed = answers_needed([], population, total, confidence)
    return population if needed is None else needed


def draw_sample(
    population: Population, sets: NestedSets, listed_sets: int, budget: int
) -> pd.DataFrame:
    """List the images that may be asked: of each set, the first units up to `budget` answers.

    Returns
    -------
    DataFrame in the drawn order, with `SAMPLE_COLUMNS`: place (from 1), image_id, image, set (the
    first that it belongs to), unit (place of its unit in the drawn order, from 0).
    """
    order = np.argsort(population.unit, kind="stable")
    member, unit = sets.member[order], population.unit[order]
    listed = np.zeros(len(order), dtype=bool)
    for number in range(listed_sets):
        inside = np.flatnonzero(member <= number)
        # Whole units: a patient of whom some images are asked proves nothing.
        last = unit[inside[min(budget, len(inside)) - 1]]
        listed[inside[unit[inside] <= last]] = True
    rows = order[listed]
    names = population.table[["image_id", "image"]].iloc[rows].reset_index(drop=True)
    return names.assign(
        place=np.arange(1, len(rows) + 1), set=sets.member[rows], unit=population.unit[rows]
    )[list(SAMPLE_COLUMNS)]


def sample_digest(sample: pd.DataFrame) -> str:
    """Return the SHA-256 of a sample: of its images, sets and units in their order."""
    lines = zip(sample["image_id"], sample["set"], sample["unit"], strict=True)
    text = "".join(f"{identity} {number} {unit}\n" for identity, number, unit in lines)
    return hashlib.sha256(text.encode()).hexdigest()


def write_sample(sample: pd.DataFrame, path: Path) -> None:
    """Write `sample.csv`, whole or not at all."""
    out = sample.assign(image=[safe_csv_text(name) for name in sample["image"]])
    with replacing(path, newline="", mark=True) as file:
        file.write(table_text(out))


def read_sample(folder: Path, digest: str) -> pd.DataFrame:
    """Read `sample.csv` and check that it is the one that was drawn, in its order.

    Raises
    ------
    DataError
        It is missing, or somebody has changed or reordered it.
    """
    path = folder / SAMPLE
    if not path.is_file():
        raise DataError(f"{path} is missing; `clusterkit certify` without --reviews writes the "
                        "same one again")  # fmt: skip
    names, lines, _ = read_table(path, wanted=SAMPLE_COLUMNS)
    missing = [name for name in SAMPLE_COLUMNS if name not in names]
    cells = {name: [line[i] for line in lines] for i, name in enumerate(names)}
    if not missing:
        sample = pd.DataFrame({name: cells[name] for name in SAMPLE_COLUMNS}, dtype=object)
        sample["image_id"] = [text_id(cell.strip()) for cell in sample["image_id"]]
        sample["image"] = [restore_csv_text(cell) for cell in sample["image"]]
        numbers = {c: pd.to_numeric(sample[c], errors="coerce") for c in ("place", "set", "unit")}
        sample = sample.assign(**numbers)
        if sample_digest(sample) == digest:
            return sample
        said = "was changed or put into another order since it was drawn"
    else:
        said = f"has no column '{missing[0]}'"
    raise DataError(f"{path} {said}, and the order is part of the proof; remove it, and "
                    "`clusterkit certify` without --reviews writes it again; answers stay where "
                    "they are")  # fmt: skip
