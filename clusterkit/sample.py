"""The sample of `clusterkit demo`: drawn pictures of stained cells whose truth is known.

Cells of 30 "patients" whose stain, brightness, sharpness and size differ, so that a split that
mixes patients would be too good. The class is a detail inside the cell, at a place that is
written down: a class activation map can be checked against it.
"""

import io
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from clusterkit.errors import DataError

CLASSES = ("dots", "ring", "rod")
# A class that nobody labels.
UNKNOWN_CLASS = "rosette"

_EXACT_COPIES = 6
_NEAR_COPIES = 10
_OWN = ("labeled", "unlabeled", "labels.csv", "unlabeled.csv", "truth.csv")
_TRUTH = ["image", "label", "group", "kind", "of", "x", "y", "radius", "width", "height"]


@dataclass(frozen=True)
class SampleSummary:
    """Counts of a drawn sample.

    Attributes
    ----------
    root : Path
    labeled, unlabeled : int
        Files in each folder.
    patients : int
    """

    root: Path
    labeled: int
    unlabeled: int
    patients: int


@dataclass(frozen=True)
class _Patient:
    """Appearance of all pictures of one patient."""

    name: str
    ground: np.ndarray
    cell: np.ndarray
    stain: np.ndarray
    blur: float
    noise: float
    size: float
    contrast: float


def make_sample(
    out: Path,
    seed: int = 0,
    size: int = 96,
    labeled_patients: int = 24,
    unlabeled_patients: int = 6,
    labeled_per_class: int = 3,
    unlabeled_per_class: int = 15,
    novel_per_patient: int = 8,
) -> SampleSummary:
    """Draw the sample into a folder; the same seed gives the same bytes.

    Writes ``labeled/<class>/*.png`` with ``labels.csv`` (image, label, group),
    ``unlabeled/*.png`` of other patients with ``unlabeled.csv`` (image, group), and
    ``truth.csv``: every file with its true label, kind, and where its detail is (x, y, radius
    in pixels). Among the unlabelled: a class that nobody labelled, exact and near copies of
    labelled images, and one file that is broken off in the middle.

    Parameters
    ----------
    out : path
        An earlier sample there is replaced; other files beside it are left alone.
    size : int
        Pixels a side.
    labeled_per_class, unlabeled_per_class, novel_per_patient : int
        Pictures of each class that a patient gives.

    Raises
    ------
    DataError
        `out` is a file, or holds files and no earlier sample.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not _is_sample(out))):
        raise DataError(f"{out} exists and is no earlier sample; give another --out")
    rng = np.random.default_rng(seed)
    patients = [_make_patient(i + 1, rng) for i in range(labeled_patients + unlabeled_patients)]
    labeled = _draw_labeled(patients[:labeled_patients], labeled_per_class, size, rng)
    others = patients[labeled_patients:]
    unlabeled = _draw_unlabeled(others, unlabeled_per_class, novel_per_patient, size, rng)
    unlabeled += _copies(labeled, rng)
    unlabeled.append(_broken(others[0], size, rng))
    # Names must not give the order of drawing away.
    for number, place in enumerate(rng.permutation(len(unlabeled)), start=1):
        unlabeled[place]["image"] = f"unlabeled/cell-{number:04d}.png"
    _write(out, labeled, sorted(unlabeled, key=lambda row: row["image"]))
    return SampleSummary(out, len(labeled), len(unlabeled), len(patients))


def _is_sample(folder: Path) -> bool:
    return (folder / "truth.csv").is_file() and (folder / "labels.csv").is_file()


def _make_patient(number: int, rng: np.random.Generator) -> _Patient:
    warmth, light = rng.uniform(-1, 1), rng.uniform(0.82, 1.0)
    ground = np.array([0.93, 0.88 + 0.03 * warmth, 0.88 - 0.06 * warmth]) * light
    cell = ground * np.array([0.93, 0.66 + 0.09 * rng.uniform(-1, 1), 0.76 + 0.1 * warmth])
    stain = np.array([0.36, 0.16, 0.48]) + rng.uniform(-0.09, 0.09, 3)
    return _Patient(
        name=f"patient-{number:02d}",
        ground=ground,
        cell=cell,
        stain=stain * light,
        blur=rng.uniform(0.4, 1.0),
        noise=rng.uniform(0.008, 0.025),
        size=rng.uniform(0.33, 0.41),
        contrast=rng.uniform(0.75, 1.0),
    )


def _draw_labeled(
    patients: list[_Patient], per_class: int, size: int, rng: np.random.Generator
) -> list[dict]:
    rows = []
    for patient in patients:
        for label in CLASSES:
            for i in range(per_class):
                row = _picture(patient, label, size, rng)
                name = f"{patient.name.replace('patient-', 'p')}-{i + 1}.png"
                rows.append(row | {"image": f"labeled/{label}/{name}", "kind": "labeled"})
    return rows


def _draw_unlabeled(
    patients: list[_Patient], per_class: int, novel: int, size: int, rng: np.random.Generator
) -> list[dict]:
    rows = []
    for patient in patients:
        for label in CLASSES:
            rows += [
                _picture(patient, label, size, rng) | {"kind": "plain"} for _ in range(per_class)
            ]
        rows += [
            _picture(patient, UNKNOWN_CLASS, size, rng) | {"kind": "novel"} for _ in range(novel)
        ]
    return rows


def _copies(labeled: list[dict], rng: np.random.Generator) -> list[dict]:
    n_exact = min(_EXACT_COPIES, len(labeled) // 3)
    n_near = min(_NEAR_COPIES, len(labeled) // 3)
    picked = rng.choice(len(labeled), n_exact + n_near, replace=False)
    rows = []
    for i, place in enumerate(picked):
        source = labeled[place]
        row = source | {"of": source["image"], "kind": "exact_duplicate"}
        rows.append(row if i < n_exact else _near_copy(row, i))
    return rows


def _near_copy(row: dict, number: int) -> dict:
    """Turn a picture by 90°, shrink it, or brighten it, and take its detail's place along."""
    with Image.open(io.BytesIO(row["data"])) as opened:
        image = opened.convert("RGB")
    side, x, y, radius = image.width, row["x"], row["y"], row["radius"]
    if number % 3 == 0:
        image = image.transpose(Image.Transpose.ROTATE_90)
        x, y = y, side - 1 - x
    elif number % 3 == 1:
        smaller = round(side * 0.8)
        image = image.resize((smaller, smaller), Image.Resampling.BILINEAR)
        x, y, radius = x * 0.8, y * 0.8, radius * 0.8
    else:
        image = image.point([min(255, round(v * 1.06)) for v in range(256)] * 3)
    return row | {"data": _png(image), "kind": "near_duplicate", "x": x, "y": y,
                  "radius": radius, "width": image.width, "height": image.height}  # fmt: skip


