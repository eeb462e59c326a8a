"""An encoder with the record of what it is: enough to build it again without any library's list."""

from dataclasses import dataclass, field
from typing import Any

from clusterkit.encoders.encoder import Encoder, EncoderInput

# Where a network is from.
TORCHVISION, TIMM, PLUGIN, JOINED = "torchvision", "timm", "plugin", "joined"

# What a run calls its encoder where features are given, and none is needed.
FEATURES = "features"

_SOURCES = (TORCHVISION, TIMM, PLUGIN, JOINED, FEATURES)


@dataclass(frozen=True)
class EncoderRecord:
    """What a run keeps of its encoder.

    Attributes
    ----------
    source : {"torchvision", "timm", "plugin", "joined", "features"}
        A plug-in is a user's own, found by its entry point; joined are several.
    name : str
        As `--backbone` named it; of a folder only its own name.
    architecture : str
        Of the network in its library.
    arguments : dict
        With which the library builds it.
    package : str
        Distribution and version that it is from.
    weights : str
        ``"imagenet"``, ``"packaged"``, ``"none"``, a hub's repository, or the name (not the path)
        of the file or folder that they were read from.
    sha256 : str or None
        Of the file of weights, 64 hex digits; None: there was none.
    expects : EncoderInput
    parts : tuple of EncoderRecord
        Of joined encoders.
    """

    source: str
    name: str
    architecture: str
    arguments: dict[str, Any] = field(default_factory=dict)
    package: str = ""
    weights: str = "none"
    sha256: str | None = None
    expects: EncoderInput = field(default_factory=EncoderInput)
    parts: tuple["EncoderRecord", ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = vars(self) | {"expects": self.expects.to_dict()}
        return values | {"parts": [part.to_dict() for part in self.parts]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "EncoderRecord":
        """Read what `to_dict` gives.

        Raises
        ------
        KeyError, TypeError, ValueError
            Something is missing, or no such value.
        """
        source, arguments = values["source"], values["arguments"]
        if source not in _SOURCES or not isinstance(arguments, dict):
            raise ValueError(f"unknown encoder source {source!r:.60} or arguments")
        parts = tuple(cls.from_dict(part) for part in values.get("parts", []))
        if (source == JOINED) != (len(parts) > 1) or any(part.parts for part in parts):
            raise ValueError("joined encoders are two or more, each of them one")
        sha256 = values["sha256"]
        return cls(
            source=source,
            name=str(values["name"]),
            architecture=str(values["architecture"]),
            arguments=arguments,
            package=str(values["package"]),
            weights=str(values["weights"]),
            sha256=None if sha256 is None else str(sha256),
            expects=EncoderInput.from_dict(values["expects"]),
            parts=parts,
        )


@dataclass(frozen=True)
class Backbone:
    """An encoder, and the source of its weights.

    Attributes
    ----------
    encoder : Encoder
        (B, 3, H, W) normalised RGB → maps of several depths.
    record : EncoderRecord
    """

    encoder: Encoder
    record: EncoderRecord

    @property
    def name(self) -> str:
        """Name of the network, as `--backbone` gave it."""
        return self.record.name

    @property
    def weights(self) -> str:
        """Where its weights are from; see `EncoderRecord`."""
        return self.record.weights

    @property
    def pretrained(self) -> bool:
        """True where the encoder starts from learned weights."""
        return self.weights != "none"
