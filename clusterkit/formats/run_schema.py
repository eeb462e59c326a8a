"""What a run's files may hold: the tables of the format, and the one place that checks them.

A run may be a stranger's. What is read of it has the types, shapes and ranges that `fit` writes: a
number that is none, or a table of other rows, would come out as a label of nobody knows what, or
as a traceback in the middle of a batch.

Shapes are in terms of E labelled images, K classes, D features, C classes that labelled images are
of, P reduced dimensions, A axes, M nodes, F folds, N held-out images, S novelty scores. A letter
stands for one number in all of a run.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clusterkit.data.appearance import APPEARANCE
from clusterkit.data.duplicates.signature import SIGNATURE
from clusterkit.errors import shown
from clusterkit.models.heads import HEADS

# Beyond what any feature or its spread is; float32 still holds its square.
_LARGEST = 1e15
_POSITIVE = 1e-30

# By how much probabilities may miss a sum of 1 by rounding.
_ROUNDING = 1e-3

Shape = tuple[str | int, ...]


class DamageError(ValueError):
    """A file of a run holds what `fit` never writes; the message says where and what."""


@dataclass(frozen=True)
class ArrayForm:
    """What a tensor, or a list of numbers in JSON, is.

    Attributes
    ----------
    types : tuple of str
        Of a tensor those allowed, as safetensors calls them; of JSON the kinds of numpy.
    shape : tuple of str or int
        Letters are those of the module; ``"D or 0"``: 0 where F is 0.
    low, high : float or str
        Least and largest value; a letter: below that number.
    gaps : bool
        NaN may stand for what is not known (of novelty -inf).
    """

    types: tuple[str, ...]
    shape: Shape = ()
    low: float = -_LARGEST
    high: float | str = _LARGEST
    gaps: bool = False


_F32, _FLOATS = ("F32",), ("F32", "F64")
# A whole number in JSON may stand for a real one.
_REAL, _WHOLE, _TRUTH = ("f", "i", "u"), ("i", "u"), ("b",)

# Of each part all tensors are there, or none; the first part always is.
GALLERY: tuple[dict[str, ArrayForm], ...] = (
    {
        "features": ArrayForm(_F32, ("E", "D")),
        "signatures": ArrayForm(("I8",), ("E", SIGNATURE)),
        "exemplar": ArrayForm(("U8",), ("E",), 0, 1),
        "centre": ArrayForm(_F32, ("D",)),
        "projection": ArrayForm(_F32, ("D", "P")),
    },
    # Of format 3, in the place of novelty.
    {"appearance": ArrayForm(_FLOATS, ("E", APPEARANCE))},
    {
        "novelty.mean": ArrayForm(_FLOATS, ("D",)),
        "novelty.scale": ArrayForm(_FLOATS, ("D",), _POSITIVE),
        "novelty.axes": ArrayForm(_FLOATS, ("D", "A")),
        "novelty.class_means": ArrayForm(_FLOATS, ("C", "A")),
        "novelty.precisions": ArrayForm(_FLOATS, ("C", "A", "A")),
    },
    {
        "novelty.looks.mean": ArrayForm(_FLOATS, (APPEARANCE,)),
        "novelty.looks.scale": ArrayForm(_FLOATS, (APPEARANCE,), _POSITIVE),
        "novelty.looks.class_means": ArrayForm(_FLOATS, ("C", APPEARANCE)),
        "novelty.looks.precisions": ArrayForm(_FLOATS, ("C", APPEARANCE, APPEARANCE)),
    },
    {
        "neighbours.points": ArrayForm(_F32, ("M", "P")),
        "neighbours.radius": ArrayForm(_F32, ("M",)),
        "neighbours.beliefs": ArrayForm(_F32, ("M", "K"), -_ROUNDING, 1 + _ROUNDING),
    },
    {
        "folds.bias": ArrayForm(_F32, ("F", "K")),
        "folds.weight": ArrayForm(_F32, ("F", "K", "D or 0")),
        "folds.number": ArrayForm(("I64",), ("E",), -1, "F"),
        "folds.logits": ArrayForm(_F32, ("E", "K"), gaps=True),
    },
)

# Of the networks: numbers, and how many batches a layer of them has seen.
WEIGHTS = {"": ArrayForm(_F32), "num_batches_tracked": ArrayForm(("I64",)),
           "running_var": ArrayForm(_F32, low=0)}  # fmt: skip

FUSION = {
    "temperature": ArrayForm(_REAL, (), 1e-6, 1e6),
    "weights": ArrayForm(_REAL, (3,), 0, 1e6),
    "slope": ArrayForm(_REAL, (), 0, 1e9),
    "offset": ArrayForm(_REAL, (), -1e9, 1e9),
    "gate_mass": ArrayForm(_REAL, (), 0, 1),
    "gate_max": ArrayForm(_WHOLE, (), 1, 1e6),
}
HELD_OUT = {
    "prior": ArrayForm(_REAL, ("K",), _POSITIVE, 1),
    "probs": ArrayForm(_REAL, ("N", "K"), 0, 1),
    "novelty": ArrayForm(_REAL, ("N", "S"), gaps=True),
    "labels": ArrayForm(_WHOLE, ("N",), 0, "K"),
    "units": ArrayForm(_WHOLE, ("N",), 0, "E"),
    "rows": ArrayForm(_WHOLE, ("N",), 0, "E"),
    "gated": ArrayForm(_TRUTH, ("N",)),
}
# Not in runs of before.
_LATER = {"outside": ArrayForm(_REAL, (), 0, 1), "lapse": ArrayForm(_REAL, (), 0, 1),
          "within_groups": ArrayForm(_TRUTH)}  # fmt: skip

# Figures of held-out images, and of those of the split test; None: not known.
_SHARE, _COUNT = ArrayForm(_REAL, (), 0, 1), ArrayForm(_WHOLE, (), 0, 1e12)
METRICS = {
    "held_out_images": _COUNT, "held_out_units": _COUNT, "within_groups": ArrayForm(_TRUTH),
    "accuracy": _SHARE, "gate_recall": _SHARE, "expected_calibration_error": _SHARE,
    "top_calibration_error": _SHARE, "brier_score": _SHARE, "label_set_coverage": _SHARE,
    "label_set_size": ArrayForm(_REAL, (), 0), "log_likelihood": ArrayForm(_REAL),
}  # fmt: skip
TEST = {
    "images": _COUNT, "groups": _COUNT, "accuracy": _SHARE, "right": _COUNT,
    "interval": ArrayForm(_REAL, (2,), 0, 1), "interval_level": _SHARE, "assigned": _COUNT,
    "assigned_wrong": _COUNT, "max_error": _SHARE,
}  # fmt: skip
PRECISION = {
    "close": ArrayForm(_REAL, (), 0), "images": _COUNT, "close_share": _SHARE,
    "other_labels": _COUNT,
}  # fmt: skip


def check_header(
    parts: Iterable[Mapping[str, ArrayForm]],
    found: Mapping[str, tuple[str, Sequence[int]]],
    sizes: dict[str, int],
) -> list[str]:
    """Check the tensors of a gallery by their names, types and shapes, before any is read.

    Parameters
    ----------
    parts : iterable of dict of str to ArrayForm
        `GALLERY`.
    found : dict of str to (type, shape)
    sizes : dict of str to int
        What letters stand for; others are added as they are met.

    Returns
    -------
    list of str: the names to read; what a newer version may have added is left out.

    Raises
    ------
    DamageError
        One is missing, or of another type or shape.
    """
    wanted: list[str] = []
    for number, part in enumerate(parts):
        there = [name for name in part if name in found]
        if there or not number:
            for name, form in part.items():
                if name not in found:
                    raise DamageError(f"no {name}")
                _check_shape(name, form, *found[name], sizes)
            wanted += part
    novelty, appearance = "novelty.mean" in wanted, "appearance" in wanted
    if novelty == appearance or ("novelty.looks.mean" in wanted and not novelty):
        raise DamageError("novelty is not told by one model")
    return wanted


def check_values(name: str, form: ArrayForm, values: np.ndarray, sizes: Mapping[str, int]) -> None:
    """Check that all values of an array are in the range of its form.

    Raises
    ------
    DamageError
        One is not, or is no finite number.
    """
    if not values.size:
        return
    if form.gaps:
        values = values[np.isfinite(values) | (values == np.inf)]
        if not values.size:
            return
    high = form.high
    if isinstance(high, str):
        # Without folds the images are in none, or in the only one.
        high = max(1, sizes[high]) - 1
    least, most = values.min(), values.max()
    # Also where one is NaN: it is in no range.
    if not form.low <= least <= most <= high:
        raise DamageError(f"{name} is from {least:g} to {most:g}, and not from {form.low:g} to "
                          f"{high:g}")  # fmt: skip


def check_calibration(values: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
    """Check a `calibration.json` against E, K and S.

    Raises
    ------
    DamageError
        A key is missing, or a value is none that `fit` writes.
    """
    own = dict(sizes)
    for key, forms in (("fusion", FUSION), ("held_out", HELD_OUT)):
        inner = values.get(key)
        if not isinstance(inner, dict):
            raise DamageError(f"no {key}")
        others = sorted(set(inner) - set(forms) - set(_LATER))
        if others:
            raise DamageError(f"{key}.{shown(others[0])} is unknown")
        _check_plain(inner, forms, own, f"{key}.")
    _check_plain({k: values[k] for k in _LATER if k in values}, {}, own)
    if own["N"] < 1:
        raise DamageError("no image was held out")
    for name in ("probs", "prior"):
        if abs(np.asarray(values["held_out"][name]).sum(axis=-1) - 1).max() > _ROUNDING:
            raise DamageError(f"held_out.{name} do not sum to 1")
    inputs = values.get("inputs")
    if not isinstance(values.get("chosen"), str) or not isinstance(inputs, dict):
        raise DamageError("no inputs were chosen")
    _check_plain(inputs, dict.fromkeys(inputs, ArrayForm(_REAL)), own, "inputs.")


def check_record(info: Mapping[str, Any]) -> None:
    """Check the values of a `run.json` whose types are right.

    Raises
    ------
    DamageError
        One is none that `fit` writes.
    """
    classes, data, metrics = info["classes"], info["data"], info["metrics"]
    for name, holds in (
        ("classes", 0 < len(classes) == len(set(classes)) and all(classes)),
        ("size", 32 <= info["size"] <= 4096),
        ("seed", 0 <= info["seed"] < 2**32),
        ("folds", 1 <= info["folds"] <= 1_000_000),
        ("encoder", info["encoder"] in ("shared", "separate")),
        ("classifier_head", info["classifier_head"] in HEADS),
    ):
        if not holds:
            raise DamageError(f"{name} is {shown(str(info[name]))}")
    for folder in (data["root"], *data["roots"]):
        # Whoever loads a run does not read where a stranger points.
        if os.path.isabs(folder) or "\0" in folder or not folder.isprintable():
            raise DamageError(f"data.root is {shown(folder)}, and fit writes relative paths")
    counts = [*data["by_class"].values(), *(data[name] for name in ("images", "units", "groups"))]
    if not all(0 <= count <= 10**12 for count in counts):
        raise DamageError("data counts images that cannot be")
    _check_plain(info["precision"], {}, {}, "precision.", PRECISION)
    _check_plain(metrics, {}, {}, "metrics.", METRICS)
    if "accuracy" in metrics and "held_out_images" not in metrics:
        raise DamageError("metrics do not say of how many images")
    if "test" in metrics:
        _check_test(metrics["test"])


def _check_test(figures: Any) -> None:
    if not isinstance(figures, dict):
        raise DamageError("metrics.test is no object")
    _check_plain(figures, TEST, {}, "metrics.test.", TEST)
    left_out, unknown = figures.get("left_out"), figures.get("unknown_classes")
    if not isinstance(left_out, dict) or not isinstance(unknown, list):
        raise DamageError("metrics.test does not say what was left out")


def _check_plain(
    values: Mapping[str, Any],
    required: Mapping[str, ArrayForm],
    sizes: dict[str, int],
    prefix: str = "",
    optional: Mapping[str, ArrayForm] | None = None,
) -> None:
    """Check numbers, and lists of them, of JSON; with `optional` they may be None."""
    for name in required:
        if name not in values:
            raise DamageError(f"no {prefix}{name}")
    forms = dict(_LATER if optional is None else optional) | dict(required)
    for name in [name for name in values if name in forms]:
        value, form = values[name], forms[name]
        if optional is not None and value is None:
            continue
        array = _as_array(value)
        _check_shape(prefix + name, form, array.dtype.kind, array.shape, sizes)
        check_values(prefix + name, form, array, sizes)


def _as_array(value: Any) -> np.ndarray:
    try:
        found = np.asarray(value)
    except (ValueError, OverflowError, RecursionError) as error:
        raise DamageError("a list is no table of numbers") from error
    return found


def _check_shape(
    name: str, form: ArrayForm, kind: str, shape: Sequence[int], sizes: dict[str, int]
) -> None:
    if kind not in form.types:
        raise DamageError(f"{name} is of type {kind}, and not {' or '.join(form.types)}")
    wanted = []
    for letter, length in zip(form.shape, shape, strict=False):
        if isinstance(letter, int):
            wanted.append(letter)
        elif letter == "D or 0":
            wanted.append(sizes["D"] if sizes["F"] else 0)
        else:
            wanted.append(sizes.setdefault(letter, length))
    if len(shape) != len(form.shape) or wanted != list(shape):
        said = ", ".join(map(str, form.shape))
        raise DamageError(f"{name} has the shape {tuple(shape)}, and not ({said}) of this run")


def form_of_weights(name: str) -> ArrayForm:
    """Return what a tensor of the networks is, by the last part of its name."""
    return WEIGHTS.get(name.rpartition(".")[2], WEIGHTS[""])
