"""Features in HDF5: what `embed` writes, and TRIDENT's files, one a slide, a row a patch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from clusterkit.data.features.reader import (
    ABOUT,
    BLOCK,
    GROUP,
    IMAGE,
    IMAGE_ID,
    VIEWS,
    NamedRows,
    check_count,
    check_numbers,
    check_shape,
    named_rows,
    view_names,
)
from clusterkit.errors import DataError

_COORDS = "coords"


class Hdf5Reader:
    """Datasets image or image_id and features; or features and coords, as TRIDENT writes them.

    Of the latter each row is an image of its own, called ``<slide>/<x>_<y>`` by the patch's upper
    left corner, and its group is the slide, which is the file's stem.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _opened(path) as file:
            found = sorted(file)
            of_patches = _COORDS in found and not {IMAGE, IMAGE_ID} & set(found)
            self._names = [VIEWS[0]] if of_patches else view_names(path, found)
            if self._names[0] not in found:
                raise DataError(f"{path} has coords and no 'features': it holds patches that no "
                                "encoder has seen")  # fmt: skip
            sets = [_dataset(file, path, name) for name in self._names]
            for name, data in zip(self._names, sets, strict=True):
                check_numbers(path, name, _type_of(data, path, name))
                check_shape(path, name, _shape(data))
                if _shape(data) != _shape(sets[0]):
                    raise DataError(f"{path}: '{name}' has the shape {_shape(data)}, the features "
                                    f"{_shape(sets[0])}; all views need the same")  # fmt: skip
            if of_patches:
                self.rows = _patches(path, _dataset(file, path, _COORDS))
            else:
                columns = {name: _texts(_dataset(file, path, name), path, name)
                           for name in (IMAGE, IMAGE_ID, GROUP) if name in found}  # fmt: skip
                self.rows = named_rows(path, columns, found)
            about = file.attrs.get(ABOUT, "")
            self.about = about if isinstance(about, str) else ""
            count, self.dimension = _shape(sets[0])
        check_count(path, self._names[0], count, len(self.rows))
        self.views = len(self._names)

    def blocks(self, view: int) -> Iterator[np.ndarray]:
        """Yield the vectors (n, D) of one view."""
        with _opened(self.path) as file:
            data = _dataset(file, self.path, self._names[view])
            count, width = _shape(data)
            step = max(1, BLOCK // (width * data.dtype.itemsize))
            for start in range(0, count, step):
                part = slice(start, start + step)
                yield data[0, part] if data.ndim == 3 else data[part]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"{path}: reading .h5 needs the package h5py: pip install "
                        "'clusterkit[features]'") from error  # fmt: skip
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error).strip("'\"")
        raise DataError(f"features {path} cannot be read: {' '.join(reason.split())[:120]}; write "
                        "the file again") from error  # fmt: skip


def _dataset(file: Any, path: Path, name: str) -> Any:
    """Dataset of a name; one whose values are in another file is not followed there."""
    import h5py

    link = file.get(name, getlink=True)
    data = file[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
        raise DataError(f"{path}: '{name}' is no array of this file; write its values into it")
    return data


def _type_of(data: Any, path: Path, name: str) -> np.dtype:
    if data.dtype.hasobject:
        import h5py

        text = h5py.check_string_dtype(data.dtype) is not None
        what = "text where numbers belong" if text else "vectors of different lengths"
        raise DataError(f"{path}: '{name}' holds {what}")
    return data.dtype


def _shape(data: Any) -> tuple[int, ...]:
    """Shape of vectors; (1, N, D) is taken for (N, D)."""
    shape = tuple(int(n) for n in data.shape)
    return shape[1:] if len(shape) == 3 and shape[0] == 1 else shape


def _texts(data: Any, path: Path, name: str) -> list[str]:
    import h5py

    if data.ndim != 1 or h5py.check_string_dtype(data.dtype) is None:
        raise DataError(f"{path}: '{name}' is no list of texts")
    return data.asstr()[:].tolist()


def _patches(path: Path, coords: Any) -> NamedRows:
    check_numbers(path, _COORDS, _type_of(coords, path, _COORDS))
    shape = _shape(coords)
    if len(shape) != 2 or shape[1] < 2:
        raise DataError(f"{path}: 'coords' has the shape {shape}; (patches, 2) is needed")
    values = (coords[0] if coords.ndim == 3 else coords[:])[:, :2]
    whole = values.astype(np.int64)
    if not np.array_equal(whole, values):
        raise DataError(f"{path}: 'coords' holds no whole numbers; the upper left corners of "
                        "patches in pixels are needed")  # fmt: skip
    slide = path.stem
    return NamedRows(images=[f"{slide}/{x}_{y}" for x, y in whole.tolist()],
                     groups=[slide] * len(whole))  # fmt: skip
