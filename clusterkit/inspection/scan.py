"""One pass over the files: the facts about each image that findings are made of."""

import io
import logging
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import astuple, dataclass, fields

import numpy as np
import pandas as pd
from PIL import Image

from clusterkit.config import Config
from clusterkit.data.duplicates.signature import SIGNATURE, signature
from clusterkit.data.identity import read_identified
from clusterkit.data.imageio.dicom import read_elements
from clusterkit.data.imageio.failures import reason_of
from clusterkit.data.imageio.read import MAX_BYTES, decode
from clusterkit.data.imageio.transparency import is_transparent
from clusterkit.data.processes import reading_processes, start_method
from clusterkit.data.time_limit import SECONDS, time_limit
from clusterkit.inspection.text import text_glyphs
from clusterkit.progress import Progress

log = logging.getLogger("clusterkit")


# Images that a worker takes at a time, and from how many on there are workers at all.
_CHUNK, MANY_IMAGES = 32, 200

# A large JPEG is decoded at a fraction of its size, never below twice this many pixels.
_DETAIL = 256

_KILLED = "the process that read it was killed: it may need more memory than there is"


# A file, and the number of one of its frames.
Work = tuple[str, str | None]


@dataclass(frozen=True)
class Facts:
    """Facts about one image.

    Attributes
    ----------
    image_id : str
        "" where the file could not be read at all.
    error : str
        Why the image cannot be read; "" where it can.
    width, height : int
        Pixels, upright; 0 where it cannot be read.
    colour : bool
        Some pixel is not grey.
    constant : bool
        All pixels are the same.
    bright : float in [0, 255]
        The 99th percentile of the grey values.
    glyphs : int
        See `text_glyphs`.
    burned_in : bool
        A DICOM header says that text is burned in.
    levels : int
        Different grey values, of 256; 0 where it cannot be read.
    transparent : bool
        Some pixels are transparent, and laid over the background all pixels are the same.
    """

    image_id: str = ""
    error: str = ""
    width: int = 0
    height: int = 0
    colour: bool = False
    constant: bool = False
    bright: float = 0.0
    glyphs: int = 0
    burned_in: bool = False
    levels: int = 0
    transparent: bool = False


@dataclass(frozen=True)
class Scan:
    """N images, the facts about them and their signatures.

    Attributes
    ----------
    rows : DataFrame (N)
        The rows of the data set (image, path, label, group, split, frame) and `Facts`.
    signatures : (N, L) int8
        See `data.duplicates.signature`; zeros where an image could not be read.
    """

    rows: pd.DataFrame
    signatures: np.ndarray


def scan(rows: pd.DataFrame, config: Config, progress: Progress | None = None) -> Scan:
    """Read every image once, in worker processes where there are many.

    Parameters
    ----------
    rows : DataFrame (N)
        With columns path and frame; each image once.
    config : Config
        `config.image`: how images are read.
    progress : callable or None
        Called with ("scan", done, total).

    Notes
    -----
    A row of `Facts` and a signature are kept per image, about 0.5 kB.
    """
    work = list(zip(rows["path"], rows["frame"], strict=True))
    facts: list[Facts] = []
    signatures = np.zeros((len(work), SIGNATURE), dtype=np.int8)
    for part, found in _results(work, config):
        signatures[len(facts) : len(facts) + len(part)] = found
        facts += part
        if progress:
            progress("scan", len(facts), len(work))
    names = [field.name for field in fields(Facts)]
    columns = pd.DataFrame([astuple(f) for f in facts], columns=names, index=rows.index)
    own = rows.drop(columns=[n for n in names if n in rows])
    return Scan(pd.concat([own, columns], axis=1), signatures)


