"""`assignments.json`: what `assign` promised, counted and was called with."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Self

from clusterkit.formats.certificate_record import CertificateRecord
from clusterkit.formats.feature_record import FeatureRecord
from clusterkit.formats.json_record import JsonRecord

# Keys of a promise for each class.
_OF_ALL = ("max_error", "level", "unit", "per_class")

# Keys that are left out where there is nothing to say.
_OF_FEW = ("features", "certificate", "ladder", "certify_answers", "table", "growth", "batches",
           "anew")  # fmt: skip


@dataclass(frozen=True)
class PromiseRecord(JsonRecord):
    """A promise as it is kept; see `methods.risk_control.Promise`.

    Attributes
    ----------
    per_class : dict of str to PromiseRecord, or None
        One for each class, under one error, level and unit; None: this is one for all.
    """

    max_error: float | None = None
    level: float | None = None
    threshold: float | None = None
    bound: float | None = None
    accepted: int | None = None
    errors: int | None = None
    units: int | None = None
    available: int | None = None
    needed: int | None = None
    more: int | None = None
    unit: str | None = None
    per_class: "dict[str, PromiseRecord] | None" = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: of each class, or of the one promise."""
        values = super().to_dict()
        if self.per_class is None:
            del values["per_class"]
            return values
        return {name: values[name] for name in _OF_ALL} | self.other


@dataclass(frozen=True)
class LadderStep(JsonRecord):
    """What could be promised at another error.

    Attributes
    ----------
    max_error : float
    assigned : int
        Images of this batch that would be assigned.
    more : int or None
        As of a promise: further labelled units with which more could be; None: errors are too many.
    unit : str
        Unit of `more`: group or image.
    """

    max_error: float | None = None
    assigned: int | None = None
    more: int | None = None
    unit: str | None = None


@dataclass(frozen=True)
class ClassShares(JsonRecord):
    """Share of each class: among labelled images, and as estimated of the batch."""

    labelled: dict[str, float] = field(default_factory=dict)
    estimated: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class LabelSetRecord(JsonRecord):
    """How label sets were made.

    Attributes
    ----------
    level : float
        A set holds the true label with this probability.
    held_out : int
        Held-out images that say which classes are in a set.
    needed : int
        Fewest that say so at this level.
    in_every_set : list of str
        Classes of which fewer were held out: no set is without them.
    """

    level: float | None = None
    held_out: int | None = None
    needed: int | None = None
    in_every_set: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ClusterSummary(JsonRecord):
    """One cluster of refused images.

    Attributes
    ----------
    cluster, size : int
    medoid, medoid_id : str
        The image nearest the mean of the cluster.
    labels : dict of str to int
        How many members lean to each label.
    """

    cluster: int | None = None
    size: int | None = None
    medoid: str | None = None
    medoid_id: str | None = None
    labels: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TransductionRecord(JsonRecord):
    """Whether the images of the batch helped to label each other; see `methods.transduction`.

    Attributes
    ----------
    used : bool
    why : str
        In words.
    gain : float
        By how much it lowers the Brier score (0 to 2) of held-out units.
    images, apart : int
        Images of the batch that took part, and those that did not.
    weights : list of float
        Of an image's own probabilities, the student's, and those of its neighbours.
    confidence : list of float, right : list of bool
        Of the held-out images afterwards, under the batch's class shares.
    """

    used: bool | None = None
    why: str | None = None
    gain: float | None = None
    images: int | None = None
    apart: int | None = None
    weights: list[float] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)

    def with_held_out(self, confidence: Iterable[float], right: Iterable[bool]) -> Self:
        """Return the record with what became of the held-out images; unchanged if not `used`."""
        if not self.used:
            return self
        return replace(self, confidence=[round(float(c), 6) for c in confidence],
                       right=[bool(r) for r in right])  # fmt: skip


@dataclass(frozen=True)
class GrowthRecord(JsonRecord):
    """How an input compares with that of before, in rows.

    Attributes
    ----------
    kept : int
        Of the same bytes: as they were.
    new : int
        Of images that were not there.
    changed : int
        Of other bytes under the same name, or tried again because they could not be read.
    gone : int
        Of before, of images that are no longer there.
    """

    kept: int | None = None
    new: int | None = None
    changed: int | None = None
    gone: int | None = None


