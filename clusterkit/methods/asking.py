"""Which image of a random check a person is asked about next, and which answers count.

All images of the check are listed in one random order, and each belongs to a first of the nested
sets (`nested_sets`). A set's test (`certificate`) reads the answers to the set's own images in that
order, up to the first that is open: so whatever is asked next, no answer can be left out because
of what it says.
"""

from collections.abc import Sequence

import numpy as np

from clusterkit.methods.certificate import SetState, certify_in_order


def counted_losses(
    member: np.ndarray, losses: np.ndarray, index: int, units: np.ndarray | None = None
) -> np.ndarray:
    """Losses of one set that count: of its units in the drawn order up to the first open one.

    Parameters
    ----------
    member : (n,) int
        First set of each listed image, in the drawn order. Every image of the set that comes before
        a listed one in the order must be listed.
    losses : (n,) float
        1: the label is wrong, 0: right, NaN: open.
    index : int
        Of the set.
    units : (n,) int or str, or None
        Unit of each image, all images of a unit one after the other; None: each image is one. A
        unit's loss is the mean over its images in the set.

    Returns
    -------
    (t,) float in [0, 1]

    Raises
    ------
    ValueError
        Images of one unit are apart.
    """
    inside = member <= index
    loss = losses[inside]
    if units is not None and len(loss):
        unit = units[inside]
        starts = np.flatnonzero(np.r_[True, unit[1:] != unit[:-1]])
        if len(np.unique(unit[starts])) < len(starts):
            raise ValueError("images of one unit must be listed one after the other")
        loss = np.add.reduceat(loss, starts) / np.diff(np.r_[starts, len(loss)])
    open_ = np.isnan(loss)
    return loss[: int(open_.argmax())] if open_.any() else loss


def states_of(
    member: np.ndarray,
    losses: np.ndarray,
    populations: Sequence[int],
    max_error: float,
    level: float,
    units: np.ndarray | None = None,
) -> list[SetState]:
    """What the answers say of each set (`certify_in_order`).

    Parameters
    ----------
    member, losses, units
        See `counted_losses`.
    populations : (J,) int
        Units of each set, those that are not listed among them.
    max_error, level : float in (0, 1)
    """
    counted = [counted_losses(member, losses, j, units) for j in range(len(populations))]
    return certify_in_order(populations, counted, max_error, level, whole=units is None)


def next_to_ask(
    member: np.ndarray, losses: np.ndarray, certified: Sequence[bool] | np.ndarray
) -> int | None:
    """Which listed image to ask about: the first open one of the first set not certified yet.

    If all listed ones of that set are answered, of the next set; None: nothing is open, or every
    set is certified. Any other order is as valid; this one asks what the smallest sets still need,
    and each answer serves all larger sets as well.

    Parameters
    ----------
    member, losses
        See `counted_losses`.
    certified : (J,) bool
        See `SetState`.
    """
    if all(certified):
        return None
    ranks = np.flatnonzero(np.isnan(losses))
    if not len(ranks):
        return None
    target = list(certified).index(False)
    first = max(target, int(member[ranks].min()))
    return int(ranks[int((member[ranks] <= first).argmax())])
