"""A certificate as `assignments.json` keeps it, for whoever shows it beside the labels."""

from dataclasses import dataclass, field

from clusterkit.formats.json_record import JsonRecord


@dataclass(frozen=True)
class CertificateRecord(JsonRecord):
    """What `certify` found of the labels of one batch.

    Counts are of distinct images (`unit` image) or of patients (`unit` group) where it says units,
    else of labels.

    Attributes
    ----------
    certified : bool
        False: the answers do not support the error that was asked for.
    statement : str
        The finding in words, for a person.
    max_error, confidence : float
        With probability `confidence` at most `max_error` of the certified labels were wrong.
    labels : int
        Labels of the certified set, those that were checked among them; 0: none.
    least_confidence : float or None
        Lowest confidence of a label of the set.
    unit : {"image", "group"}
    population, checked : int
        Units of the set, and those of them that were checked.
    different : float
        Of the checked ones, those whose answer was not the label; can't tell among them. Of
        groups the sum of their shares.
    cannot_tell : int
        Images of the set of which nobody could tell.
    bound_before, bound_after : float or None
        At most so many units of the set have a wrong label: as `assign` wrote them, and after
        what was found was corrected. Of groups the sum of their shares.
    answered : int
        Images that were answered in all.
    readers : list of str
    version : int
        Counts up where a signed certificate was changed.
    time : str
        ISO 8601.
    folder : str
        Folder of ``certificate.html`` and all it was made of, relative to the assignments.
    """

    certified: bool = False
    statement: str = ""
    max_error: float | None = None
    confidence: float | None = None
    labels: int = 0
    least_confidence: float | None = None
    unit: str = "image"
    population: int = 0
    checked: int = 0
    different: float = 0.0
    cannot_tell: int = 0
    bound_before: float | None = None
    bound_after: float | None = None
    answered: int = 0
    readers: list[str] = field(default_factory=list)
    version: int = 1
    time: str = ""
    folder: str = "certify"

    @property
    def words(self) -> str:
        """The finding, as it stands where a promise stands."""
        if self.certified or self.statement.startswith("Not certified"):
            return self.statement
        return f"Not certified. {self.statement}".strip()
