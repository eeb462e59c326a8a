"""A folder of many images of one pixel, and evidence that stands for encoding them."""

import hashlib
import os
import struct
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from clusterkit.data.file_state import state_of
from clusterkit.data.identity import text_id

# Files of a folder: an archive has a folder a study rather than one for all.
_PER_FOLDER = 1000

# Of the standard deviation of each reduced feature: two images from one stored are neighbours, and
# no copies.
_NOISE = 0.3

# Evidence is made for so many images at a time.
_MADE = 4096


def make_folder(folder: Path, n: int, first: int = 0) -> None:
    """Write n PNG files of one pixel; those that are there already are kept."""
    for start in range(first, first + n, _PER_FOLDER):
        inner = folder / f"{start // _PER_FOLDER:05d}"
        inner.mkdir(parents=True, exist_ok=True)
        for number in range(start, min(start + _PER_FOLDER, first + n)):
            path = inner / f"{number:08d}.png"
            if not path.exists():
                path.write_bytes(image_bytes(number))


def image_bytes(number: int) -> bytes:
    """Return a PNG of one pixel, with a number in a comment."""
    parts = [(b"IHDR", struct.pack(">2I5B", 1, 1, 8, 0, 0, 0, 0)),
             (b"tEXt", b"number\0%d" % number),
             (b"IDAT", zlib.compress(b"\0\x80")), (b"IEND", b"")]  # fmt: skip
    sums = [struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts]
    chunks = [struct.pack(">I", len(data)) + kind + data + sum_
              for (kind, data), sum_ in zip(parts, sums, strict=True)]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def reader(
    stored: dict[str, np.ndarray], seed: int = 0
) -> Callable[..., Iterator[tuple[int, dict[str, np.ndarray]]]]:
    """Return what takes the place of `workers.compute`: it reads evidence and encodes nothing.

    Each image has the evidence of one of the stored, drawn by chance, with noise on its reduced
    features, probabilities and novelty; and the id of its own file, read for it.

    Parameters
    ----------
    stored : dict of (N, …) arrays
        See `Predictor.finish`.
    """
    deviation = stored["reduced"].std(axis=0)
    readable = np.flatnonzero(stored["errors"] == "")

    def compute(
        model: Any, refs: Any, batch_size: int, skip: Collection[int], *others: Any
    ) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        rng, step = np.random.default_rng(seed), max(1, _MADE // batch_size) * batch_size
        for start in range(0, len(refs), step):
            paths = [refs[i][0] for i in range(start, min(start + step, len(refs)))]
            rows = rng.choice(readable, len(paths))
            made = _noised({name: values[rows] for name, values in stored.items()}, deviation, rng)
            ids = [text_id(hashlib.sha256(_read(path)).hexdigest()[:16]) for path in paths]
            made["ids"] = np.array(ids, dtype=object)
            made["states"] = np.array([state_of(path) for path in paths], dtype=object)
            for first in range(0, len(paths), batch_size):
                number = (start + first) // batch_size
                if number not in skip:
                    batch = slice(first, first + batch_size)
                    yield number, {name: values[batch] for name, values in made.items()}

    return compute


def _noised(
    part: dict[str, np.ndarray], deviation: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    noise = rng.normal(size=part["reduced"].shape) * (_NOISE * deviation)
    part["reduced"] = (part["reduced"] + noise).astype(np.float32)
    for name in ("probs", "classifier"):
        odds = np.log(np.maximum(part[name], 1e-6)) + rng.normal(0, 0.2, part[name].shape)
        part[name] = (np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)).astype(np.float32)
    part["novelty"] = (part["novelty"] + rng.normal(0, 0.1, part["novelty"].shape)).astype(
        np.float32
    )
    part["near"] = np.full_like(part["near"], -1)
    return part


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()


def stored_evidence(run: Path, images: Path, kept: Path) -> dict[str, np.ndarray]:
    """Return the evidence of a run on a folder of images: read, or computed once and kept."""
    if not kept.exists():
        from clusterkit import Run
        from clusterkit.data.inputs import read_inputs
        from clusterkit.data.loading import image_refs
        from clusterkit.inference.predictor import Predictor
        from clusterkit.inference.workers import batch_size_of, compute

        loaded = Run.load(run)
        predictor = Predictor(loaded, loaded.config)
        refs = image_refs(read_inputs(images, loaded.config))
        size = batch_size_of(loaded.config, predictor.device)
        parts = [part for _, part in sorted(compute(predictor, refs, size, set()))]
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        texts = {name: values.astype(str) for name, values in arrays.items() if values.dtype == "O"}
        np.savez(kept, **arrays | texts)
    with np.load(kept) as found:
        return dict(found)


def remove_folder(folder: Path) -> None:
    """Remove what `make_folder` wrote."""
    for inner in os.scandir(folder):
        for entry in os.scandir(inner.path):
            os.unlink(entry.path)
        os.rmdir(inner.path)
    os.rmdir(folder)
