"""The result of `similar_groups`: ranked groups, counted outcomes, and notes for a reader."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import pandas as pd

RULE = (
    "Similarity of two patients: each image is compared with the other patient's most similar "
    "one; the mean over the images of either patient, and of both means."
)
NO_ADVICE = (
    "This is no medical advice: these are patients whose images look alike to a model, and what "
    "became of them need not happen to anyone else."
)


@dataclass(frozen=True)
class GroupMatch:
    """One ranked group: a row of `GroupMatches.table`.

    Attributes
    ----------
    similarity : float in [0, 1]
        Pooled over all pairs of images.
    label, image : str
        Of the group's image in the closest pair.
    group : str
    rank : int
        From 1.
    n_images : int
        Of the group in the run.
    labels : str
        Of all its images, joined by ``|``.
    query_image : str
        The query's image in the closest pair.
    closest_similarity : float in [0, 1]
        Of the closest pair.
    same_images : int
        Images of the group that are in the query too, byte for byte or as near duplicates: likely
        the same patient.
    """

    similarity: float
    label: str
    image: str
    group: str
    rank: int
    n_images: int
    labels: str
    query_image: str
    closest_similarity: float
    same_images: int


@dataclass(frozen=True)
class GroupMatches:
    """The groups that are most similar to a query.

    Attributes
    ----------
    table : DataFrame
        At most k rows, the most similar first, with the columns of `GroupMatch`.
    outcomes : DataFrame or None
        See `summarise_outcomes`; None: none were given.
    notes : tuple of str
        Sentences that a reader has to know: the rule, what is counted, that it is no advice.
    """

    table: pd.DataFrame
    outcomes: pd.DataFrame | None
    notes: tuple[str, ...]

    @property
    def note(self) -> str:
        """The notes as one text."""
        return " ".join(self.notes)

    def rows(self) -> list[GroupMatch]:
        """Return the rows of the table."""
        return list(group_matches(self.table))


def group_matches(table: pd.DataFrame) -> Iterator[GroupMatch]:
    """Yield the rows of a table with the columns of `GroupMatch`."""
    columns = [table[field.name].tolist() for field in fields(GroupMatch)]
    for cells in zip(*columns, strict=True):
        yield GroupMatch(*cells)
