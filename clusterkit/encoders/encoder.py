"""What every encoder is: a network that turns an image into feature maps, and what it expects."""

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import nn

from clusterkit.errors import WeightsError
from clusterkit.threads import one_thread

# Most weights for photographs are trained on RGB normalised with these.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")

# Resolutions whose last maps are pooled into features.
DEPTHS = 3


@dataclass(frozen=True)
class EncoderInput:
    """What an encoder was trained on, as timm's data config has it.

    Attributes
    ----------
    size : int
        Pixels a side.
    mean, std : 3 floats
        Of red, green, blue in [0, 1], by which images are normalised.
    interpolation : {"bilinear", "bicubic", "lanczos", "nearest"}
        How images are resized.
    crop_pct : float in (0, 1]
        The part of a picture's shorter side that is seen where pictures are cropped
        (``image.resize = "crop"``); 1 where they are not.
    """

    size: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bilinear"
    crop_pct: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"size": self.size, "mean": list(self.mean), "std": list(self.std),
                "interpolation": self.interpolation, "crop_pct": self.crop_pct}  # fmt: skip

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "EncoderInput":
        """Read what `to_dict` gives.

        Raises
        ------
        KeyError, TypeError, ValueError
            Something is missing, or no such value.
        """
        mean, std = (tuple(float(v) for v in values[name]) for name in ("mean", "std"))
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(f"mean {mean} and std {std} are not three numbers each, std above 0")
        interpolation = str(values["interpolation"])
        if interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation {interpolation!r:.40} is none of "
                             f"{', '.join(INTERPOLATIONS)}")  # fmt: skip
        return cls(int(values["size"]), mean, std, interpolation, float(values["crop_pct"]))


class Encoder(nn.Module):
    """A network without its head, giving maps of several depths.

    Pooled maps of several depths label clearly better than the last one alone: fine texture
    is gone from the deepest map.

    Attributes
    ----------
    depths : list of int
        Channels of each map, the shallowest first.
    groups : list of int
        How many maps each depth has, the shallowest first; tokens count for the last one.
    tokens : int
        How many maps are no places but one vector of the whole picture, as a vision transformer's
        class token: maps of 1 × 1, the last ones.
    expects : EncoderInput
    side : int
        Pixels a side of a picture that it can encode for certain.
    patches : bool
        Whether the maps' places are patches of the picture, and no overlapping fields.
    """

    depths: list[int]
    groups: list[int]
    tokens: int = 0
    expects: EncoderInput = EncoderInput()
    side: int = 256
    patches: bool = False

    @property
    def channels(self) -> int:
        """Channels of all maps together."""
        return sum(self.depths)

    @property
    def nested(self) -> list[int]:
        """Channels of each depth, of all its maps together."""
        ends = list(accumulate(self.groups))
        return [sum(self.depths[end - n : end]) for n, end in zip(self.groups, ends, strict=True)]

    @property
    def parts(self) -> list["Encoder"]:
        """The encoders that this one is joined of; itself where it is one."""
        return [self]

    @property
    def chains(self) -> list[list[int]]:
        """Channels of each depth, the shallowest first, of each part; none: nothing is known."""
        return [self.nested] if self.depths else []

    @property
    def places(self) -> list[int]:
        """Which maps have places, by their numbers: all but the tokens."""
        return list(range(len(self.depths) - self.tokens))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Maps (B, C_d, h_d, w_d) of normalised images (B, 3, H, W), the shallowest first."""
        raise NotImplementedError

    def stages(self) -> list[list[nn.Module]]:
        """Return the layers up to the first depth, from there to the second, and so on."""
        raise NotImplementedError

    def layer(self, number: int) -> nn.Module | None:
        """Return the layer whose output is a map (number -1: the deepest); None: there is none."""
        raise NotImplementedError


def check_maps(encoder: nn.Module, name: str, size: int) -> list[torch.Size]:
    """Return the shapes of an encoder's maps of one image of `size` pixels a side.

    Raises
    ------
    WeightsError
        It cannot encode such an image, or gives something else than maps (1, C, h, w).
    """
    training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad(), one_thread():
            maps = encoder(torch.zeros(1, 3, size, size))
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        said = str(error).strip().splitlines()
        raise WeightsError(
            f"backbone '{name}' cannot encode an RGB image of {size} by {size} "
            f"pixels ({said[0][:200] if said else type(error).__name__}); give another --size or "
            "--backbone"
        ) from error
    finally:
        encoder.train(training)
    maps = list(maps) if isinstance(maps, list | tuple) else [maps]
    for one in maps:
        if not torch.is_tensor(one) or one.ndim != 4 or len(one) != 1 or 0 in one.shape:
            shape = tuple(one.shape) if torch.is_tensor(one) else type(one).__name__
            raise WeightsError(
                f"backbone '{name}' gives a map of shape {shape}, not (N, C, h, w); "
                "choose another, e.g. resnet34"
            )
    return [one.shape for one in maps]
