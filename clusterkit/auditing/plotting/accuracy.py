"""Accuracy of held-out images: by class, and by group."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import PercentFormatter

from clusterkit.auditing.plotting.figures import (
    COLOURS,
    OTHER,
    new_figure,
    save_empty,
    save_figure,
    short,
    wilson,
)
from clusterkit.auditing.plotting.vector import LINE

# Bars that are told apart at a glance.
MOST = 20


def accuracy_by(keys: Iterable[str | None], correct: np.ndarray) -> pd.DataFrame:
    """Return the accuracy per key, the worst key first.

    Parameters
    ----------
    keys : (N,) str
        Class or group of each held-out image; "" and None belong to none.
    correct : (N,) bool

    Returns
    -------
    DataFrame: name, images, right, accuracy, and low and high, the bounds of the 95% Wilson
    interval as if the images were independent. Of equal accuracies the one with more images
    comes first: it is the surer one.
    """
    table = pd.DataFrame({"name": list(keys), "right": np.asarray(correct, dtype=bool)})
    table = table[table["name"].notna() & (table["name"] != "")]
    found = table.groupby("name", sort=True)["right"].agg(images="size", right="sum").reset_index()
    found = found.astype({"images": int, "right": int})
    found["accuracy"] = found["right"] / found["images"]
    found["low"], found["high"] = wilson(found["accuracy"].to_numpy(), found["images"].to_numpy())
    return found.sort_values(
        ["accuracy", "images", "name"], ascending=[True, False, True], ignore_index=True
    )


def accuracy_plot(table: pd.DataFrame, path: Path, what: str = "class") -> None:
    """Draw accuracies with their intervals, the worst first, at most 20.

    Parameters
    ----------
    table : DataFrame
        Of `accuracy_by`.
    path : Path
    what : str
        Name of what a row is, in the singular.
    """
    if table.empty:
        return save_empty(path, f"no held-out image has a {what}")
    shown = table.head(MOST)
    figure, axes = new_figure(5.6, 1.2 + 0.3 * len(shown))
    rows = np.arange(len(shown))
    overall = table["right"].sum() / table["images"].sum()
    axes.axvline(overall, color=OTHER, linestyle="--", linewidth=1, zorder=0)
    bars = np.array([shown["accuracy"] - shown["low"], shown["high"] - shown["accuracy"]])
    axes.errorbar(shown["accuracy"], rows, xerr=bars, fmt="o", markersize=5, elinewidth=1.2,
                  capsize=2.5, color=COLOURS["assigned"], clip_on=False)  # fmt: skip
    names = [f"{short(str(n))}  ({right}/{images})" for n, right, images in
             zip(shown["name"], shown["right"], shown["images"], strict=True)]  # fmt: skip
    axes.set_yticks(rows, names)
    axes.set(xlim=(0, 1.02), ylim=(len(shown) - 0.4, -0.6))
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(axis="x", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    hidden = len(table) - len(shown)
    left_out = f"\n{hidden:,} more, none of them worse, are not shown" if hidden else ""
    axes.set_xlabel(f"held-out images right (dashed: all, {_percent(overall)}){left_out}")
    return save_figure(figure, path)


def accuracy_words(table: pd.DataFrame, what: str = "class", most: int = 5) -> str:
    """Return the accuracies in words: all where they are few, else the worst.

    >>> accuracy_words(accuracy_by(["a", "a", "b"], [True, False, True]))
    'By class: a 50% of 2, b 100% of 1.'
    """
    if table.empty:
        return f"No held-out image has a {what}."
    worst = table.head(most)
    parts = [
        f"{' '.join(str(name).split())[:60]} {_percent(accuracy)} of {images:,}"
        for name, accuracy, images in zip(
            worst["name"], worst["accuracy"], worst["images"], strict=True
        )
    ]
    if len(table) <= most:
        return f"By {what}: {', '.join(parts)}."
    return f"The worst {len(parts)} of {len(table):,} {_plural(what)}: {', '.join(parts)}."


def _percent(share: float) -> str:
    """Round a share so that only what is all right is called 100%, and only nothing 0%.

    >>> _percent(0.999), _percent(1.0), _percent(0.001)
    ('99.9%', '100%', '0.1%')
    """
    percent = 100 * share
    digits = 1 if 0 < percent < 1 or 99 < percent < 100 else 0
    return f"{percent:.{digits}f}%"


def _plural(what: str) -> str:
    return what + ("es" if what.endswith("s") else "s")
