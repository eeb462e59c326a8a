"""Files of features as `embed` writes them: ``.npz``, ``.parquet`` and ``.h5``."""

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from clusterkit.data.features.reader import ABOUT, GROUP, IMAGE, IMAGE_ID, VIEWS
from clusterkit.data.features.table import READERS
from clusterkit.errors import ClusterkitError, OutputError
from clusterkit.formats.atomic import replacing
from clusterkit.output import check_writable, writing

OPTION = "--out FILE"

# Rows of a group in Parquet.
_ROW_GROUP = 4096

# The package that an ending needs.
_NEEDS = {".parquet": "pyarrow", ".h5": "h5py"}


@dataclass(frozen=True, eq=False)
class Features:
    """Features to write.

    Attributes
    ----------
    images, ids, groups : list of str
        N names, image ids and groups; groups empty: none are known.
    vectors : (V, N, D) float32
        V = 1, or 4 with mirror images.
    about : dict
        Of the encoder: plain values, and ``depths``.
    """

    images: list[str]
    ids: list[str]
    groups: list[str]
    vectors: np.ndarray
    about: dict[str, Any]

    @property
    def texts(self) -> dict[str, list[str]]:
        """The columns of text by name."""
        found = {IMAGE: self.images, IMAGE_ID: self.ids}
        return found | {GROUP: self.groups} if self.groups else found

    @property
    def views(self) -> dict[str, np.ndarray]:
        """The vectors (N, D) of each view by name."""
        return dict(zip(VIEWS, self.vectors, strict=False))


def check_out(out: Path) -> None:
    """Find out what cannot be written before hours are spent.

    Raises
    ------
    OutputError
        The ending is not one of those written, its package is missing, `out` cannot be written,
        or is a file that `embed` did not write.
    """
    ending = out.suffix.lower()
    if ending not in WRITERS:
        raise OutputError(f"cannot write {out}: features are written as {', '.join(WRITERS)}; "
                          f"give another {OPTION}")  # fmt: skip
    package = _NEEDS.get(ending)
    if package and importlib.util.find_spec(package) is None:
        raise OutputError(f"cannot write {out}: {ending} needs the package {package}: pip install "
                          "'clusterkit[features]', or give an .npz")  # fmt: skip
    check_writable(out, OPTION)
    if out.exists() and not _is_ours(out):
        raise OutputError(f"{out} exists and is no file of features that clusterkit wrote; give "
                          f"another {OPTION}")  # fmt: skip


def write_features(features: Features, out: Path) -> None:
    """Write features whole or not at all; the ending says how."""
    with writing(out, OPTION):
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out, "wb") as file:
            WRITERS[out.suffix.lower()](features, file)


def _is_ours(out: Path) -> bool:
    try:
        about = READERS[out.suffix.lower()](out).about
        return isinstance(json.loads(about), dict)
    except (ClusterkitError, ValueError, RecursionError):
        return False


def _write_npz(features: Features, file: IO[bytes]) -> None:
    texts = {name: np.array(column, dtype=str) for name, column in features.texts.items()}
    np.savez(file, allow_pickle=False, **{ABOUT: np.array(json.dumps(features.about))}, **texts,
             **features.views)  # fmt: skip


def _write_parquet(features: Features, file: IO[bytes]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    width = features.vectors.shape[2]
    fields = [pa.field(name, pa.string()) for name in features.texts]
    fields += [pa.field(name, pa.list_(pa.float32(), width)) for name in features.views]
    schema = pa.schema(fields, metadata={ABOUT: json.dumps(features.about)})
    with pq.ParquetWriter(file, schema) as writer:
        for start in range(0, len(features.images), _ROW_GROUP):
            part = slice(start, start + _ROW_GROUP)
            columns = [pa.array(column[part], pa.string()) for column in features.texts.values()]
            columns += [
                pa.FixedSizeListArray.from_arrays(pa.array(np.ravel(view[part])), width)
                for view in features.views.values()
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _write_hdf5(features: Features, file: IO[bytes]) -> None:
    import h5py

    # By its name: HDF5 reads what it has written, and this file is open for writing alone.
    with h5py.File(file.name, "w") as target:
        target.attrs[ABOUT] = json.dumps(features.about)
        for name, column in features.texts.items():
            target.create_dataset(name, data=column, dtype=h5py.string_dtype())
        for name, view in features.views.items():
            target.create_dataset(name, data=view)


WRITERS: dict[str, Callable[[Features, IO[bytes]], None]] = {
    ".npz": _write_npz, ".parquet": _write_parquet, ".h5": _write_hdf5,
}  # fmt: skip
