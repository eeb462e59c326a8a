"""The record `run.json`: a run's data, networks, decisions and figures."""

from dataclasses import dataclass, field
from typing import Any, Self

from clusterkit.errors import RunError
from clusterkit.formats.cluster_trust import CheckedMembers
from clusterkit.formats.feature_record import FeatureRecord
from clusterkit.formats.json_record import JsonRecord
from clusterkit.formats.run_schema import DamageError, check_record

FORMAT = 5
# Still read: 4 has only networks of torchvision; 3 no precision either, and the labelled images'
# appearance instead of a novelty model.
OLDEST = 3

# Classes that a short text names.
_NAMED = 10


@dataclass(frozen=True)
class DataSummary(JsonRecord):
    """The labelled images of a run.

    Attributes
    ----------
    root : str
        Their folder, relative to the run.
    roots : list of str
        All folders that labelled images are in, tried in this order.
    images : int
    patient_key : str or None
        Fingerprint of the key by which patient ids were hashed.
    unlabelled : int
        Further images that were learned from.
    units : int
        Groups, and images without one.
    units_of_several_classes : int
        Groups with images of several classes; they are never split between folds.
    by_class : dict of str to int
        Images of each class.
    groups : int
        Groups that were named, e.g. patients; 0: nobody named any.
    renamed : dict of str to str
        The label map that was used: from old names to new ones.
    left_out : dict of str to dict
        Files that were listed and are no row: by reason, how many of each ending.
    link_roots : list of str
        Folders that links among the images may lead into, relative to the run.
    without_pictures : int
        Labelled images with features whose files were not there, or could not be read.
    """

    root: str
    roots: list[str] = field(default_factory=list)
    images: int = 0
    patient_key: str | None = None
    unlabelled: int = 0
    units: int = 0
    units_of_several_classes: int = 0
    by_class: dict[str, int] = field(default_factory=dict)
    groups: int = 0
    renamed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    link_roots: list[str] = field(default_factory=list)
    without_pictures: int = 0