def _broken(patient: _Patient, size: int, rng: np.random.Generator) -> dict:
    whole = _picture(patient, CLASSES[0], size, rng)
    blank = dict.fromkeys(("label", "x", "y", "radius", "width", "height"), "")
    return {**whole, **blank, "data": whole["data"][: len(whole["data"]) // 3],
            "kind": "unreadable"}  # fmt: skip


def _picture(patient: _Patient, label: str, size: int, rng: np.random.Generator) -> dict:
    """Draw one cell; x and y of the detail are pixel centres from the top left."""
    axis = (np.arange(size) + 0.5) / size - 0.5
    x, y = np.meshgrid(axis, axis)
    centre = rng.uniform(-0.05, 0.05, 2)
    image = np.broadcast_to(patient.ground, (size, size, 3)).copy()
    image *= (1 - 0.25 * (x**2 + y**2) + 0.02 * _clouds(size, rng))[..., None]
    for _ in range(rng.integers(0, 3)):
        angle = rng.uniform(0, 2 * np.pi)
        away = centre + 0.72 * np.array([np.cos(angle), np.sin(angle)])
        image = _paint(image, _cell(x, y, away, patient.size, rng), patient.cell, 0.9)
    body = _cell(x, y, centre, patient.size, rng)
    image = _paint(image, body, patient.cell, 1.0)
    rim = body * (1 - np.clip(_cell_depth(x, y, centre, patient.size) / 0.05, 0, 1))
    image = _paint(image, rim, patient.cell * 0.85, 0.6)
    pallor = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * (0.12) ** 2))
    image = _paint(image, pallor * body, patient.ground, 0.25)
    image = _distract(image, x, y, centre, patient, rng)
    angle, off = rng.uniform(0, 2 * np.pi), rng.uniform(0, patient.size - 0.19)
    place = centre + off * np.array([np.cos(angle), np.sin(angle)])
    image, radius = _DETAILS[label](image, x - place[0], y - place[1], patient, rng)
    image = _blur(image, patient.blur) + rng.normal(0, patient.noise, (size, size, 3))
    picture = Image.fromarray(np.uint8(np.clip(image, 0, 1) * 255))
    return {
        "data": _png(picture), "label": label, "group": patient.name, "of": "",
        "x": round((place[0] + 0.5) * size - 0.5, 1), "y": round((place[1] + 0.5) * size - 0.5, 1),
        "radius": round(radius * size, 1), "width": size, "height": size,
    }  # fmt: skip


def _cell_depth(x: np.ndarray, y: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    return radius - np.hypot(x - centre[0], y - centre[1])


def _cell(
    x: np.ndarray, y: np.ndarray, centre: np.ndarray, radius: float, rng: np.random.Generator
) -> np.ndarray:
    """An irregular disc, 1 inside and 0 outside with a soft edge."""
    angle = np.arctan2(y - centre[1], x - centre[0])
    wobble = sum(
        rng.uniform(-0.02, 0.02) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5)
    )
    return _edge(_cell_depth(x, y, centre, radius) + wobble * radius / 0.36)


