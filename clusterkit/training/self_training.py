"""Self-training: the classifier is refitted with the pool's images that it is sure of."""

import numpy as np

from clusterkit.config import Config
from clusterkit.data.labelled import Labelled
from clusterkit.methods.calibration import Calibration
from clusterkit.methods.label_shift import apply_prior, estimate_prior
from clusterkit.models.networks import Embeddings
from clusterkit.training.fold import CrossFit, Fold
from clusterkit.training.strategy import RefitsClassifier

Record = dict[str, int | str]


def self_train(
    fitted: CrossFit,
    pool: Embeddings,
    strategy: RefitsClassifier,
    data: Labelled,
    appearance: np.ndarray,
    config: Config,
) -> tuple[CrossFit, Record]:
    """Refit with pool images within the promised error, as long as held-out labels gain.

    Each fold's model learns from labels that it is sure of itself, never from one that it is
    tested on. The threshold, the class proportions and the number of rounds are common to all
    folds: a few numbers that rest on all held-out labels.

    Parameters
    ----------
    fitted : CrossFit
    pool : Embeddings
        Of M unlabelled images, the same for all folds.
    strategy : RefitsClassifier
    data : Labelled
        N images.
    appearance : (N, 27) float
    config : Config
        `train.self_training` is the most rounds; `assign` has the promised error.

    Returns
    -------
    fitted : CrossFit
    record : dict
        ``rounds`` that helped, ``why`` no more were made, and how many images ``joined``.
    """
    error, level = config.assign.max_error, config.assign.confidence
    if error is None:
        return fitted, {"rounds": 0, "why": "no error is promised"}
    rounds, joined, why = 0, 0, "all rounds helped"
    for _ in range(config.train.self_training):
        calibration = fitted.calibration
        prior = estimate_prior(
            _probs(fitted.final, pool, calibration), calibration.prior, calibration.n_units
        )
        threshold = calibration.with_prior(prior).promise(error, level).threshold
        if threshold is None:
            why = "no unlabelled image could be promised to be within the error"
            break
        refitted, counts = [], []
        for fold in [fitted.final, *fitted.folds]:
            probs = apply_prior(_probs(fold, pool, calibration), calibration.prior, prior)
            chosen = np.flatnonzero(probs.max(axis=1) >= threshold)
            refitted.append(_refit(fold, chosen, probs[chosen].argmax(axis=1), strategy))
            counts.append(len(chosen))
        better = CrossFit.calibrated(refitted[0], refitted[1:], data, appearance, config.engine)
        if better.calibration.log_likelihood <= calibration.log_likelihood:
            why = "held-out labels did not gain by another round"
            break
        fitted, rounds, joined = better, rounds + 1, counts[0]
    return fitted, {"rounds": rounds, "why": why, "joined": joined}


def _probs(fold: Fold, pool: Embeddings, calibration: Calibration) -> np.ndarray:
    """Class probabilities (M, K) of the pool."""
    scores, _, gate = fold.scorer.compare(pool, calibration.fusion)
    return calibration.fusion.probs(scores, gate)


def _refit(
    fold: Fold,
    chosen: np.ndarray,
    labels: np.ndarray,
    strategy: RefitsClassifier,
) -> Fold:
    networks = strategy.refit_classifier(fold.scorer.networks, fold.train, chosen, labels)
    return fold.with_classifier(networks)
