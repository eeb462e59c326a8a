"""Results of the checks of one run's CAMs, in numbers and in plain words."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from clusterkit.auditing.checks.hottest_places import hottest_failures, hottest_rows
from clusterkit.auditing.checks.known_places import known_place_rows

# Above this part of the way from the floor to 1, more of a CAM outlives the weights than not.
SURVIVES = 0.5
_WORDS = {"pair": "heat map of similarity", "class": "heat map of the classifier"}
_OF = {"pair": "the similarity's map", "class": "the classifier's map"}


@dataclass(frozen=True)
class CamChecks:
    """Results of the checks; see `check_cams`.

    Attributes
    ----------
    images : int
    empty : int
        Pairs whose CAM of the first image is the same everywhere.
    correlation : dict
        Stage → mean rank correlation of the pair CAMs with those where the weights are random
        down to that stage, -1 to 1.
    floor : float
        The same of CAMs of different images.
    curves : dict
        ``pair`` and ``class`` → images, deletion and insertion (areas under the probability,
        0 to 1) by order (cam, random, centre), and ``over_random`` and ``over_centre``: mean,
        low, high of the gain in insertion minus deletion, 95% by bootstrap over images.
    places, exemplar_places : dict
        Map → pointing, pointing_margin, energy, of the images and of the labelled image that each
        is compared with; empty: no place is known.
    placed, exemplar_placed : int
        Number of images, and of pairs, whose place is known.
    places_by_status : dict
        ``image`` and ``labelled`` → status → (maps that point at the known place, of how many).
    token : dict
        ``pair`` and ``class`` → mean share of the evidence that is the class token's, 0 to 1, see
        `pair_token_share`; empty: the encoder has none.
    hottest : dict
        Where the hottest places lie, by side, see `HottestPlaces.measured`; empty: not measured.
    notes : list of str
        Checks that were not possible, and why.
    """

    images: int = 0
    empty: int = 0
    correlation: dict[str, float] = field(default_factory=dict)
    floor: float = math.nan
    curves: dict[str, dict[str, Any]] = field(default_factory=dict)
    places: dict[str, dict[str, float]] = field(default_factory=dict)
    placed: int = 0
    exemplar_places: dict[str, dict[str, float]] = field(default_factory=dict)
    exemplar_placed: int = 0
    token: dict[str, float] = field(default_factory=dict)
    places_by_status: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    hottest: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def survives(self) -> float:
        """Share of the CAMs that outlives random weights: 0 at the floor, 1 if all does."""
        if not self.correlation or not self.floor < 1:
            return math.nan
        last = list(self.correlation.values())[-1]
        return (last - self.floor) / (1 - self.floor)

    @property
    def mostly_empty(self) -> bool:
        """Whether most of the pair CAMs show nothing."""
        return self.images > 0 and self.empty * 2 > self.images

    @property
    def outlives_weights(self) -> bool:
        """Whether most of what tells CAMs from each other stays with random weights."""
        return self.survives > SURVIVES

    @property
    def weak(self) -> list[str]:
        """Scores, ``pair`` or ``class``, whose map is not shown to be better than a random one."""
        return [score for score, row in self.curves.items() if not row["over_random"][1] > 0]

    @property
    def failures(self) -> list[str]:
        """A clause for each check that failed; the first is the plainest to see."""
        found = hottest_failures(self.hottest)
        if self.mostly_empty:
            found.append(f"{self.empty} of {self.images} are empty")
        if self.outlives_weights:
            found.append(f"{self.survives:.0%} of them stays the same when the model's weights "
                         "are random")  # fmt: skip
        if self.weak:
            maps = " and ".join(_OF[score] for score in _OF if score in self.weak)
            found.append(f"hiding what {maps} marks is not shown to change the "
                         "model's score more than hiding other places")  # fmt: skip
        return found

    @property
    def overlays(self) -> str:
        """``on`` or ``off``: whether the page begins with the maps over the images."""
        return "off" if self.failures or not self.images else "on"

    @property
    def verdict(self) -> str:
        """``trust``; ``with care``: a check was not possible; or ``ignore here``: one failed."""
        if self.overlays == "off":
            return "ignore here"
        return "trust" if self.correlation and self.curves and self.hottest else "with care"

    @property
    def reason(self) -> str:
        """Why, in words, after ``heat maps are off`` or ``on``."""
        if not self.images:
            return " ".join(self.notes)
        if not (found := self.failures):
            return "no check failed" if self.verdict == "trust" else "not all could be checked"
        more = len(found) - 1
        return found[0] + (f", and {more} more of their checks failed" if more > 1 else
                           ", and one more of their checks failed" if more else "")  # fmt: skip

    def headline(self) -> str:
        """Return the page's one line on heat maps that it does not show at the start, or ""."""
        if not self.images or self.overlays == "on":
            return ""
        return f"Heat maps are off: {self.reason}. Ignore them here."

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; a value that is unknown is None."""
        return _plain(dataclasses.asdict(self) | {
            "survives": self.survives, "overlays": self.overlays, "verdict": self.verdict,
            "reason": self.reason, "failures": self.failures, "warnings": self.warnings(),
        })  # fmt: skip

    def warnings(self) -> list[str]:
        """Return a sentence for everything that should stop a person from trusting the CAMs."""
        found = []
        if self.mostly_empty:
            found.append(f"{self.empty} of {self.images} heat maps of similarity are empty: the "
                         "network names no place that speaks for its label.")  # fmt: skip
        if self.outlives_weights:
            found.append(
                f"The heat maps hardly depend on what was learned: with random weights they keep "
                f"{self.survives:.0%} of what tells them from each other. They show the picture, "
                "not the reason for the label."
            )
        found += [
            f"The {_WORDS[score]} is not shown to be better than a random map: hiding what it "
            "marks does not clearly lower the score more than hiding other places."
            for score in self.weak
        ]
        return found

    def rows(self) -> list[tuple[str, str, str]]:
        """Return (name, value, explanation) of every figure, for readers who don't program."""
        if not self.images:
            return [("Images checked", "0", " ".join(self.notes))]
        rows = [
            ("What to make of the heat maps", self.verdict, f"They begin {self.overlays}: "
             f"{self.reason}."),
            ("Images checked", str(self.images), " ".join(self.notes)),
            *hottest_rows(self.hottest),
        ]  # fmt: skip
        if self.correlation:
            last = list(self.correlation.values())[-1]
            rows.append((
                "Depends on what was learned",
                _number(last),
                "is how alike the heat maps are before and after all weights are replaced by "
                "random numbers. 1 is the same, and then they would not show what was learned. "
                f"Those of different images are alike by {_number(self.floor)} anyway.",
            ))  # fmt: skip
        for score, row in self.curves.items():
            mean, low, high = row["over_random"]
            rows.append((
                f"Marks what counts: {_WORDS[score]}",
                f"{mean:+.2f}",
                f"(95% interval {low:+.2f} to {high:+.2f}; {row['over_centre'][0]:+.2f} over a map "
                "that marks the centre.) The places that the map marks are blurred first, or shown "
                "first: how much more the model's probability then falls or rises than in a random "
                "order of places. Above 0 is better than chance.",
            ))  # fmt: skip
        by_status = self.places_by_status
        rows += known_place_rows(
            "of the image", self.places, self.placed, by_status.get("image")
        )  # fmt: skip
        rows += known_place_rows(
            "of the labelled image", self.exemplar_places, self.exemplar_placed,
            by_status.get("labelled"),
        )  # fmt: skip
        return rows


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "cannot be said"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
