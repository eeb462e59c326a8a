"""Near-duplicate search: planted copies found and false pairs, beside imagehash's phash; scale."""

import argparse
import io
import json
import resource
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import imagehash
import numpy as np
import pandas as pd
from PIL import Image, ImageEnhance
from scipy import ndimage

from benchmarks.protocol import data_folder
from clusterkit.data.duplicates.grouping import near_groups
from clusterkit.data.duplicates.index import near_pairs
from clusterkit.data.duplicates.signature import SAME, all_scores, signature
from clusterkit.data.files import find_images
from clusterkit.data.imageio.read import load_image

_BITS = 64
# Hamming distances up to which two phashes count as a pair.
_PHASH = (0, 2, 4, 6, 8, 10, 12)
_SEEN = Path(__file__).with_name("duplicates_seen.csv")


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Return the image compressed and read back."""
    store = io.BytesIO()
    image.save(store, "JPEG", quality=quality)
    return Image.open(store).convert("RGB")


def scale(image: Image.Image, factor: float) -> Image.Image:
    """Return the image with its sides multiplied, bicubic."""
    size = tuple(max(1, round(side * factor)) for side in image.size)
    return image.resize(size, Image.Resampling.BICUBIC)


def turn(image: Image.Image, degrees: float, expand: bool = False) -> Image.Image:
    """Return the image turned, corners filled with black."""
    return image.rotate(degrees, Image.Resampling.BICUBIC, expand=expand)


def trim(image: Image.Image, left: float, right: float) -> Image.Image:
    """Return the image with parts of its width and height cut off at both ends."""
    w, h = image.size
    return image.crop(
        (round(w * left), round(h * left), round(w - w * right), round(h - h * right))
    )


def gamma(image: Image.Image, power: float) -> Image.Image:
    """Return the image with values v in [0, 1] raised to a power."""
    return image.point([round(255 * (v / 255) ** power) for v in range(256)] * 3)


_TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
_FLIPS = (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM)

# kind -> name -> transformation; the first four kinds are the ones that must be found.
KINDS: dict[str, dict[str, Callable]] = {
    "rotated": {
        "90, 180 or 270 degrees": lambda im, rng: im.transpose(_TURNS[rng.integers(3)]),
        "2 to 30 degrees": lambda im, rng: turn(im, rng.uniform(2, 30) * rng.choice([-1, 1])),
        "any angle": lambda im, rng: turn(im, rng.uniform(0, 360)),
    },
    "rescaled": {
        "half": lambda im, rng: scale(im, 0.5),
        "0.5 to 2": lambda im, rng: scale(im, 2 ** rng.uniform(-1, 1)),
        "double": lambda im, rng: scale(im, 2),
    },
    "re-compressed": {
        "JPEG 30": lambda im, rng: jpeg(im, 30),
        "JPEG 50": lambda im, rng: jpeg(im, 50),
        "JPEG 30 to 95": lambda im, rng: jpeg(im, int(rng.integers(30, 96))),
    },
    "brightness": {
        "brightness 0.7 or 1.3": lambda im, rng: ImageEnhance.Brightness(im).enhance(
            rng.choice([0.7, 1.3])
        ),
        "contrast 0.7 or 1.4": lambda im, rng: ImageEnhance.Contrast(im).enhance(
            rng.choice([0.7, 1.4])
        ),
        "gamma 0.7 or 1.4": lambda im, rng: gamma(im, rng.choice([0.7, 1.4])),
    },
    "others": {
        "mirrored": lambda im, rng: im.transpose(_FLIPS[rng.integers(2)]),
        "any angle, JPEG 50": lambda im, rng: jpeg(turn(im, rng.uniform(0, 360)), 50),
        "any angle, brightness": lambda im, rng: ImageEnhance.Brightness(
            turn(im, rng.uniform(0, 360))
        ).enhance(rng.choice([0.7, 1.3])),
        "half, JPEG 50": lambda im, rng: jpeg(scale(im, 0.5), 50),
        "cut by 2%": lambda im, rng: trim(im, 0.01, 0.01),
        "cut by 5%": lambda im, rng: trim(im, 0.025, 0.025),
        "shifted by 2%": lambda im, rng: trim(im, 0.02, 0),
        "shifted by 5%": lambda im, rng: trim(im, 0.05, 0),
        "turned, canvas grown": lambda im, rng: turn(im, rng.uniform(5, 30), expand=True),
    },
}
REQUIRED = tuple(KINDS)[:4]


def run_set(name: str, planted: int, out: Path) -> list[dict]:
    """Plant copies of each transformation in a set and search; a row a transformation."""
    root = data_folder() / name
    names = find_images(root)
    images = [load_image(root / image) for image in names]
    natural = _natural(name, names)
    ours, theirs = _signatures(images), _phashes(images)
    _picture_pairs(images, near_pairs(ours), natural, out / f"unplanted-{name}.png")
    chosen = np.random.default_rng(0).permutation(len(images))[:planted]
    rows = []
    for kind, transformations in KINDS.items():
        for label, transform in transformations.items():
            copies = [transform(images[i], np.random.default_rng(int(i))) for i in chosen]
            row = {"set": name, "kind": kind, "transformation": label}
            pairs = near_pairs(np.concatenate([ours, _signatures(copies)]))
            found = {"clusterkit": (pairs.first, pairs.second)}
            hashes = np.concatenate([theirs, _phashes(copies)])
            distance = (_BITS - hashes @ hashes.T) / 2
            for limit in _PHASH:
                found[f"phash<={limit}"] = np.nonzero(np.triu(distance <= limit, 1))
            for method, (first, second) in found.items():
                figures = scorer(first, second, len(images), chosen, natural)
                rows.append(row | {"method": method} | figures)
    return rows


def scorer(first, second, n: int, chosen: np.ndarray, natural: set) -> dict:
    """Count what was found among n images and copies of some of them, numbered from n on.

    A pair is right if both go back to one image, or to two that were seen to be one picture.
    """
    origin = np.r_[np.arange(n), chosen]
    a, b = origin[first], origin[second]
    low, high = np.minimum(a, b).tolist(), np.maximum(a, b).tolist()
    seen = [pair in natural for pair in zip(low, high, strict=True)]
    right = (a == b) | np.array(seen, dtype=bool)
    planted = (a == b).sum()
    false = len(first) - right.sum()
    return {
        "planted": len(chosen),
        "found": int(planted),
        "natural": int(right.sum() - planted),
        "false": int(false),
        "recall": planted / len(chosen),
        "precision": right.sum() / max(1, len(first)),
        "precision_planted_only": planted / max(1, planted + false),
    }


def run_groups(name: str, planted: int) -> dict:
    """Plant two copies of each of some images, of required kinds, and group everything."""
    root = data_folder() / name
    names = find_images(root)
    images = [load_image(root / image) for image in names]
    natural = _natural(name, names)
    rng = np.random.default_rng(1)
    chosen = rng.permutation(len(images))[:planted].repeat(2)
    transforms = [t for kind in REQUIRED for t in KINDS[kind].values()]
    copies = [transforms[rng.integers(len(transforms))](images[i], rng) for i in chosen]
    rows = np.concatenate([_signatures(images), _signatures(copies)])
    groups = near_groups(len(rows), near_pairs(rows), rows)
    origin = np.r_[np.arange(len(images)), chosen]
    wrong = pairs = 0
    for group in range(groups.max() + 1):
        members = origin[groups == group]
        first, second = np.triu_indices(len(members), 1)
        figures = scorer(members[first], members[second], len(images), np.zeros(0, int), natural)
        wrong, pairs = wrong + figures["false"], pairs + len(first)
    with_copy = groups[len(images) :] == groups[chosen]
    together = with_copy & (groups[chosen] >= 0)
    return {
        "set": name,
        "copies": len(chosen),
        "with_their_image": float(together.mean()),
        "groups": int(groups.max() + 1),
        "pairs_in_groups": pairs,
        "of_unlike": wrong,
    }


def run_scale(n: int) -> dict:
    """Search n drawn pictures, of which one in fifty is a changed copy of another."""
    rng = np.random.default_rng(n)
    copies = n // 50
    rows, changed = [], []
    for number in range(n - copies):
        picture = _draw(rng)
        rows.append(signature(picture))
        if number < copies:
            copy = jpeg(turn(picture.convert("RGB"), rng.uniform(0, 360)), 50)
            changed.append(signature(copy))
    everything = np.array(rows + changed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    pairs = near_pairs(everything)
    seconds = time.perf_counter() - start
    groups = near_groups(n, pairs, everything)
    grouped = time.perf_counter() - start - seconds
    truth = np.array([all_scores(everything[i : i + 1], everything[n - copies + i :][:1])[0, 0]
                      for i in range(copies)]) >= SAME  # fmt: skip
    listed = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    found = np.array([(i, n - copies + i) in listed for i in range(copies)])
    row = {
        "images": n,
        "seconds": seconds,
        "seconds_groups": grouped,
        "peak_mb_before": before,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "copies": int(truth.sum()),
        "candidate_recall": float(found[truth].mean()),
        "other_pairs": len(pairs) - int(found.sum()),
        "groups": int(groups.max() + 1),
    }
    if n <= 10_000:
        # Brute force is out of reach beyond: every pair, of some rows with all.
        some = rng.permutation(n)[:1000]
        scores = all_scores(everything[some], everything)
        scores[np.arange(len(some)), some] = 0
        wanted = {(min(a, b), max(a, b)) for a, b in
                  zip(some[np.nonzero(scores >= SAME)[0]].tolist(),
                      np.nonzero(scores >= SAME)[1].tolist(), strict=True)}  # fmt: skip
        row |= {"brute_pairs": len(wanted), "brute_found": len(wanted & listed)}
    return row


def _draw(rng: np.random.Generator) -> Image.Image:
    """A grey cell, 48 pixels wide: smooth outline, faint texture, a few dark dots."""
    y, x = np.mgrid[:48, :48] - 23.5
    angle, radius = np.arctan2(y, x), np.hypot(y, x)
    edge = 20 + sum(rng.normal(0, 1.2 / m) * np.cos(m * angle + rng.uniform(0, 6.3))
                    for m in range(1, 7))  # fmt: skip
    texture = ndimage.gaussian_filter(rng.normal(size=(48, 48)), rng.uniform(1.5, 3)) * 40
    for _ in range(rng.integers(0, 4)):
        where = rng.uniform(-12, 12, size=2)
        texture -= 60 * np.exp(-((y - where[0]) ** 2 + (x - where[1]) ** 2) / rng.uniform(3, 12))
    inside = 1 / (1 + np.exp(radius - edge))
    grey = inside * (rng.uniform(130, 190) + texture) + (1 - inside) * 20
    return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))


def _natural(name: str, names: list[str]) -> set[tuple[int, int]]:
    """Pairs of the set itself that were looked at and are one picture, as rows of `names`."""
    seen = pd.read_csv(_SEEN)
    place = {image: i for i, image in enumerate(names)}
    here = seen[seen["set"] == name]
    pairs = zip(here["image"].map(place), here["other"].map(place), strict=True)
    return {(min(a, b), max(a, b)) for a, b in pairs}


def _signatures(images: list[Image.Image]) -> np.ndarray:
    return np.array([signature(image) for image in images])


def _phashes(images: list[Image.Image]) -> np.ndarray:
    """(N, 64) of -1 and 1."""
    bits = np.array([imagehash.phash(image, hash_size=8).hash.ravel() for image in images])
    return np.where(bits, 1.0, -1.0).astype(np.float32)


def _picture_pairs(images, pairs, natural: set, path: Path, limit: int = 120) -> None:
    """Draw the unplanted pairs that nobody has looked at yet, lowest score first."""
    new = [p for p in np.argsort(pairs.score)
           if (pairs.first[p], pairs.second[p]) not in natural][:limit]  # fmt: skip
    sheet = Image.new("RGB", (8 * 210, 104 * max(1, -(-len(new) // 8))), (60, 0, 60))
    for place, p in enumerate(new):
        left, top = place % 8 * 210, place // 8 * 104
        for side, i in enumerate((pairs.first[p], pairs.second[p])):
            small = images[i].copy()
            small = scale(small, 100 / max(small.size))
            sheet.paste(small, (left + side * 102, top))
    sheet.save(path)


def _report(table: pd.DataFrame) -> pd.DataFrame:
    """Pool transformations by set, kind and method; "the four" are the kinds to be found."""
    counts = ["planted", "found", "natural", "false"]
    keys = ["set", "method", "kind"]
    needed = table[table["kind"].isin(REQUIRED)].assign(kind="the four")
    report = pd.concat([table, needed]).groupby(keys)[counts].sum()
    right = report["found"] + report["natural"]
    report["recall"] = report["found"] / report["planted"]
    report["precision"] = right / (right + report["false"])
    report["precision_planted_only"] = report["found"] / (report["found"] + report["false"])
    # The fairest single figure for phash: the limit that serves it best on that set.
    report["f1"] = 2 / (1 / report["recall"] + 1 / report["precision_planted_only"])
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", default=["malaria", "bccd", "busi"])
    parser.add_argument("--planted", type=int, default=300)
    parser.add_argument("--scale", type=int, nargs="*", default=[], help="only this, e.g. 10000")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.scale:
        rows = []
        # A process each: the peak of memory is one process's highest ever.
        with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            for row in pool.imap(run_scale, options.scale, chunksize=1):
                rows.append(row)
                print(row, flush=True)
        table = pd.DataFrame(rows)
        if len(rows) > 1:
            slope = np.polyfit(np.log(table["images"]), np.log(table["seconds"]), 1)[0]
            print(f"seconds grow as N^{slope:.2f}")
        table.to_csv(options.out / "scale.csv", index=False)
        return
    rows, groups = [], []
    for name in options.sets:
        rows += run_set(name, options.planted, options.out)
        groups.append(run_groups(name, options.planted))
        print(groups[-1], flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(options.out / "duplicates.csv", index=False)
    report = _report(table)
    written = {"groups": groups, "report": report.reset_index().to_dict("records")}
    (options.out / "duplicates.json").write_text(json.dumps(written, indent=1) + "\n")
    one = table[table["method"] == "clusterkit"]
    print(one.drop(columns=["method", "planted", "kind"]).round(4).to_string(index=False))
    print(report.round(4).to_string())
    four = report.xs("the four", level="kind")
    hashed = four[four.index.get_level_values("method") != "clusterkit"]
    print("phash at its best limit:")
    print(hashed.loc[hashed.groupby("set")["f1"].idxmax()].round(4).to_string())


if __name__ == "__main__":
    main()
