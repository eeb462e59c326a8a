"""Plots as PNG files: confusion, reliability, risk against coverage, what became of the batch."""

import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text
from matplotlib.ticker import PercentFormatter

# Okabe and Ito's palette: told apart without colour vision too.
COLOURS = {
    "assigned": "#0072B2",
    "review": "#E69F00",
    "novel": "#CC79A7",
    "duplicate": "#56B4E9",
    "failed": "#555555",
}
_OTHER = "#999999"
_PROMISE = "#D55E00"
_LONGEST = 24

# Labels may be in any script; of these fonts, the ones that are here are tried in turn.
_FONTS = ["DejaVu Sans"] + [
    name
    for name in ("Noto Sans CJK JP", "Noto Sans CJK SC", "Microsoft YaHei", "Yu Gothic",
                 "PingFang SC", "Hiragino Sans", "Arial Unicode MS")
    if name in set(fontManager.get_font_names())
]  # fmt: skip


def confusion_plot(counts: np.ndarray, classes: list[str], path: Path) -> None:
    """Draw a confusion matrix (K, K), rows true and columns predicted, with its counts."""
    if not counts.sum():
        return _empty(path)
    k = len(classes)
    side = min(14.0, 3.2 + 0.42 * k)
    font = max(6.0, min(10.0, 9.0 * (side - 3.2) / (0.42 * k)))
    figure, axes = _figure(side + 0.6, side)
    # Rows are coloured by their own sum: a rare class is as visible as a common one.
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [_short(c) for c in classes]
    axes.set_xticks(range(k), names, rotation=45, ha="right", rotation_mode="anchor",
                    fontsize=font)  # fmt: skip
    axes.set_yticks(range(k), names, fontsize=font)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if k <= 25:
        for row, column in np.argwhere(counts > 0):
            colour = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", color=colour,
                      fontsize=font - 2 * (counts[row, column] > 999))  # fmt: skip
    return _save(figure, path)


def reliability_plot(confidence: np.ndarray, correct: np.ndarray, path: Path) -> None:
    """Draw how often each level of confidence was right, in bins of equally many images.

    The bars are 95% Wilson intervals: with few images in a bin, chance alone moves it far.
    """
    confidence, correct = _finite(confidence, correct)
    if not len(confidence):
        return _empty(path)
    figure, axes = _figure(4.4, 4.2)
    order = np.argsort(confidence, kind="stable")
    bins = np.array_split(order, min(10, max(1, len(order) // 10)))
    mean = np.array([confidence[b].mean() for b in bins])
    right = np.array([correct[b].mean() for b in bins])
    low, high = _wilson(right, np.array([len(b) for b in bins]))
    axes.plot([0, 1], [0, 1], color=_OTHER, linestyle="--", label="perfectly calibrated")
    # A bound may miss its own share by a rounding error.
    bars = np.maximum(0, [right - low, high - right])
    axes.errorbar(mean, right, yerr=bars, marker="o", markersize=4, linewidth=1.4, elinewidth=1,
                  capsize=2, color=COLOURS["assigned"], label="held-out images")  # fmt: skip
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="share that was right")
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
    confidence, correct = _finite(confidence, correct)
    n = len(confidence)
    if not n:
        return _empty(path)
    figure, axes = _figure(5.2, 4.2)
    order = np.argsort(-confidence, kind="stable")
    # A threshold takes images of the same confidence all or not at all.
    last = np.flatnonzero(np.r_[np.diff(confidence[order]) != 0, True])
    coverage = (last + 1) / n
    risk = np.cumsum(~correct[order])[last] / (last + 1)
    axes.plot(coverage, risk, color=COLOURS["assigned"], linewidth=1.6, label="held-out images",
              marker="." if len(last) < 3 else None)  # fmt: skip
    if max_error is not None:
        axes.axhline(max_error, color=_PROMISE, linestyle="--", label=f"promised: {max_error:.1%}")
    if threshold is not None:
        taken = confidence >= threshold
        error = (~correct[taken]).mean() if taken.any() else 0.0
        axes.plot(taken.mean(), error, "D", color=_PROMISE, clip_on=False, zorder=5,
                  label=f"threshold {threshold:.3g}: {taken.mean():.0%} labelled")  # fmt: skip
    axes.set(xlim=(0, 1.02), xlabel="share of the images labelled", ylabel="wrong among them")
    axes.set_ylim(0, max(0.05, 1.25 * max(risk.max(), max_error or 0)))
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False, loc="upper left")
    return _save(figure, path)


def status_plot(counts: pd.DataFrame, path: Path) -> None:
    """Draw stacked bars: predicted classes (rows of `counts`) by status (its columns)."""
    if counts.empty:
        return _empty(path, "no image could be read")
    figure, axes = _figure(5.6, min(14.0, 1.5 + 0.4 * len(counts)))
    left = np.zeros(len(counts))
    known = [s for s in COLOURS if s in counts]
    for status in known + [s for s in counts if s not in COLOURS]:
        values = counts[status].to_numpy()
        colour = COLOURS.get(status, _OTHER)
        axes.barh(range(len(counts)), values, left=left, color=colour, label=status,
                  edgecolor="white", linewidth=0.5)  # fmt: skip
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
    name = " ".join(name.split())
    name = name if len(name) <= _LONGEST else name[: _LONGEST - 9] + "…" + name[-8:]
    # matplotlib reads a pair of dollar signs as a formula.
    return name.replace("$", r"\$")


def _finite(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(confidence)
    return confidence[known], correct[known].astype(bool)


def _wilson(share: np.ndarray, n: np.ndarray, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return centre - half, centre + half


def _save(figure: Figure, path: Path) -> None:
    for text in figure.findobj(Text):
        text.set_fontfamily(_FONTS)
    partial = path.with_name(path.name + ".partial")
    with warnings.catch_warnings():
        # A letter that no font here has is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(partial, format="png")
    os.replace(partial, path)
