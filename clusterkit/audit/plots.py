"""Plots as PNG files: confusion, reliability, risk against coverage, what became of the batch."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart without colour vision too.
COLOURS = {
    "assigned": "#0072B2",
    "review": "#E69F00",
    "novel": "#CC79A7",
    "duplicate": "#56B4E9",
    "failed": "#555555",
}
_LONGEST = 18


def confusion_plot(counts: np.ndarray, classes: list[str], path: Path) -> None:
    """Draw a confusion matrix (K, K), rows true and columns predicted, with its counts."""
    if not counts.sum():
        return _empty(path)
    k = len(classes)
    side = min(14.0, 3.2 + 0.42 * k)
    figure, axes = _figure(side + 0.6, side)
    # Rows are coloured by their own sum: a rare class is as visible as a common one.
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [_short(c) for c in classes]
    axes.set_xticks(range(k), names, rotation=45 if k > 3 else 0, ha="right" if k > 3 else "center")
    axes.set_yticks(range(k), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if k <= 25:
        for row, column in np.argwhere(counts > 0):
            colour = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", color=colour)
    return _save(figure, path)


def reliability_plot(confidence: np.ndarray, correct: np.ndarray, path: Path) -> None:
    """Draw how often each level of confidence was right, in bins of equally many images."""
    if not len(confidence):
        return _empty(path)
    figure, axes = _figure(4.4, 4.2)
    order = np.argsort(confidence, kind="stable")
    bins = np.array_split(order, min(10, max(1, len(order) // 5)))
    axes.plot([0, 1], [0, 1], color="#999999", linestyle="--", label="perfectly calibrated")
    axes.plot([confidence[b].mean() for b in bins], [correct[b].mean() for b in bins],
              marker="o", color=COLOURS["assigned"], label="held-out images")  # fmt: skip
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="part that was right")
    axes.legend(frameon=False, loc="upper left")
    return _save(figure, path)


def risk_coverage_plot(
    confidence: np.ndarray,
    correct: np.ndarray,
    path: Path,
    threshold: float | None = None,
    max_error: float | None = None,
) -> None:
    """Draw the error among the accepted against the part accepted, as the threshold falls."""
    n = len(confidence)
    if not n:
        return _empty(path)
    figure, axes = _figure(5.2, 4.2)
    order = np.argsort(-confidence, kind="stable")
    coverage = np.arange(1, n + 1) / n
    risk = np.cumsum(~correct[order].astype(bool)) / np.arange(1, n + 1)
    axes.step(coverage, risk, where="post", color=COLOURS["assigned"], label="held-out images")
    if max_error is not None:
        axes.axhline(max_error, color="#D55E00", linestyle="--", label="error asked for")
    if threshold is not None:
        accepted = int((confidence >= threshold).sum())
        axes.plot(accepted / n, risk[accepted - 1], "o", color="#D55E00", label="threshold chosen")
    axes.set(xlim=(0, 1.02), xlabel="part of the images labelled", ylabel="wrong among them")
    axes.set_ylim(0, max(0.05, 1.15 * max(risk.max(), max_error or 0)))
    axes.legend(frameon=False)
    return _save(figure, path)


def status_plot(counts: pd.DataFrame, path: Path) -> None:
    """Draw stacked bars: predicted classes (rows of `counts`) by status (its columns)."""
    if counts.empty:
        return _empty(path, "no image could be read")
    figure, axes = _figure(5.6, min(14.0, 1.5 + 0.4 * len(counts)))
    left = np.zeros(len(counts))
    for status, colour in COLOURS.items():
        if status in counts:
            values = counts[status].to_numpy()
            axes.barh(range(len(counts)), values, left=left, color=colour, label=status)
            left += values
    axes.set_yticks(range(len(counts)), [_short(str(c)) for c in counts.index])
    axes.invert_yaxis()
    axes.set_xlabel("images")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return _save(figure, path)


def _figure(width: float, height: float):
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _empty(path: Path, text: str = "no held-out images") -> None:
    figure, axes = _figure(4, 2)
    axes.axis("off")
    axes.text(0.5, 0.5, text, ha="center", va="center")
    _save(figure, path)


def _short(name: str) -> str:
    # matplotlib reads a pair of dollar signs as a formula.
    name = name.replace("$", r"\$")
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def _save(figure: Figure, path: Path) -> None:
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format="png")
    os.replace(partial, path)
