"""Parts that all plots share: canvas, colours for colour-blind eyes too, fonts, saving."""

import unicodedata
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text

from clusterkit.formats.atomic import replacing

# Okabe and Ito's palette, distinct without colour vision too.
COLOURS = {
    "assigned": "#0072B2",
    "review": "#E69F00",
    "novel": "#CC79A7",
    "duplicate": "#56B4E9",
    "failed": "#555555",
}
OTHER = "#999999"
PROMISE = "#D55E00"

# Marks that make a name read backwards: "gpj.exe" as "exe.jpg".
_TURNING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# Characters of a name beside an axis.
_LONGEST = 24

# Labels may be in any script; of these fonts, the ones that are here are tried in turn.
FONTS = ["DejaVu Sans"] + [
    name
    for name in ("Noto Sans CJK JP", "Noto Sans CJK SC", "Microsoft YaHei", "Yu Gothic",
                 "PingFang SC", "Hiragino Sans", "Arial Unicode MS")
    if name in set(fontManager.get_font_names())
]  # fmt: skip


def new_figure(width: float, height: float, columns: int = 1):
    """Return a figure of so many inches and its axes, side by side with equal scales."""
    # The page may be dark: a plot brings its own white ground.
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, sharex=True, sharey=True, squeeze=False)[0]
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes[0] if columns == 1 else axes


def save_empty(path: Path, text: str = "no held-out images") -> None:
    """Write a plot that says why there is none."""
    figure, axes = new_figure(4, 2)
    axes.axis("off")
    axes.text(0.5, 0.5, text, ha="center", va="center")
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG through a temporary name."""
    for text in figure.findobj(Text):
        text.set_fontfamily(FONTS)
    with any_script(), replacing(path, "wb", sync=False) as file:
        figure.savefig(file, format="png")


@contextmanager
def any_script():
    """Draw a letter that no font here has as a box, and say nothing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def short(name: str, longest: int = _LONGEST) -> str:
    """Cut a name's middle out where it is long, for a text that matplotlib draws as it is."""
    name = plain(name)
    name = name if len(name) <= longest else name[: longest - 9] + "…" + name[-8:]
    # A pair of dollar signs would be a formula.
    return name.replace("$", r"\$")


def plain(text: str) -> str:
    """Return text on one line without what no font can draw.

    >>> plain("a\\nb\\x00")
    'a b�'
    """
    # Cs is a byte of a file name that is no character; the others would turn the text around.
    return "".join("\N{REPLACEMENT CHARACTER}" if c in _TURNING or unicodedata.category(c) in
                   ("Cc", "Cs") else c for c in " ".join(text.split()))  # fmt: skip


def wilson(share: np.ndarray, n: np.ndarray, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    """Return bounds of shares of n images each.

    Wilson's interval (1927, doi:10.1080/01621459.1927.10502953), which stays within 0 and 1.

    >>> [bound.round(3).tolist() for bound in wilson(np.array([1.0, 0.5]), np.array([3, 8]))]
    [[0.438, 0.215], [1.0, 0.785]]
    """
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # By a rounding error the bound of a share of 0 or 1 may miss it, and leave its range.
    return np.clip(centre - half, 0, share), np.clip(centre + half, share, 1)
