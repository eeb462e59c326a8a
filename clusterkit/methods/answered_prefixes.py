"""Of answers in any order, those that a test of a random sample may use."""

import numpy as np


def answered_prefixes(
    member: np.ndarray, unit: np.ndarray, wrong: np.ndarray, sets: int
) -> tuple[list[int], list[np.ndarray]]:
    """Losses of each nested set's units in the drawn order, up to the first that is open.

    Answers beyond it are not used yet: whoever answered them first may have had a reason, and a
    sample with holes is none.

    Parameters
    ----------
    member : (N,) int in [0, sets)
        The first set that each image belongs to; it is in all later ones too.
    unit : (N,) int in [0, U)
        Place of each image's unit in the drawn order.
    wrong : (N,) float
        1: the label is wrong, 0: right, NaN: nobody has answered.
    sets : int

    Returns
    -------
    populations : list of int
        Units of each set.
    losses : list of (t,) float in [0, 1]
        Of each set's first t units: the part of a unit's images in the set whose label is wrong.
    """
    first = np.full(unit.max() + 1, sets)
    np.minimum.at(first, unit, member)
    populations = np.cumsum(np.bincount(first[first < sets], minlength=sets)).tolist()
    open_ = np.isnan(wrong)
    # Of the images that each set adds: the first unit with one that is not answered.
    stops = np.full(sets, unit.max() + 1)
    np.minimum.at(stops, member[open_], unit[open_])
    stops = np.minimum.accumulate(stops)
    answered = np.flatnonzero(~open_)
    losses = []
    for number in range(sets):
        inside = answered[(member[answered] <= number) & (unit[answered] < stops[number])]
        _, place = np.unique(unit[inside], return_inverse=True)
        losses.append(np.bincount(place, wrong[inside]) / np.bincount(place))
    return populations, losses
