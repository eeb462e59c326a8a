"""Sections of the configuration: every setting with its default, what is allowed, and its help."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from clusterkit.config_fields import Check, Doc, Range, is_number

# Its weights come with a package: nothing is downloaded for it.
DEFAULT_BACKBONE = "tf_efficientnet_lite0"
DEFAULT_SIZE = 224

# Centre and width of a grey window in Hounsfield units, as radiology's consoles offer them.
PRESETS: dict[str, tuple[float, float]] = {
    "abdomen": (40, 400),
    "bone": (400, 1800),
    "brain": (40, 80),
    "liver": (60, 160),
    "lung": (-600, 1500),
    "mediastinum": (40, 400),
    "stroke": (40, 40),
    "subdural": (75, 215),
}


def _is_window(value: str | list[Any]) -> bool:
    if isinstance(value, str):
        return value in ("auto", *PRESETS)
    return len(value) == 2 and all(map(is_number, value)) and value[1] > 0


def _are_percentiles(value: list[Any]) -> bool:
    return len(value) == 2 and all(map(is_number, value)) and 0 <= value[0] < value[1] <= 100


def _are_frames(value: str | int) -> bool:
    return value in ("all", "middle") if isinstance(value, str) else 1 <= value <= 100_000


def _is_background(value: str | list[Any]) -> bool:
    if isinstance(value, str):
        return value in ("black", "white")
    return len(value) == 3 and all(type(v) is int and 0 <= v <= 255 for v in value)


def _are_channels(value: list[Any] | None) -> bool:
    return value is None or (
        len(value) in (1, 3) and all(type(v) is int and 0 <= v < 1000 for v in value)
    )


@dataclass
class ImageConfig:
    """The array that every image becomes: size in pixels, and how its shape is changed.

    `window` is for grey values deeper than 8 bits, and DICOM: [centre, width], or the name of a
    preset of `data.imageio.greys`; ``auto``: the file's own window, else its own range, from the
    lowest to the highest of `percentiles` (of 0 and 100, without a few hot or dead pixels).
    `frames` of a file with several (DICOM, TIFF): all, the
    middle one, or so many, evenly spaced.
    """

    size: Annotated[
        int | None,
        Range(32, 4096),
        Doc("Pixels per side that the models see; none: what the backbone was trained on."),
    ] = None
    resize: Annotated[
        Literal["squish", "crop", "pad"],
        Doc("Fit to a square: squish keeps all of the picture, crop and pad its aspect."),
    ] = "squish"
    window: Annotated[
        str | list[float],
        Check(_is_window, "auto, [centre, width] with a width above 0, or a preset: "
              + ", ".join(PRESETS)),
        Doc("Window of deep grey values; auto: the file's own, else its range."),
    ] = "auto"  # fmt: skip
    percentiles: Annotated[
        list[float],
        Check(_are_percentiles, "[low, high], two numbers rising from 0 to 100"),
        Doc("Percentiles of the values that become black and white where there is no window."),
    ] = field(default_factory=lambda: [0, 100])
    frames: Annotated[
        str | int,
        Check(_are_frames, "all, middle, or how many, at least 1"),
        Doc("Frames of a file with several (DICOM, TIFF); a number: so many, evenly spaced."),
    ] = "all"
    background: Annotated[
        str | list[int],
        Check(_is_background, "black, white, or [red, green, blue], each from 0 to 255"),
        Doc("What transparent pictures are laid over: black, white or [red, green, blue]."),
    ] = "black"
    channels: Annotated[
        list[int] | None,
        Check(_are_channels, "one or three channel numbers from 0, e.g. [0, 1, 2]"),
        Doc("Channels of a TIFF that become grey (one) or red, green, blue (three)."),
    ] = None
    interpolation: Annotated[
        Literal["auto", "nearest", "bilinear", "bicubic", "lanczos"],
        Doc("How images are resized; auto: as the backbone's were in its training."),
    ] = "auto"

    @property
    def pixels(self) -> int:
        """Pixels a side; 224 where nobody said and no backbone has been asked."""
        return self.size or DEFAULT_SIZE


@dataclass
class AugmentConfig:
    """Augmentation: changes of an image that leave its label as it is.

    Flips and warps are off until the config allows them: left and right, or up and
    down, can be the diagnosis. `views` is about heads on cached features, which learn from
    mirror images too: with ``auto`` where held-out labels are then predicted better.
    """

    views: Annotated[
        Literal["auto", "allowed"],
        Doc("Heads learn from mirror images: auto where held-out labels gain; allowed: always."),
    ] = "auto"
    flip_horizontal: Annotated[bool, Doc("Left and right may be exchanged.")] = False
    flip_vertical: Annotated[bool, Doc("Up and down may be exchanged.")] = False
    max_rotate: Annotated[float, Range(0, 180), Doc("Largest rotation in degrees.")] = 0.0
    max_zoom: Annotated[float, Range(1, 3), Doc("Largest magnification.")] = 1.1
    max_lighting: Annotated[
        float, Range(0, 0.9), Doc("Largest change of brightness and contrast.")
    ] = 0.1
    max_warp: Annotated[float, Range(0, 0.9), Doc("Largest change of perspective.")] = 0.0


@dataclass
class ModelConfig:
    """The backbone, where its weights come from, and whether both models share it.

    `precision` is that of the encoder where images are embedded: ``auto`` takes bfloat16 where the
    processor is quick in it and the labels come out the same.
    """

    backbone: Annotated[
        str,
        Doc(
            "A network of torchvision or timm, hf-hub:owner/name, local-dir:PATH, or a plug-in's; "
            "a+b joins two."
        ),
    ] = DEFAULT_BACKBONE
    weights: Annotated[
        str,
        Doc(
            "auto: packaged or downloaded; none: random; else .safetensors or .pth; a+b: one each."
        ),
    ] = "auto"
    encoder: Annotated[
        Literal["shared", "separate"],
        Doc("One encoder for classifier and Siamese model, or one each (when fine-tuning)."),
    ] = "shared"
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Doc("Of the encoder on images to label; auto: bfloat16 where it is quick and safe."),
    ] = "auto"


@dataclass
class TrainConfig:
    """Training of the two models.

    `pool` is the most unlabelled images that are learned from; `self_training` is in how many
    rounds their predicted labels join, 0: never.
    `cache_mb` is how many mebibytes of decoded training images stay in memory; more of them go
    to a temporary file (a 224-pixel image takes 0.14).

    `lr` is fastai's: the maximum of a one-cycle schedule. `C` is scikit-learn's: the inverse
    strength of the penalty on the linear classifier that the strategy ``head`` fits.
    """

    strategy: Annotated[
        Literal["auto", "head", "finetune"],
        Doc("head: heads on cached features; finetune: all layers, kept only where labels gain."),
    ] = "auto"
    epochs: Annotated[
        int | None, Range(1, 10_000), Doc("Epochs of fine-tuning; none: by strategy.")
    ] = None
    siamese_epochs: Annotated[
        int | None, Range(1, 10_000), Doc("Epochs of the Siamese model; none: by strategy.")
    ] = None
    batch_size: Annotated[int, Range(2, 4096), Doc("Images per training batch.")] = 32
    lr: Annotated[
        float, Range(1e-8, 10), Doc("Maximum learning rate of the one-cycle schedule.")
    ] = 3e-3
    weight_decay: Annotated[float, Range(0, 10), Doc("Weight decay of AdamW.")] = 0.01
    label_smoothing: Annotated[
        float, Range(0, 0.5), Doc("Label smoothing of the cross-entropy.")
    ] = 0.1
    C: Annotated[
        float, Range(1e-6, 1e4), Doc("Inverse penalty of the linear classifier; lower: simpler.")
    ] = 0.02
    folds: Annotated[
        int | None, Range(1, 20), Doc("Folds of cross-fitting; 1: one split; none: by strategy.")
    ] = None
    valid_fraction: Annotated[
        float, Range(0.05, 0.5), Doc("Held-out part where one split is used instead of folds.")
    ] = 0.2
    pool: Annotated[
        int, Range(0, 1_000_000), Doc("Most unlabelled images that are learned from.")
    ] = 5000
    self_training: Annotated[int, Range(0, 100), Doc("Rounds of self-training; 0: none.")] = 4
    cache_mb: Annotated[
        int,
        Range(0, 10_000_000),
        Doc("Mebibytes of decoded images in memory; more go to a temporary file."),
    ] = 2048
    mlflow: Annotated[
        str | None,
        Doc("Folder, or address, of an MLflow record of settings, metrics and losses."),
    ] = None


@dataclass
class EngineConfig:
    """From evidence to a label (gate, exemplars, clusters).

    `max_exemplars` is per class; `label_shift` lets a batch have its own class proportions.
    """

    gate_mass: Annotated[
        float, Range(0.01, 1), Doc("Compare with the classes that hold so much probability.")
    ] = 0.95
    gate_max: Annotated[
        int, Range(1, 100_000), Doc("Most classes that an image is compared with.")
    ] = 5
    pool_top: Annotated[
        int, Range(1, 1000), Doc("Exemplars per class whose similarity is averaged.")
    ] = 5
    max_exemplars: Annotated[
        int, Range(1, 1_000_000), Doc("Labelled images per class to compare with.")
    ] = 200
    label_shift: Annotated[
        bool, Doc("A batch may hold the classes in other proportions than the labels.")
    ] = True
    novelty_alpha: Annotated[
        float, Range(0, 1), Doc("False discovery rate among images called novel.")
    ] = 0.1
    min_cluster_size: Annotated[
        int, Range(2, 100_000), Doc("Fewest images that make a cluster.")
    ] = 5


@dataclass
class AssignConfig:
    """The promise and the batch.

    With `transduction` the images of a batch help to label each other, where held-out labels gain:
    another batch may then label an image otherwise.

    `per_class` makes the promise for each assigned class, all at once. `batch_size` and `workers`
    (processes) are chosen by the device where they are none.
    """

    max_error: Annotated[
        float | None,
        Range(1e-6, 0.999999, "; 0.05 is 5%; no number of labels can promise that none is wrong, "
              "and 'none' promises nothing and assigns everything"),
        Doc("Largest part of wrong labels; none: assign everything, promise nothing."),
    ] = 0.05  # fmt: skip
    confidence: Annotated[
        float, Range(0.5, 0.999999, "; 0.9 is 90%"), Doc("Confidence of that promise.")
    ] = 0.9
    per_class: Annotated[
        bool, Doc("Promise it for each assigned class, all at once, not for all together.")
    ] = False
    transduction: Annotated[
        Literal["auto", "off"],
        Doc("Images of a batch help to label each other: auto where held-out labels gain by it."),
    ] = "auto"
    batch_size: Annotated[
        int | None, Range(1, 4096), Doc("Images per batch; none: by the device.")
    ] = None
    workers: Annotated[
        int | None, Range(0, 256), Doc("Processes that read images; none: by the device.")
    ] = None


@dataclass
class AuditConfig:
    """The audit page: its cards and their heat maps."""

    limit: Annotated[int, Range(1, 1_000_000), Doc("Images with CAMs.")] = 200
    method: Annotated[
        Literal["cam", "gradcam"], Doc("CAMs: cam is exact, gradcam is smoother.")
    ] = "cam"
    originals: Annotated[
        Literal["copy", "link", "none"],
        Doc("Large view: copies of at most 1,024 px a side, links to the files, thumbnails."),
    ] = "copy"
    originals_mb: Annotated[
        int, Range(0, 1_000_000), Doc("Megabytes that such copies may take together.")
    ] = 200
    tiles: Annotated[
        int, Range(0, 1_000_000), Doc("Small pictures of members of clusters without a card.")
    ] = 2000