def _edge(depth: np.ndarray, width: float = 0.012) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(depth / width * 2, -30, 30)))


def _paint(image: np.ndarray, mask: np.ndarray, colour: np.ndarray, opacity: float) -> np.ndarray:
    alpha = (mask * opacity)[..., None]
    return image * (1 - alpha) + colour * alpha


def _distract(image, x, y, centre, patient: _Patient, rng: np.random.Generator) -> np.ndarray:
    """Faint smudges anywhere and specks of stain outside the cell: they mean nothing."""
    for _ in range(2):
        at = rng.uniform(-0.4, 0.4, 2)
        smudge = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * 0.05**2))
        image = _paint(image, smudge, patient.stain, 0.12)
    for _ in range(rng.integers(0, 3)):
        angle = rng.uniform(0, 2 * np.pi)
        at = centre + (patient.size + 0.08) * np.array([np.cos(angle), np.sin(angle)])
        speck = _edge(rng.uniform(0.012, 0.03) - np.hypot(x - at[0], y - at[1]))
        image = _paint(image, speck, patient.stain, 0.7)
    return image


def _ring(image, x, y, patient: _Patient, rng: np.random.Generator):
    radius = rng.uniform(0.085, 0.105)
    band = _edge(0.022 - np.abs(np.hypot(x, y) - radius))
    angle = rng.uniform(0, 2 * np.pi)
    bead = _edge(0.036 - np.hypot(x - radius * np.cos(angle), y - radius * np.sin(angle)))
    image = _paint(image, np.maximum(band, bead), patient.stain, 0.95 * patient.contrast)
    return image, radius + 0.03


def _rod(image, x, y, patient: _Patient, rng: np.random.Generator):
    angle, bend = rng.uniform(0, 2 * np.pi), rng.uniform(-2.5, 2.5)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle) - bend * along**2
    half = rng.uniform(0.12, 0.14)
    mask = _edge(0.034 - np.hypot(np.maximum(np.abs(along) - half + 0.034, 0), across))
    return _paint(image, mask, patient.stain, 0.95 * patient.contrast), half + 0.02


def _dots(image, x, y, patient: _Patient, rng: np.random.Generator):
    count, turn = rng.integers(3, 6), rng.uniform(0, 2 * np.pi)
    mask = np.zeros_like(x)
    for i in range(count):
        angle, far = turn + 2 * np.pi * i / count, rng.uniform(0.065, 0.1)
        at = far * np.cos(angle), far * np.sin(angle)
        mask = np.maximum(mask, _edge(0.026 - np.hypot(x - at[0], y - at[1])))
    return _paint(image, mask, patient.stain, 0.95 * patient.contrast), 0.13


def _rosette(image, x, y, patient: _Patient, rng: np.random.Generator):
    distance, angle = np.hypot(x, y), np.arctan2(y, x)
    image = _paint(image, _edge(0.16 - distance), np.minimum(patient.ground * 1.08, 1), 0.9)
    spokes = 0.5 + 0.5 * np.cos(rng.integers(6, 9) * angle + rng.uniform(0, 6))
    mask = _edge(0.15 - distance) * _edge(distance - 0.05) * spokes**2
    image = _paint(image, mask, np.array([0.12, 0.35, 0.3]), 0.9 * patient.contrast)
    return image, 0.16


_DETAILS = {"ring": _ring, "rod": _rod, "dots": _dots, UNKNOWN_CLASS: _rosette}


def _clouds(size: int, rng: np.random.Generator) -> np.ndarray:
    coarse = Image.fromarray(rng.normal(0, 1, (6, 6)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    offsets = np.arange(-3, 4)
    kernel = np.exp(-(offsets**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        padded = np.pad(image, [(3, 3) if a == axis else (0, 0) for a in range(3)], mode="edge")
        shifted = np.lib.stride_tricks.sliding_window_view(padded, 7, axis=axis)
        image = shifted @ kernel
    return image


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()  # Noise hardly shrinks, however long it is packed.
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _write(out: Path, labeled: list[dict], unlabeled: list[dict]) -> None:
    """Write into a sibling folder, then move each part into place."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for row in labeled + unlabeled:
            path = partial / row["image"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row["data"])
        _csv(labeled, ["image", "label", "group"], partial / "labels.csv")
        _csv(unlabeled, ["image", "group"], partial / "unlabeled.csv")
        _csv(labeled + unlabeled, _TRUTH, partial / "truth.csv")
        out.mkdir(exist_ok=True)
        for name in _OWN:
            old = out / name
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
            os.replace(partial / name, old)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _csv(rows: list[dict], columns: list[str], path: Path) -> None:
    pd.DataFrame(rows)[columns].to_csv(path, index=False, lineterminator="\n", encoding="utf-8-sig")
