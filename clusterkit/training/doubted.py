"""Names of whole clusters, doubted where the images themselves look like another class."""

import logging

import numpy as np
import torch

from clusterkit.config import AugmentConfig, Config
from clusterkit.data.frames import names_of
from clusterkit.data.labelled import Labelled
from clusterkit.data.splits import make_folds
from clusterkit.training.linear import fit_linear_head
from clusterkit.training.strategy import TrainingSet

log = logging.getLogger("clusterkit")

_PLAIN = AugmentConfig(flip_horizontal=False, flip_vertical=False)
_FOLDS = 5


def without_doubted(training_set: TrainingSet, config: Config) -> tuple[TrainingSet, list[dict]]:
    """Take out the images that were named with their cluster and look like another class.

    Features of random weights tell nothing, and nothing is taken out then.

    Parameters
    ----------
    training_set : TrainingSet
    config : Config

    Returns
    -------
    TrainingSet
    list of dict
        image, label (its cluster's name) and says (what it looks like) of each one taken out.
    """
    data = training_set.labelled
    if data.checked.all() or not (training_set.given or training_set.backbone.pretrained):
        return training_set, []
    source = training_set.given or training_set.features
    chains = training_set.backbone.encoder.chains
    said = looks_like(source.views(_PLAIN)[0], data, chains, config)
    doubted = ~data.checked & (said != data.labels)
    if not doubted.any():
        return training_set, []
    names = names_of(data.rows)
    record = [
        {"image": names[i], "label": data.classes[data.labels[i]], "says": data.classes[said[i]],
         "cluster": int(str(data.rows["provenance"].iloc[i]).partition(":")[2])}
        for i in np.flatnonzero(doubted)
    ]  # fmt: skip
    first = record[0]
    log.warning(
        "%d of %d images that were named with their cluster look like another class, e.g. '%s' "
        "(named %s, looks like %s): they are not learned from; look at them one by one",
        len(record), (~data.checked).sum(), first["image"], first["label"], first["says"],
    )  # fmt: skip
    return training_set.taking(~doubted), record


def looks_like(
    features: torch.Tensor, data: Labelled, chains: list[list[int]], config: Config
) -> np.ndarray:
    """Return what class each image that nobody checked looks like to models without it.

    The image's patient (unit) is left out too. Labels that somebody gave to the image itself are
    taken as they are. Self-confidence of confident learning (Northcutt et al., arXiv 1911.00068)
    without its thresholds: a name for many is doubted as soon as another class is likelier.

    Parameters
    ----------
    features : (N, D) float Tensor
    data : Labelled
        N images.
    chains : list of list of int
        See `fit_linear_head`.
    config : Config

    Returns
    -------
    (N,) int: index into the classes; of checked images their label.
    """
    found, named = data.labels.copy(), ~data.checked
    # One name goes for hundreds: in its own favour it must not speak by their number.
    alike = np.full(len(data.classes), 1 / len(data.classes))
    folds = _folds_of(data, named, config.seed)
    for fold in np.unique(folds[named]):
        out = named & (folds == fold)
        rows = np.flatnonzero(~out & ~np.isin(data.units, data.units[out]))
        if len(np.unique(data.labels[rows])) < 2:
            continue
        head = fit_linear_head(
            features[None, rows], data.labels[rows], alike, chains, config.train.C,
            trust=data.trust[rows],
        )  # fmt: skip
        with torch.inference_mode():
            found[out] = head(features[out]).argmax(1).numpy()
    return found


def _folds_of(data: Labelled, named: np.ndarray, seed: int) -> np.ndarray:
    """Spread the named images over folds, units whole; (N,) int, -1 elsewhere."""
    folds = np.full(len(data.labels), -1)
    units = data.units[named]
    if len(np.unique(units)) < 2:
        # All of one patient: the images without it, which do not know the name, cannot judge.
        units = np.arange(len(units))
    if len(units) > 1:
        folds[named] = make_folds(data.rows[named], _FOLDS, seed, units)
    return folds
