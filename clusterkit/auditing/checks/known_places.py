"""The figures of CAMs where the place of what makes the class is known, beside simpler maps."""

import importlib.util
from collections.abc import Sequence

import numpy as np
import torch

from clusterkit.auditing.card_words import STATUS_WORDS
from clusterkit.auditing.checks.curves import centre_blob
from clusterkit.auditing.checks.places import (
    TOLERANCE,
    PairScore,
    energy_inside,
    integrated_gradients,
    layer_grad_cam,
    pointing_game,
)

_GRAD_CAM, _INTEGRATED = "captum LayerGradCam", "captum IntegratedGradients"


def at_known_places(
    heats: np.ndarray,
    images: np.ndarray,
    others: torch.Tensor,
    places: np.ndarray,
    score: PairScore,
) -> tuple[dict[str, dict[str, float]], int]:
    """Measure pair CAMs where a place is known, a map of the centre, and captum's if it is there.

    Parameters
    ----------
    heats : (N, s, s)
        Pair CAMs of the images.
    images : (N, S, S, 3) uint8
    others : (N, D)
        Pooled features of the other image of each pair.
    places : (N, 4)
        See `places_of`; NaN: unknown.
    score : PairScore

    Returns
    -------
    Map → pointing, pointing_margin, energy (empty: no place is known), and how many are known.
    """
    rows = np.flatnonzero(np.isfinite(places).all(1))
    if not len(rows):
        return {}, 0
    side = images.shape[1]
    maps = {
        "similarity CAM": heats[rows],
        "centre of the picture": np.repeat(centre_blob(heats.shape[-1])[None], len(rows), axis=0),
    }
    if importlib.util.find_spec("captum") is not None:
        shown, fixed = images[rows], others[rows]
        # At the last map, of 2 × 2 places on small pictures, it would be no match.
        grad_cam = layer_grad_cam(score, shown, fixed, 0)
        if grad_cam is not None:
            maps[_GRAD_CAM] = grad_cam
        maps[_INTEGRATED] = integrated_gradients(score, shown, fixed)
    found = {
        name: {
            "pointing": float(pointing_game(m, places[rows], side).mean()),
            "pointing_margin": float(pointing_game(m, places[rows], side, TOLERANCE).mean()),
            "energy": float(energy_inside(m, places[rows], side).mean()),
        }
        for name, m in maps.items()
    }
    return found, len(rows)


def pointing_by_status(
    sides: Sequence[np.ndarray],
    places: Sequence[np.ndarray | None],
    status: Sequence[str],
    side: int,
) -> dict[str, dict[str, tuple[int, int]]]:
    """Count, by status, the maps whose hottest place is at the known place.

    Parameters
    ----------
    sides : pair of (N, s, s)
        Maps of the images, and of the labelled images.
    places : pair of (N, 4) or None
        See `places_of`; NaN: unknown.
    status : sequence of str
        Of the N images; empty: not known.
    side : int
        Pixels a side of the arrays that `places` are in.

    Returns
    -------
    ``image`` and ``labelled`` → status → (at their place, with a known place).
    """
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for name, heats, at in zip(("image", "labelled"), sides, places, strict=True):
        if at is None or not len(status):
            continue
        known = np.isfinite(at).all(1)
        hit = np.zeros(len(known), bool)
        hit[known] = pointing_game(heats[known], at[known], side)
        of = np.array(status)
        found[name] = {
            own: (int(hit[of == own].sum()), int(known[of == own].sum()))
            for own in dict.fromkeys(status) if known[of == own].any()
        }  # fmt: skip
    return found


def known_place_rows(
    whose: str,
    places: dict[str, dict[str, float]],
    placed: int,
    by_status: dict[str, tuple[int, int]] | None = None,
) -> list[tuple[str, str, str]]:
    """Return (name, value, explanation) of the figures, for the page; none: no place is known."""
    if not places:
        return []
    own, *_ = places.values()
    others = list(places.items())[1:]
    beside = "; ".join(f"{other} {row['pointing']:.0%} ({row['energy']:.0%})"
                       for other, row in others)  # fmt: skip
    of = "; ".join(f"{STATUS_WORDS.get(status, status)} {hit} of {known}"
                   for status, (hit, known) in (by_status or {}).items())  # fmt: skip
    # Where captum is installed both are made.
    lacks = _INTEGRATED in places and _GRAD_CAM not in places
    why = f" There is no {_GRAD_CAM}: no layer of this encoder is known to give a map."
    return [(
        f"Points at the known place {whose}",
        f"{own['pointing']:.0%}",
        f"of {placed} pairs have the hottest place {whose} on the detail whose place is "
        f"known, and {own['energy']:.0%} of the heat lies on it. Others: {beside}."
        + f" By status: {of}." * bool(of) + why * lacks,
    )]  # fmt: skip
