"""Parts that all plots share: canvas, colours for colour-blind eyes too, fonts, saving."""

import unicodedata
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text

from clusterkit.auditing.plotting.vector import FAILED, GROUND, INK, LINE, write_svg

# Okabe and Ito's palette, distinct without colour vision too.
COLOURS = {
    "assigned": "#0072B2",
    "reviewed": "#009E73",
    "review": "#E69F00",
    "novel": "#CC79A7",
    "duplicate": "#56B4E9",
    "failed": FAILED,
}
OTHER = "#999999"
PROMISE = "#D55E00"

# Marks that make a name read backwards: "gpj.exe" as "exe.jpg"; and what no XML may hold.
_UNDRAWN = set(
    "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufffe\uffff"
)

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
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=GROUND)
    FigureCanvasSVG(figure)
    axes = figure.subplots(1, columns, sharex=True, sharey=True, squeeze=False)[0]
    for each in axes:
        each.set_facecolor("none")
        each.tick_params(color=LINE, labelcolor=INK)
        each.spines[["top", "right"]].set_visible(False)
        each.spines[["bottom", "left"]].set_color(LINE)
    return figure, axes[0] if columns == 1 else axes


def save_empty(path: Path, text: str = "no held-out images") -> None:
    """Write a plot that says why there is none."""
    figure, axes = new_figure(4, 2)
    axes.axis("off")
    axes.text(0.5, 0.5, text, ha="center", va="center")
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as SVG through a temporary name."""
    for text in figure.findobj(Text):
        text.set_fontfamily(FONTS)
        if to_hex(text.get_color()) == "#000000":
            text.set_color(INK)
    with any_script():
        write_svg(figure, path)


@contextmanager
def any_script():
    """Draw a letter that no font here has as a box, and say nothing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def short(name: str, longest: int = _LONGEST) -> str:
    """Cut a name's middle out where it is long, for a text that matplotlib draws as it is.

    Letters of double width, as Chinese has, count as two.
    """
    name = plain(name)
    if sum(map(_columns, name)) > longest:
        name = _fitting(name, longest - 9) + "…" + _fitting(name[::-1], 8)[::-1]
    # Without a font here that has them, wide letters are measured as narrow ones: blanks keep the
    # room that they need, and no browser draws blanks at the start of a text.
    missing = sum(_columns(c) - 1 for c in name) if len(FONTS) == 1 else 0
    # A pair of dollar signs would be a formula.
    return " " * missing + name.replace("$", r"\$")


def _columns(letter: str) -> int:
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _fitting(name: str, columns: int) -> str:
    """Return the start of a name that takes at most so many columns."""
    taken = np.cumsum([_columns(c) for c in name])
    return name[: int(np.searchsorted(taken, columns, "right"))]


def plain(text: str) -> str:
    """Return text on one line without what no font can draw.

    >>> plain("a\\nb\\x00")
    'a b�'
    """
    # Cs is a byte of a file name that is no character; the others would turn the text around, or
    # are allowed in no XML.
    return "".join("\N{REPLACEMENT CHARACTER}" if c in _UNDRAWN or unicodedata.category(c) in
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