@dataclass(frozen=True)
class BatchRecord(JsonRecord):
    """Rows that were decided together, and what was promised of them.

    Attributes
    ----------
    images : int
        Rows of the table that are as they were decided then.
    names : list of str
        Of which images; empty: of all that no other batch names.
    promise : PromiseRecord or None
    promise_text : str
    fingerprint : str
        Of the record that was written then.
    clusters : list of str
        `known_images.clusters_fingerprint` of the table while this batch was its last one: by it a
        review that names a cluster is known to be about these rows and those of earlier batches.
    """

    images: int | None = None
    names: list[str] = field(default_factory=list)
    promise: PromiseRecord | None = None
    promise_text: str | None = None
    fingerprint: str | None = None
    clusters: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class AssignmentRecord(JsonRecord):
    """The values of `assignments.json`; None and empty: it does not say.

    Attributes
    ----------
    images : int
    status : dict of str to int
        Images of each status.
    failures : dict of str to int
        Why images failed, and how many: the most frequent reason first.
    assigned_by_class : dict of str to int
    clusters, near_duplicates : int
    class_shares : ClassShares
    promise : PromiseRecord or None
        None: everything is assigned, and nothing promised.
    promise_text : str
        The promise in words.
    ladder : list of LadderStep
        Where nothing can be promised at the error asked for: what could be at others. Each step is
        at the level by itself, not all together.
    certify_answers : int or None
        Beside a ladder: answers after which `certify` certifies the whole batch at the error asked
        for, if none is wrong.
    confidence : float
        Of the promise and of label sets.
    label_sets : LabelSetRecord
    untestable_classes : list of str
        They have too few labelled images to tell whether an image is unlike them; no image that is
        like them is called novel.
    remarks : list of str
        What a person must know of label sets and novelty to read the table, in words.
    run : str
        Id of the run.
    input_root : str
        Folder that images are relative to, itself relative to this file.
    device : str
    versions : dict of str to str
    cluster_summaries : list of ClusterSummary
    fingerprint : str
        Of everything that decided the table.
    resumed_batches : int
        Batches that an interrupted call had left.
    seconds, images_per_second : float
    left_out : dict of str to dict
        Files of the input that are no row: by reason, how many of each ending.
    not_read : dict of str to dict
        Likewise rows that are failed because images of their type are not read.
    link_roots : list of str
        Folders that links among the images may lead into, relative as `input_root`.
    transduction : TransductionRecord
    features : FeatureRecord or None
        Features that the images were labelled by, where the run has no encoder.
    certificate : CertificateRecord or None
        What `certify` found; None: nobody has checked the labels.
    table : str or None
        SHA-256 of the CSV as it was written with this record.
    settings : dict
        Of `assign`, by which rows were decided.
    growth : GrowthRecord or None
        How the input compares with that of before; None: no row of before was kept.
    batches : list of BatchRecord
        Where rows were decided in several calls: each with its promise. `promise` is the last's.
    anew : str or None
        Why rows that were there before were decided anew, in words; None: they were not.
    """

    images: int | None = None
    status: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    assigned_by_class: dict[str, int] = field(default_factory=dict)
    clusters: int | None = None
    near_duplicates: int | None = None
    class_shares: ClassShares = field(default_factory=ClassShares)
    promise: PromiseRecord | None = None
    promise_text: str | None = None
    confidence: float | None = None
    label_sets: LabelSetRecord = field(default_factory=LabelSetRecord)
    untestable_classes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    # Of any type: what is no id of a run must not pass for no id.
    run: Any = None
    input_root: Any = "."
    device: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    cluster_summaries: list[ClusterSummary] = field(default_factory=list)
    fingerprint: str | None = None
    resumed_batches: int | None = None
    seconds: float | None = None
    images_per_second: float | None = None
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    not_read: dict[str, dict[str, int]] = field(default_factory=dict)
    # As `input_root`.
    link_roots: list[Any] = field(default_factory=list)
    transduction: TransductionRecord = field(default_factory=TransductionRecord)
    features: FeatureRecord | None = None
    certificate: CertificateRecord | None = None
    ladder: list[LadderStep] = field(default_factory=list)
    certify_answers: int | None = None
    table: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    growth: GrowthRecord | None = None
    batches: list[BatchRecord] = field(default_factory=list)
    anew: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; of what few tables have only what there is."""
        values = super().to_dict()
        for name in _OF_FEW:
            if values[name] is None or values[name] == []:
                del values[name]
        return values

    @property
    def certified(self) -> bool:
        """Whether a certificate is in the place of the promise."""
        return self.certificate is not None and bool(self.certificate.certified)

    def threshold(self, label: str) -> float | None:
        """Return the confidence from which on a label was assigned; None: it does not say."""
        promise = self.promise
        if promise is not None and promise.per_class is not None:
            promise = promise.per_class.get(label)
        return None if promise is None else share(promise.threshold)


def share(value: float | None) -> float | None:
    """Return a number of a record that is from 0 to 1; None of others: somebody has edited it."""
    return value if value is not None and 0 <= value <= 1 else None
