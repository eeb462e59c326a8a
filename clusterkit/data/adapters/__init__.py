"""Adapters: each turns one way of keeping labelled images into rows of a manifest.

A user's own package adds one by an entry point in the group ``clusterkit.adapters``;
see `examples/own_adapter.py`.
"""

import logging
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

import pandas as pd

from clusterkit.config import DataConfig
from clusterkit.data.adapters.csv import CsvAdapter
from clusterkit.data.adapters.dicomdir import DicomdirAdapter
from clusterkit.data.adapters.folder import FolderAdapter
from clusterkit.data.adapters.pattern import PatternAdapter
from clusterkit.errors import DataError

log = logging.getLogger("clusterkit")

GROUP = "clusterkit.adapters"


class Adapter(Protocol):
    """Interface of an adapter, also of a user's own."""

    name: str

    def __init__(self, source: Path, config: DataConfig) -> None: ...

    @classmethod
    def accepts(cls, source: Path, config: DataConfig) -> bool:
        """Return True where this adapter reads such a source."""

    def read(self) -> pd.DataFrame:
        """Rows with columns image, path, label, group, and split and frame where known.

        An adapter may have an attribute ``left_out`` (`data.left_out.LeftOut`), the files that it
        passed over.
        """


BUILT_IN: tuple[type[Adapter], ...] = (
    DicomdirAdapter, PatternAdapter, CsvAdapter, FolderAdapter,
)  # fmt: skip


def registered_adapters() -> list[type[Adapter]]:
    """All adapters: those of other packages first, by name, then the built-in ones."""
    others: list[type[Adapter]] = []
    for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
        if point.value.startswith("clusterkit."):
            continue
        try:
            others.append(point.load())
        except Exception as error:
            log.warning("adapter '%s' (%s) cannot be used: %s", point.name, point.value, error)
    return [*others, *BUILT_IN]


def find_adapter(source: Path, config: DataConfig) -> Adapter:
    """First adapter that accepts the source.

    Raises
    ------
    DataError
        The source does not exist, or no adapter accepts it.
    """
    if not source.exists():
        raise DataError(
            f"{source} does not exist; give a folder with one subfolder a class, or a CSV"
        )
    adapters = registered_adapters()
    for adapter in adapters:
        if adapter.accepts(source, config):
            return adapter(source, config)
    names = ", ".join(a.name for a in adapters)
    raise DataError(f"{source} is nothing that an adapter reads ({names}); give a folder or a CSV")
