"""Page of paper: words and pictures at places in inches, from the top left corner."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from PIL import Image

from clusterkit.auditing.plotting.figures import FONTS, any_script, plain

# A4 upright, in inches, and dots an inch.
WIDTH, HEIGHT, DPI = 8.27, 11.69, 150

# Height of a line over the size of its letters, and points an inch.
_LEADING, _POINTS = 1.3, 72


class Paper:
    """Empty page; text that does not fit its width is broken, also within a word."""

    def __init__(self) -> None:
        self.figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor="white")
        self._canvas = FigureCanvasAgg(self.figure)

    def text(
        self,
        place: tuple[float, float],
        text: str,
        width: float,
        size: float = 8.5,
        lines: int = 1,
        **style: Any,
    ) -> float:
        """Write text below a place (x, y), in inches; returns the y below it.

        Parameters
        ----------
        width : float
        size : float
            In points.
        lines : int
            At most; what is left over is cut, and shown to be by "…".
        style
            Properties of matplotlib's Text: color, fontweight.
        """
        x, y = place
        weight = style.get("fontweight", "normal")
        for line in self._broken(plain(text), width, FontProperties(
                family=FONTS, size=size, weight=weight), lines):  # fmt: skip
            # A dollar sign in a name is no formula.
            self.figure.text(x / WIDTH, 1 - y / HEIGHT, line, fontsize=size, va="top",
                             fontfamily=FONTS, parse_math=False, **style)  # fmt: skip
            y += size * _LEADING / _POINTS
        return y

    def picture(
        self, place: tuple[float, float], side: float, image: Image.Image | None, lack: str = ""
    ) -> None:
        """Put a picture into a square, whole; without one, the words `lack` stand there."""
        x, y = place
        if image is None:
            self.box((x, y), side, side, facecolor="#f2f2f2", edgecolor="#999999")
            self.text((x + 0.08, y + 0.1), lack, side - 0.16, 7.5, lines=8, color="#444444")
            return
        scale = side / max(image.size)
        w, h = image.width * scale, image.height * scale
        axes = self.axes((x + (side - w) / 2, y + (side - h) / 2), w, h)
        axes.imshow(np.asarray(image), aspect="auto", interpolation="bilinear")
        axes.axis("off")

    def axes(self, place: tuple[float, float], width: float, height: float) -> Axes:
        """Return axes of so many inches, whose top left corner is at a place."""
        x, y = place
        return self.figure.add_axes(
            (x / WIDTH, 1 - (y + height) / HEIGHT, width / WIDTH, height / HEIGHT)
        )

    def box(self, place: tuple[float, float], width: float, height: float, **style: Any) -> None:
        """Draw a rectangle."""
        x, y = place
        corner = x / WIDTH, 1 - (y + height) / HEIGHT
        size = width / WIDTH, height / HEIGHT
        self.figure.add_artist(Rectangle(corner, *size, transform=self.figure.transFigure, **style))

    def rendered(self) -> Image.Image:
        """Return the page as an RGB picture."""
        with any_script():
            self._canvas.draw()
        return Image.fromarray(np.asarray(self._canvas.buffer_rgba())[..., :3].copy())

    def _broken(self, text: str, width: float, font: FontProperties, most: int) -> list[str]:
        """Break text into at most so many lines, between words where it can be."""
        lines: list[str] = []
        rest = text[:4000]
        while rest and len(lines) < most:
            fits = self._fitting(rest, width, font)
            if fits < len(rest):
                space = rest.rfind(" ", 1, fits + 1)
                fits = space if space > fits // 2 else fits
            lines.append(rest[:fits].rstrip())
            rest = rest[fits:].lstrip()
        if rest and lines:
            kept = lines[-1]
            while kept and self._wide(kept + "…", font) > width:
                kept = kept[:-1]
            lines[-1] = kept.rstrip() + "…"
        return lines

    def _fitting(self, text: str, width: float, font: FontProperties) -> int:
        """Return how many characters fit, at least one."""
        low, high = 1, min(len(text), 400)
        while low < high:
            middle = (low + high + 1) // 2
            if self._wide(text[:middle], font) <= width:
                low = middle
            else:
                high = middle - 1
        return low

    def _wide(self, text: str, font: FontProperties) -> float:
        with any_script():
            measured = self._canvas.get_renderer().get_text_width_height_descent(text, font, False)
        return measured[0] / DPI
