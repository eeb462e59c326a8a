"""Where the hottest places of heat maps lie: at the border, on background, or on what is shown.

A heat map whose hottest place is on the black around a cell, or on writing at the edge of an
ultrasound picture, shows no reason for a label. What chance gives is counted in the same images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from clusterkit.auditing.card_words import STATUS_WORDS

# Part of the side that is border.
BORDER = 1 / 16
# Level of the one-sided tests of one run: two places on each of three maps, all together.
LEVEL, _TESTS = 0.05, 6
# A larger part of the hottest places on background is too many, whatever chance gives.
TOLERATED = 0.2
# Fewer maps say nothing, and fewer say little of a part.
_FEWEST, _ENOUGH = 8, 20

# Grey levels: what is nearly black, and how much a flat ground varies.
_BLACK, _FLAT = 16, 12

# Maps that are looked at: the similarity's over both images, and the classifier's.
SIDES = {
    "image": ("the hottest point", "images"),
    "labelled": ("the hottest point", "labelled images"),
    "class": ("the classifier's hottest point", "images"),
}


@dataclass(frozen=True)
class HottestPlaces:
    """Places of the hottest point of N heat maps, each within its own image.

    Attributes
    ----------
    at_border, on_background : (N,) bool
    border, background : (N,) float in [0, 1]
        Share of each map's places that are at the border, and that are background.
    black : (N,) bool
        Whether the background is nearly black.
    status : list of str
        Of the N images; "": not known.
    """

    at_border: np.ndarray
    on_background: np.ndarray
    border: np.ndarray
    background: np.ndarray
    black: np.ndarray
    status: list[str]

    def __len__(self) -> int:
        return len(self.at_border)

    def measured(self) -> dict[str, Any]:
        """Return counts, what chance gives, and the tests' probabilities, as plain values.

        Returns
        -------
        dict of images; at_border and on_background (counts), border_by_chance and
        background_by_chance (expected counts), border_p and background_p (`chance_of_as_many`),
        failed (those of ``background`` and ``border`` that are too many), black (whether the
        background is, in most images where it holds the hottest place), and by_status: the same
        counts of each status.
        """
        n, ground = len(self), int(self.on_background.sum())
        found = {
            "images": n,
            "at_border": int(self.at_border.sum()),
            "border_by_chance": float(self.border.sum()),
            "border_p": chance_of_as_many(int(self.at_border.sum()), self.border),
            "on_background": ground,
            "background_by_chance": float(self.background.sum()),
            "background_p": chance_of_as_many(ground, self.background),
            "black": bool(2 * self.black[self.on_background].sum() > ground),
        }
        many = n >= _ENOUGH and ground > TOLERATED * n
        failed = {
            "background": many or (n >= _FEWEST and found["background_p"] <= LEVEL / _TESTS),
            "border": n >= _FEWEST and found["border_p"] <= LEVEL / _TESTS,
        }
        by_status = {
            status: {
                "images": int(own.sum()),
                "at_border": int(self.at_border[own].sum()),
                "on_background": int(self.on_background[own].sum()),
            }
            for status in dict.fromkeys(self.status)
            if (own := np.array(self.status) == status).any()
        }
        return found | {"failed": [name for name, is_so in failed.items() if is_so],
                        "by_status": by_status}  # fmt: skip


class HottestPlacesSeen:
    """Collects where the hottest places of maps lie, by side; see `SIDES`."""

    def __init__(self) -> None:
        self._seen: dict[str, list[HottestPlaces]] = {}

    def add(
        self, side: str, heats: Sequence[np.ndarray], images: Sequence[np.ndarray],
        status: Sequence[str],
    ) -> None:  # fmt: skip
        """Add maps (s, s) of images (S, S, 3), see `hottest_places`."""
        if len(heats):
            found = hottest_places(np.stack(heats), np.stack(images), status)
            self._seen.setdefault(side, []).append(found)

    def measured(self) -> dict[str, dict[str, Any]]:
        """Return `HottestPlaces.measured` of each side, in the order of `SIDES`."""
        return {side: _joined(self._seen[side]).measured() for side in SIDES if side in self._seen}


def _joined(parts: Sequence[HottestPlaces]) -> HottestPlaces:
    names = ("at_border", "on_background", "border", "background", "black")
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return HottestPlaces(**arrays, status=[status for part in parts for status in part.status])


def background(image: np.ndarray) -> np.ndarray:
    """Tell the background of an image by its pixels.

    Background is what is flat (within a sixtieth of the side around, all channels vary by at most
    12 grey levels), is nearly black or of the edge's own colour (each channel within 12 levels of
    the median along the picture's edge), and is joined to the edge by such pixels. So neither a
    dark cyst inside the tissue nor a ground with texture is background, and of a ground the rim
    around an object is none.

    Parameters
    ----------
    image : (S, S, 3) uint8

    Returns
    -------
    (S, S) bool
    """
    side = len(image)
    reach = (2 * max(1, round(side / 60)) + 1,) * 2
    colour = image.astype(np.int16)
    if (image == image[..., :1]).all():
        colour = colour[..., :1]
    spread = np.stack([
        ndimage.maximum_filter(own, reach) - ndimage.minimum_filter(own, reach)
        for own in np.moveaxis(colour, 2, 0)
    ])  # fmt: skip
    edge = np.concatenate(_edges(colour))
    alike = np.abs(colour - np.median(edge, axis=0)).max(2) <= _FLAT
    ground = (spread.max(0) <= _FLAT) & (alike | (colour.max(2) <= _BLACK))
    parts, _ = ndimage.label(ground)
    outer = np.unique(np.concatenate(_edges(parts)))
    return np.isin(parts, outer[outer > 0])


def _edges(picture: np.ndarray) -> list[np.ndarray]:
    return [picture[0], picture[-1], picture[:, 0], picture[:, -1]]


def hottest_places(
    heats: np.ndarray, images: np.ndarray, status: Sequence[str] = ()
) -> HottestPlaces:
    """Find where the hottest place of each map lies; a map that is the same everywhere has none.

    Parameters
    ----------
    heats : (N, s, s) float
    images : (N, S, S, 3) uint8
    status : sequence of str
        Of the N images, or empty.
    """
    size = heats.shape[-1]
    edge = np.zeros((size, size), bool)
    margin = max(1, round(size * BORDER))
    edge[:margin] = edge[-margin:] = edge[:, :margin] = edge[:, -margin:] = True
    flat = heats.reshape(len(heats), -1)
    rows = np.flatnonzero(flat.max(1) > flat.min(1)).tolist()
    found = []
    for row in rows:
        ground = background(images[row])
        # The middle pixel of each place of the map.
        step = ((np.arange(size) + 0.5) / size * len(ground)).astype(int)
        there = ground[np.ix_(step, step)]
        at = np.unravel_index(flat[row].argmax(), (size, size))
        black = bool(ground.any()) and float(np.median(images[row][ground])) <= _BLACK
        found.append((edge[at], there[at], edge.mean(), there.mean(), black))
    columns = np.array(found, float).reshape(-1, 5).T
    return HottestPlaces(
        columns[0] > 0, columns[1] > 0, columns[2], columns[3], columns[4] > 0,
        [status[row] for row in rows] if len(status) else [""] * len(rows),
    )  # fmt: skip


def chance_of_as_many(found: int, shares: np.ndarray) -> float:
    """Return the probability that `found` or more of N independent events happen.

    The number X of events with probabilities p₁ … p_N is Poisson-binomial (Hoeffding 1956,
    doi:10.1214/aoms/1177728178); its distribution is the convolution of those of the events:
    P(X ≥ k) = Σ_{j ≥ k} [∗ᵢ (1 − pᵢ, pᵢ)]ⱼ. With equal p it is the binomial one.

    Parameters
    ----------
    found : int
    shares : (N,) float in [0, 1]

    >>> round(chance_of_as_many(2, np.array([0.5, 0.5])), 3)
    0.25
    """
    law = np.ones(1)
    for share in shares:
        law = np.convolve(law, (1 - share, share))
    return float(min(1.0, law[found:].sum())) if found > 0 else 1.0


def hottest_failures(measured: dict[str, dict[str, Any]]) -> list[str]:
    """Return a clause for each place that holds the hottest point too often, the worst first."""
    return [
        f"{SIDES[side][0]} lies {_where(place, row)} in {row[_COUNTS[place]]} of {row['images']} "
        f"{SIDES[side][1]}"
        for side, row in measured.items()
        for place in sorted(row["failed"], key=lambda place: -row[_COUNTS[place]])
    ]


def hottest_rows(measured: dict[str, dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Return (name, value, explanation) of each side, for the page."""
    of = {"image": "of the image", "labelled": "of the labelled image", "class": "(classifier)"}
    return [(
        f"Where the hottest point {of[side]} lies",
        f"{row['at_border']} + {row['on_background']} of {row['images']}",
        f"at the border + on plain background; by chance {row['border_by_chance']:.0f} + "
        f"{row['background_by_chance']:.0f}. More than chance (5%, all places together), or more "
        f"than {TOLERATED:.0%} on background, is too many.{_by_status(row['by_status'])}",
    ) for side, row in measured.items()]  # fmt: skip


_COUNTS = {"border": "at_border", "background": "on_background"}


def _where(place: str, row: dict[str, Any]) -> str:
    if place == "border":
        return "at the border"
    return "on black background" if row["black"] else "on plain background"


def _by_status(rows: dict[str, dict[str, int]]) -> str:
    if len(rows) < 2:
        return ""
    parts = [f"{STATUS_WORDS.get(status, status)} {row['at_border']} + {row['on_background']} of "
             f"{row['images']}"
             for status, row in rows.items()]  # fmt: skip
    return f" By status: {'; '.join(parts)}."
