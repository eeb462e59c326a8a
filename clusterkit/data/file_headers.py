"""Headers of files that may hold several images or name a patient: DICOM and TIFF."""

import mmap
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from clusterkit.data.guarded_path import check_opened, open_regular
from clusterkit.data.imageio import dicom, slides, tiff
from clusterkit.data.imageio.budget import MAX_PIXELS
from clusterkit.data.imageio.dicom.frame_count import SIZES, frames_held
from clusterkit.data.imageio.films import film_of_syntax
from clusterkit.data.imageio.read import MAX_BYTES
from clusterkit.data.patients import Origin
from clusterkit.data.remote_files import HEAD, is_remote, or_none, read_heads, read_remote
from clusterkit.errors import ImageError
from clusterkit.progress import Progress

_MAX_FRAMES = 100_000

# Files that are under way at a time: what waits is the network. Those of a store are each whole.
_UNDER_WAY = 8

# Files of which a thread reads the first bytes before it is asked again.
A_TURN = 64

# Seconds a file from which on it is worth while to wait for several: a disk takes a tenth.
_SLOW = 0.0005


@dataclass(frozen=True)
class Header:
    """Header of a DICOM or TIFF file: frames, patient and elements.

    Attributes
    ----------
    frames : int or None
        Number of frames; None: the file holds one image.
    origin : Origin or None
        Patient, study and series; None: no DICOM file.
    tags : dict of int to str
        Values of the elements that were to be read; "" where absent.
    sop_class, image_type : str
        Of DICOM: SOPClassUID and ImageType, which say whether it is a picture at all.
    slide : bool
        The file is a whole-slide pyramid, of which one level is the image.
    """

    frames: int | None = None
    origin: Origin | None = None
    tags: dict[int, str] = field(default_factory=dict)
    sop_class: str = ""
    image_type: str = ""
    slide: bool = False


def read_headers(
    paths: Sequence[str], tags: tuple[int, ...] = (), progress: Progress | None = None
) -> list[Header | None]:
    """Headers of files; None: it is neither DICOM nor TIFF, or cannot be read.

    The reason why a file cannot be read comes with its pixels.

    Parameters
    ----------
    paths : sequence of str
    tags : tuple of int
        DICOM elements to read.
    progress : callable or None
        Called with ("headers", done, total).
    """
    remote = [number for number, path in enumerate(paths) if is_remote(path)]
    if remote:
        found: list[Header | None] = [None] * len(paths)
        headers = _remote_headers([paths[number] for number in remote], tags, progress)
        for number, header in zip(remote, headers, strict=True):
            found[number] = header
        return found
    found = []
    for number, (path, head) in enumerate(zip(paths, _heads(paths), strict=True), 1):
        found.append(_local_header(path, head, tags))
        if progress and (number % 100 == 0 or number == len(paths)):
            progress("headers", number, len(paths))
    return found


def _heads(paths: Sequence[str]) -> Iterator[bytes]:
    """Yield the first bytes of files of this machine; b"" of what cannot be read.

    Of a disk one after the other: threads would wait for each other longer than for it. Of a
    network drive, which is known by a slow turn, several at a time.
    """
    turns = [paths[start : start + A_TURN] for start in range(0, len(paths), A_TURN)]
    done, slow = 0, False
    while done < len(turns) and not slow:
        begun = time.perf_counter()
        heads = _heads_of(turns[done])
        slow = time.perf_counter() - begun > len(heads) * _SLOW
        done += 1
        yield from heads
    with ThreadPoolExecutor(_UNDER_WAY) as pool:
        for start in range(done, len(turns), _UNDER_WAY):
            for heads in pool.map(_heads_of, turns[start : start + _UNDER_WAY]):
                yield from heads


def _heads_of(paths: Sequence[str]) -> list[bytes]:
    return [_head(path) for path in paths]


def _head(path: str) -> bytes:
    """Return the first bytes of a file; by what is in it, for DICOM may be called anything."""
    try:
        check_opened(path)
        # A pipe would block for ever.
        if not os.path.isfile(path):
            return b""
        with open_regular(path) as file:
            return file.raw.read(HEAD)
    except (OSError, ValueError, ImageError):
        return b""


def _local_header(path: str, head: bytes, tags: tuple[int, ...]) -> Header | None:
    try:
        return _header_of(Path(path), head, tags)
    except Exception:
        return None


def _remote_headers(
    paths: list[str], tags: tuple[int, ...], progress: Progress | None
) -> list[Header | None]:
    """Headers of files in a store: those that may have one are read whole, several at a time."""
    said = None if progress is None else (lambda done: progress("headers", done, len(paths)))
    refused = [_is_refused(path) for path in paths]
    asked = [path for path, no in zip(paths, refused, strict=True) if not no]
    wanted = [path for path, head in zip(asked, read_heads(asked, said), strict=True)
              if head and (head[:4] in tiff.MAGIC or dicom.is_dicom(head))]  # fmt: skip
    found: dict[str, Header | None] = {}
    for path, data in _whole(wanted):
        try:
            found[path] = None if data is None else _header_of(data, data[:HEAD], tags)
        except Exception:
            found[path] = None
    return [found.get(path) for path in paths]


def _is_refused(path: str) -> bool:
    try:
        check_opened(path)
    except ImageError:
        return True
    return False


def _whole(paths: list[str]) -> Iterator[tuple[str, bytes | None]]:
    """Yield the bytes of files in a store; None of what cannot be read."""

    def read(path: str) -> bytes | None:
        return or_none(path, lambda url: read_remote(url, MAX_BYTES))

    with ThreadPoolExecutor(_UNDER_WAY) as pool:
        for start in range(0, len(paths), _UNDER_WAY):
            some = paths[start : start + _UNDER_WAY]
            yield from zip(some, pool.map(read, some), strict=True)


def _header_of(source: Path | bytes, head: bytes, tags: tuple[int, ...]) -> Header | None:
    if head[:4] in tiff.MAGIC:
        return _tiff_header(source)
    return _dicom_header(source, tags) if dicom.is_dicom(head) else None


def _tiff_header(source: Path | bytes) -> Header | None:
    if isinstance(source, bytes):
        return _header_of_pages(source)
    # The page list is scattered over a file that may be large.
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _header_of_pages(data)


def _header_of_pages(data: bytes | mmap.mmap) -> Header:
    if slides.find_level(data, MAX_PIXELS) is not None:
        return Header(slide=True)
    pages = tiff.list_pages(data)
    return Header(frames=len(pages) if len(pages) > 1 else None)


def _dicom_header(source: Path | bytes, tags: tuple[int, ...]) -> Header | None:
    names = ["PatientID", "StudyInstanceUID", "SeriesInstanceUID", "NumberOfFrames", "SOPClassUID",
             "ImageType", "TransferSyntaxUID", *SIZES]  # fmt: skip
    found = dicom.read_elements(source, MAX_BYTES, [*names, *tags])
    if found is None:
        return None
    n_frames = dicom.frames_of(found)
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    # What the file cannot hold is one row, which fails and says why.
    believed = 1 < n_frames <= min(_MAX_FRAMES, size)
    # A film is one row, which fails and says why.
    believed = believed and not film_of_syntax(found["TransferSyntaxUID"])
    n_frames = frames_held(source, found, n_frames) if believed else 1
    return Header(
        frames=n_frames if n_frames > 1 else None,
        origin=Origin(*(found[name] for name in names[:3])),
        tags={tag: found[tag] for tag in tags},
        sop_class=found["SOPClassUID"],
        image_type=found["ImageType"],
    )