@dataclass(frozen=True)
class TrainingDecisions(JsonRecord):
    """Decisions that `fit` took by measuring on held-out images.

    Attributes
    ----------
    views : str
        Mirror images that heads on cached features learned from.
    inputs : str
        What the fusion weighs, e.g. ``classifier+similarity``.
    pool : int
        Unlabelled images that were learned from.
    self_training : dict
        ``rounds`` that were kept (all or none), ``why``, and how many images ``joined``.
    """

    views: str = ""
    inputs: str = ""
    pool: int = 0
    self_training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunInfo(JsonRecord):
    """The values of `run.json`. Plain ones by their keys there: ``info["data"]["images"]``.

    Attributes
    ----------
    format : int
    id : str
        16 hex digits.
    created : str
        ISO 8601, UTC.
    versions : dict of str to str
    config : dict
        The settings, without paths of the machine where it was fitted.
    classes : list of str
        In the order of every probability column.
    backbone, weights : str
        The network, and ``packaged``, ``imagenet``, ``none``, a repository, or the name of a file.
    encoder : {"shared", "separate"}
    classifier_head : {"linear", "mlp"}
    size : int
        Pixels per side.
    seed : int
    data : DataSummary
    strategy, strategy_reason : str
        ``head`` or ``finetune``, and why.
    folds : int
        1: one split.
    decisions : TrainingDecisions
    precision : dict
        See `methods.precision.Precision`.
    metrics : dict
        Figures of held-out images, see `Calibration.metrics`; and under ``test`` those of the
        images of the split test, see `training.final_test.measure_test`.
    reviews : dict
        A person's corrections that were used; empty: none.
    network : dict
        The encoder as `encoders.backbone.EncoderRecord` has it; empty in older runs, whose
        backbone is torchvision's.
    features : FeatureRecord or None
        Features that were given in the place of an encoder, which `backbone` then calls
        ``features``.
    """

    format: int
    id: str
    created: str
    versions: dict[str, str]
    config: dict[str, Any]
    classes: list[str]
    backbone: str
    weights: str
    encoder: str
    classifier_head: str
    size: int
    seed: int
    data: DataSummary
    strategy: str
    strategy_reason: str
    folds: int
    decisions: TrainingDecisions
    precision: dict[str, Any]
    metrics: dict[str, Any]
    reviews: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    features: FeatureRecord | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; features only where some were given."""
        values = super().to_dict()
        if self.features is None:
            del values["features"]
        return values

    @property
    def without_label(self) -> dict[str, str]:
        """Images that a person looked at and gave no label: image_id → skipped or rejected."""
        found = self.reviews.get("no_label")
        if not isinstance(found, dict):
            return {}
        return {str(k): v for k, v in found.items() if v in ("skipped", "rejected")}

    @property
    def trust_of_names(self) -> dict[str, float]:
        """Provenance ``cluster:<n>`` → trust in (0, 1) in its name; see `cluster_trust`.

        Of a number that several batches used, the least.
        """
        found: dict[str, float] = {}
        clusters = self.reviews.get("clusters")
        for named in clusters if isinstance(clusters, list) else []:
            try:
                number = int(named["cluster"])
                counts = CheckedMembers(int(named["looked_at"]), int(named["agreeing"]))
            except (TypeError, KeyError, ValueError, OverflowError):
                continue
            if 0 <= counts.agreeing <= counts.looked_at:
                key = f"cluster:{number}"
                found[key] = min(counts.trust, found.get(key, 1.0))
        return found

    @classmethod
    def of_run(cls, values: dict[str, Any], where: str) -> Self:
        """Read a `run.json` of this format or of an older one that is still read.

        Raises
        ------
        RunError
            It is of a newer or a much older format, or damaged.
        """
        version = values.get("format")
        if type(version) is not int or not OLDEST <= version <= FORMAT:
            newer = type(version) is int and version > FORMAT
            what = "upgrade clusterkit" if newer else "fit the run again"
            raise RunError(
                f"{where} has run format {version!r:.80}, this clusterkit reads {FORMAT}; {what}"
            )
        if version == OLDEST:
            values = {"precision": {"used": "float32"}} | values
        try:
            info = cls.from_dict(values)
            check_record(info.to_dict())
        except DamageError as error:
            raise RunError(f"run {where} is damaged (run.json: {error}); fit it again") from error
        except (KeyError, ValueError, RecursionError) as error:
            raise RunError(
                f"run {where} is damaged ({type(error).__name__}: {error}); fit it again"
            ) from error
        return info


def describe_test(figures: dict[str, Any]) -> str:
    """Figures of the test images, the value `test` of `RunInfo.metrics`, in words.

    >>> figures = {"images": 20, "groups": 20, "accuracy": 0.95, "interval": [0.75, 1.0],
    ...            "interval_level": 0.95, "assigned": 15, "assigned_wrong": 0, "max_error": 0.05,
    ...            "left_out": {}, "unknown_classes": []}
    >>> describe_test(figures).partition(";")[0]
    'accuracy 95.0% (95% interval 75.0% to 100.0%) on 20 images'
    """
    left_out = "".join(f"; {n} not counted: {why}" for why, n in figures["left_out"].items())
    if figures["accuracy"] is None:
        return f"no image can be counted{left_out}"
    low, high = figures["interval"]
    groups, error = figures["groups"], figures["max_error"]
    of = f" of {groups} groups" if groups < figures["images"] else ""
    asked = "without a promise" if error is None else f"at {100 * error:.3g}% error"
    unknown = "".join(f"; no training image is of class '{c}'" for c in figures["unknown_classes"])
    level = f"{figures['interval_level']:.0%} interval {low:.1%} to {high:.1%}"
    return (
        f"accuracy {figures['accuracy']:.1%} ({level}) on {figures['images']} images{of}; of "
        f"{figures['assigned']} that assign would label {asked} {figures['assigned_wrong']} are "
        f"wrong{unknown}{left_out}"
    )


def facts_of(info: RunInfo) -> dict[str, str]:
    """Return what a run is in a few words, by name."""
    metrics, classes = info.metrics, info.classes
    named = ", ".join(classes[:_NAMED]) + f" and {len(classes) - _NAMED} more" * (
        len(classes) > _NAMED
    )
    facts = {
        "classes": f"{len(classes)}: {named}",
        "images": f"{info.data.images:,} labelled"
        + f", of {info.data.groups:,} groups" * bool(info.data.groups),
        "encoder": f"{info.backbone}, {info.weights} weights",
        "strategy": f"{info.strategy}: {info.strategy_reason}",
    }
    if "accuracy" in metrics:
        facts["held out"] = f"accuracy {metrics['accuracy']:.1%} on {metrics['held_out_images']} "
        facts["held out"] += "images that the models had not seen"
    return facts
