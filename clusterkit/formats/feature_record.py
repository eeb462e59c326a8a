"""The record of features that were given in the place of an encoder: in run.json and others."""

from dataclasses import dataclass, field
from typing import Any, Self

from clusterkit.data.features.table import FeatureTable, chains_of
from clusterkit.errors import DataError
from clusterkit.formats.json_record import JsonRecord


@dataclass(frozen=True)
class FeatureFile(JsonRecord):
    """A file of features: its name without its folder, and the SHA-256 of its bytes."""

    name: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class FeatureRecord(JsonRecord):
    """Features that a run was fitted on, or that a batch was labelled by.

    Attributes
    ----------
    dimension : int
        Numbers an image.
    files : list of FeatureFile
    depths : list of int
        Channels of each depth of the encoder; empty: not known.
    parts : list of int
        How many depths each of joined encoders has; empty: there is one encoder.
    encoder : dict
        What the files say of it; empty: nothing.
    """

    dimension: int = 0
    files: list[FeatureFile] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    encoder: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, table: FeatureTable) -> Self:
        """Return the record of a table."""
        files = [FeatureFile(name, digest) for name, digest in table.files]
        return cls(table.dimension, files, table.depths, table.parts, table.encoder)

    @property
    def chains(self) -> list[list[int]]:
        """Channels of each depth of each encoder; none: not known."""
        return chains_of(self.depths, self.parts)

    @property
    def name(self) -> str:
        """The files in words."""
        if not self.files:
            return "a file"
        more = f" and {len(self.files) - 1} more files" if len(self.files) > 1 else ""
        return self.files[0].name + more

    def check(self, table: FeatureTable) -> None:
        """Check that features can be compared with these.

        Raises
        ------
        DataError
            They are of another dimension, or say that they are of another encoder.
        """
        if table.dimension != self.dimension:
            raise DataError(
                f"{table.name} has {table.dimension} numbers an image, and the run was fitted on "
                f"{self.dimension} ({self.name}): give features of the same encoder"
            )
        if table.encoder and self.encoder and table.encoder != self.encoder:
            raise DataError(
                f"{table.name} holds features of {_described(table.encoder, self.encoder)}, and "
                f"the run was fitted on those of {_described(self.encoder, table.encoder)}; give "
                "features of the same encoder"
            )


def _described(encoder: dict[str, Any], other: dict[str, Any]) -> str:
    """Return what an encoder is, as far as it differs from another."""
    differing = {k: v for k, v in encoder.items() if v != other.get(k)}
    return ", ".join(f"{k} {v}" for k, v in (differing or encoder).items())[:200] or "another"
