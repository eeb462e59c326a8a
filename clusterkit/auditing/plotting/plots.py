"""Plots as SVG files: confusion, reliability, risk against coverage, what became of the batch."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgba
from matplotlib.ticker import PercentFormatter

from clusterkit.auditing.plotting.figures import (
    COLOURS,
    OTHER,
    PROMISE,
    new_figure,
    save_empty,
    save_figure,
    short,
    wilson,
)
from clusterkit.auditing.plotting.vector import GROUND, INK, LINE, SOFT

# Statuses as parts of a class's count.
_AFTER = {
    "assigned": "assigned now",
    "reviewed": "labelled by a person",
    "review": "refused: review",
    "novel": "refused: novel",
    "duplicate": "copies of labelled images",
}

# Letters on a cell of full colour, in either theme.
_ON_FULL = "#fefefe"

# Rows beyond these would be too small to read.
_MOST_CONFUSED, _MOST_COUNTED = 40, 40


def confusion_plot(counts: np.ndarray, classes: list[str], path: Path) -> None:
    """Draw a confusion matrix (K, K), rows true and columns predicted, with its counts.

    Of more than 40 classes, those with the most errors are shown.
    """
    if not counts.sum():
        return save_empty(path)
    hidden = ""
    totals = counts.sum(axis=1)
    if len(classes) > _MOST_CONFUSED:
        errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
        kept = np.sort(np.argsort(-errors, kind="stable")[:_MOST_CONFUSED])
        hidden = f"\n(the {_MOST_CONFUSED} of {len(classes):,} classes with the most errors)"
        totals, counts = totals[kept], counts[np.ix_(kept, kept)]
        classes = [classes[i] for i in kept]
    k = len(classes)
    side = min(14.0, 3.2 + 0.42 * k)
    font = max(6.5, min(10.0, 9.0 * (side - 3.2) / (0.42 * k)))
    figure, axes = new_figure(side + 0.6, side)
    # Rows are coloured by their own sum: a rare class is as visible as a common one.
    shares = counts / np.maximum(totals, 1)[:, None]
    # The ground shows through where a share is small, light or dark as it is.
    cells = np.broadcast_to(to_rgba(COLOURS["assigned"]), (k, k, 4)).copy()
    cells[..., 3] = shares
    axes.imshow(cells, interpolation="none")
    names = [short(c) for c in classes]
    axes.set_xticks(range(k), names, rotation=45, ha="right", rotation_mode="anchor",
                    fontsize=font)  # fmt: skip
    axes.set_yticks(range(k), [f"{c}  ({n})" for c, n in zip(names, totals, strict=True)],
                    fontsize=font)  # fmt: skip
    axes.set_xlabel(f"predicted{hidden}")
    axes.set_ylabel("true (held-out images)")
    # In a large matrix the eye needs lines to find a cell's row and column.
    axes.set_xticks(np.arange(k + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(k + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=LINE, linewidth=0.5)
    axes.tick_params(which="both", length=0)
    for row, column in np.argwhere(counts > 0):
        colour = _ON_FULL if shares[row, column] > 0.85 else INK
        axes.text(column, row, counts[row, column], ha="center", va="center", color=colour,
                  fontsize=font - 2 * (counts[row, column] > 999))  # fmt: skip
    return save_figure(figure, path)


def reliability_plot(confidence: np.ndarray, correct: np.ndarray, path: Path) -> None:
    """Draw how often each level of confidence was right, in bins of equally many images.

    The bars are 95% Wilson intervals: with few images in a bin, chance alone moves it far.
    """
    confidence, correct = _finite(confidence, correct)
    if not len(confidence):
        return save_empty(path)
    figure, axes = new_figure(4.4, 4.2)
    order = np.argsort(confidence, kind="stable")
    bins = np.array_split(order, min(10, max(1, len(order) // 10)))
    mean = np.array([confidence[b].mean() for b in bins])
    right = np.array([correct[b].mean() for b in bins])
    low, high = wilson(right, np.array([len(b) for b in bins]))
    axes.plot([0, 1], [0, 1], color=OTHER, linestyle="--", label="perfectly calibrated")
    # A bound may miss its own share by a rounding error.
    bars = np.maximum(0, [right - low, high - right])
    axes.errorbar(mean, right, yerr=bars, marker="o", markersize=4, linewidth=1.4, elinewidth=1,
                  capsize=2, color=COLOURS["assigned"], label="held-out images")  # fmt: skip
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="share that was right")
    axes.legend(frameon=False, loc="upper left")
    return save_figure(figure, path)


def risk_coverage_plot(
    confidence: np.ndarray,
    correct: np.ndarray,
    path: Path,
    threshold: float | None = None,
    max_error: float | None = None,
) -> None:
    """Draw the error among the accepted against the part accepted, as the threshold falls."""
    confidence, correct = _finite(confidence, correct)
    n = len(confidence)
    if not n:
        return save_empty(path)
    figure, axes = new_figure(5.2, 4.2)
    order = np.argsort(-confidence, kind="stable")
    # A threshold takes images of the same confidence all or not at all.
    last = np.flatnonzero(np.r_[np.diff(confidence[order]) != 0, True])
    coverage = (last + 1) / n
    risk = np.cumsum(~correct[order])[last] / (last + 1)
    axes.plot(coverage, risk, color=COLOURS["assigned"], linewidth=1.6, label="held-out images",
              marker="." if len(last) < 3 else None)  # fmt: skip
    if max_error is not None:
        axes.axhline(max_error, color=PROMISE, linestyle="--", label=f"promised: {max_error:.1%}")
    if threshold is not None:
        taken = confidence >= threshold
        wrong = int((~correct[taken]).sum())
        axes.plot(taken.mean(), wrong / max(1, taken.sum()), "D", color=PROMISE, clip_on=False,
                  zorder=5, label=f"threshold {threshold:.3g}: {taken.sum():,} labelled, "
                  f"{wrong:,} wrong")  # fmt: skip
    axes.set(xlim=(0, 1.02), xlabel="share of the images labelled", ylabel="wrong among them")
    axes.set_ylim(0, max(0.05, 1.25 * max(risk.max(), max_error or 0)))
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False, loc="upper left")
    return save_figure(figure, path)


def class_counts_plot(labelled: pd.Series, counts: pd.DataFrame, path: Path) -> None:
    """Draw the labelled images per class, beside this batch's by predicted class and status.

    Parameters
    ----------
    labelled : Series of int
        Labelled images by class (index), before the batch.
    counts : DataFrame of int
        This batch: predicted classes (rows) by status (columns).
    path : Path
    """
    names = list(dict.fromkeys([*labelled.index, *counts.index]))
    if not names:
        return save_empty(path, "no class has an image")
    before = labelled.reindex(names, fill_value=0)
    now = counts.reindex(names, fill_value=0)
    total = before + now.sum(axis=1)
    hidden = len(names) - _MOST_COUNTED
    if hidden > 0:
        kept = total.sort_values(ascending=False, kind="stable").index[:_MOST_COUNTED]
        before, now = before.loc[kept], now.loc[kept]
    figure, axes = new_figure(6.4, 1.3 + min(0.5 * len(before), 2 + 0.28 * len(before)))
    rows = np.arange(len(before))
    axes.barh(rows - 0.2, before, 0.36, color=SOFT, label="labelled before")
    left = np.zeros(len(now))
    for status in _status_order(now):
        values = now[status].to_numpy()
        # Refused images are hatched: they got no label, and print shows no colours.
        axes.barh(rows + 0.2, values, 0.36, left=left, color=COLOURS.get(status, OTHER),
                  label=_AFTER.get(status, short(status)), edgecolor=GROUND, linewidth=0.5,
                  hatch="////" if status in ("review", "novel") else None)  # fmt: skip
        left += values
    for row, (own, given) in enumerate(zip(before, left, strict=True)):
        axes.annotate(f"{own:,}", (own, row - 0.2), (3, 0), textcoords="offset points",
                      va="center", fontsize=7)  # fmt: skip
        axes.annotate(f"{int(given):,}", (given, row + 0.2), (3, 0), textcoords="offset points",
                      va="center", fontsize=7)  # fmt: skip
    axes.set_yticks(rows, [short(str(c)) for c in before.index])
    axes.invert_yaxis()
    axes.margins(x=0.08, y=0.02)
    more = f" (the {_MOST_COUNTED} largest of {len(names):,} classes)" if hidden > 0 else ""
    axes.set_xlabel(f"images{more}")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return save_figure(figure, path)


def _status_order(counts: pd.DataFrame) -> list[str]:
    """Return the statuses that are columns, those with a colour of their own first."""
    return [s for s in COLOURS if s in counts] + [str(s) for s in counts if s not in COLOURS]


def _finite(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    finite = np.isfinite(confidence)
    return confidence[finite], correct[finite].astype(bool)