def image_facts(path: str, frame: str | None, config: Config) -> tuple[Facts, np.ndarray]:
    """Return the facts and the signature of one image; never raises for a file's content.

    Parameters
    ----------
    path : str
    frame : str or None
        Number of a frame, from 0; None: the file holds one image.
    config : Config

    Returns
    -------
    Facts, and (L,) int8: see `data.duplicates.signature`, zeros where it cannot be read.
    """
    data, identity = b"", ""
    try:
        with time_limit(SECONDS):
            data, identity = read_identified(path, frame)
            return _facts_of(data, identity, frame, config)
    except BaseException as error:
        facts = Facts(image_id=identity, error=reason_of(error, data))
        return facts, np.zeros(SIGNATURE, dtype=np.int8)


def _facts_of(
    data: bytes, identity: str, frame: str | None, config: Config
) -> tuple[Facts, np.ndarray]:
    image, (width, height) = open_image(data, frame, config)
    grey = np.asarray(image.convert("L"))
    constant = _is_constant(image)
    facts = Facts(
        image_id=identity,
        width=width,
        height=height,
        colour=_has_colour(image),
        constant=constant,
        bright=float(np.percentile(grey, 99)),
        glyphs=text_glyphs(image),
        burned_in=_says_burned_in(data),
        levels=int(np.count_nonzero(np.bincount(grey.reshape(-1), minlength=256))),
        transparent=constant and is_transparent(data),
    )
    return facts, signature(image)


def open_image(
    data: bytes, frame: str | None, config: Config
) -> tuple[Image.Image, tuple[int, int]]:
    """Decode one image, a large JPEG at a fraction of its size; also return its true size.

    The one place where inspect decodes.

    Raises
    ------
    ImageError
        The bytes are no image, or damaged.
    """
    jpeg = data.startswith(b"\xff\xd8")
    image = decode(data, _DETAIL if jpeg else None, config.image, int(frame or 0))
    return image, _jpeg_size(data, image) if jpeg else image.size


def _says_burned_in(data: bytes) -> bool:
    found = read_elements(data, MAX_BYTES, ["BurnedInAnnotation"])
    return found is not None and found["BurnedInAnnotation"] == "YES"


def _jpeg_size(data: bytes, image: Image.Image) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as opened:
            width, height = opened.size
    except Exception:
        return image.size
    turned = (width > height) != (image.width > image.height)
    return (height, width) if turned else (width, height)


def _has_colour(image: Image.Image) -> bool:
    red, green, blue = (np.asarray(band) for band in image.split())
    return bool((red != green).any() or (red != blue).any())


def _is_constant(image: Image.Image) -> bool:
    return all(len(set(band.getextrema())) == 1 for band in image.split())


def _read_part(part: list[Work], config: Config) -> tuple[list[Facts], np.ndarray]:
    found = [image_facts(path, frame, config) for path, frame in part]
    return [facts for facts, _ in found], np.stack([own for _, own in found])


def _results(work: list[Work], config: Config) -> Iterator[tuple[list[Facts], np.ndarray]]:
    """Yield the results of `_read_part` for part after part, in order."""
    parts = [work[start : start + _CHUNK] for start in range(0, len(work), _CHUNK)]
    workers = reading_processes(config.assign.workers)
    if len(work) < MANY_IMAGES or not workers:
        yield from (_read_part(part, config) for part in parts)
        return
    done = 0
    while done < len(parts):
        try:
            with _pool(workers) as pool:
                for result in pool.map(_read_part, parts[done:], [config] * (len(parts) - done)):
                    yield result
                    done += 1
        except BrokenProcessPool:
            # One file was too much for a worker: find it alone, then go on with the rest.
            yield _one_by_one(parts[done], config)
            done += 1


def _one_by_one(part: list[Work], config: Config) -> tuple[list[Facts], np.ndarray]:
    facts, found = [], []
    for item in part:
        try:
            with _pool(1) as pool:
                (one,), (print_,) = pool.submit(_read_part, [item], config).result()
        except BrokenProcessPool:
            one, print_ = Facts(error=_KILLED), np.zeros(SIGNATURE, dtype=np.int8)
            log.warning("%s: %s", item[0], _KILLED)
        facts.append(one)
        found.append(print_)
    return facts, np.stack(found)


def _pool(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context(start_method())
    return ProcessPoolExecutor(workers, mp_context=context)
