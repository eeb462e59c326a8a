"""Self-training: the classifier is refitted with the pool's likeliest images of each class."""

import numpy as np
import torch

from clusterkit.config import Config
from clusterkit.data.labelled import Labelled
from clusterkit.data.splits import units_of
from clusterkit.inference.scorer import Scorer
from clusterkit.methods.calibration import Calibration
from clusterkit.methods.held_out_verdict import verdict
from clusterkit.methods.label_shift import apply_prior, estimate_prior
from clusterkit.methods.pseudo_labels import choose_balanced
from clusterkit.methods.unit_likelihood import unit_brier_score
from clusterkit.models.networks import Embeddings
from clusterkit.training.fold import CrossFit, Fold, take_rows
from clusterkit.training.strategy import RefitsClassifier

Record = dict[str, int | str]

# Fitting takes more than twice as long for twice as many.
_MOST = 2000


def self_train(
    fitted: CrossFit,
    pool: Embeddings,
    strategy: RefitsClassifier,
    data: Labelled,
    appearance: np.ndarray,
    config: Config,
) -> tuple[CrossFit, Record]:
    """Refit with more of the pool in each round, and keep it where held-out labels gain.

    After iLPC (Lazarou et al., arXiv 2012.07962): in round r of R the share r / (R + 1) of the
    pool, the likeliest of each class, is learned from under the labels that the model of the
    round before predicts. A round may help only by the next one, so all are made, and the last
    is judged.

    Each fold's model learns from its own predictions, never from those of another: no label that
    it is tested on has a part in them.

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
        `train.self_training` is the number of rounds.

    Returns
    -------
    fitted : CrossFit
    record : dict
        ``rounds`` that were made and kept, ``why``, and how many images ``joined``.
    """
    rounds = config.train.self_training
    shares = [number / (rounds + 1) for number in range(1, rounds + 1)]
    candidates = _candidates(len(pool.classifier), config.seed)
    folds, joined = [], 0
    for fold in [*fitted.folds, fitted.final]:
        taught, joined = _taught(fold, pool, candidates, strategy, fitted.calibration, shares)
        folds.append(taught)
    if not joined:
        return fitted, {"rounds": 0, "why": "there are too few unlabelled images", "joined": 0}
    better = CrossFit.calibrated(folds[-1], folds[:-1], data, appearance, config.engine)
    found = verdict(_gains(better.calibration, fitted.calibration, data), lenient=True)
    if not found.taken:
        return fitted, {"rounds": 0, "why": found.why, "joined": 0}
    return better, {"rounds": rounds, "why": found.why, "joined": joined}


def pseudo_labels(
    scorer: Scorer, pool: Embeddings, calibration: Calibration, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (m,) of a pool, and the labels (m,) that the classifier predicts for them.

    Of the calibration only the classes' proportions among the labels and the number of units
    are used: its temperature is fitted on labels that a fold's classifier must not know.
    """
    probs = torch.softmax(scorer.logits(pool).double(), dim=1).numpy()
    proportions = estimate_prior(probs, calibration.prior, calibration.n_units)
    probs = apply_prior(probs, calibration.prior, proportions)
    rows = choose_balanced(probs, proportions, share)
    return rows, probs[rows].argmax(axis=1)


def _candidates(size: int, seed: int) -> np.ndarray:
    """Return rows of the pool that may join, ascending: a random sample of a large one."""
    if size <= _MOST:
        return np.arange(size)
    return np.sort(np.random.default_rng(seed).choice(size, _MOST, replace=False))


def _taught(
    fold: Fold,
    pool: Embeddings,
    candidates: np.ndarray,
    strategy: RefitsClassifier,
    calibration: Calibration,
    shares: list[float],
) -> tuple[Fold, int]:
    """Return the fold with its last classifier, and how many images that learned from."""
    few, scorer, rows = take_rows(pool, candidates), fold.scorer, candidates[:0]
    networks = scorer.networks
    refit = strategy.classifier_refits(networks, fold.train, candidates)
    for share in shares:
        rows, labels = pseudo_labels(scorer, few, calibration, share)
        networks = refit(rows, labels)
        # Neighbours are of the last one alone.
        scorer = scorer.with_classifier(networks, few, None)
    return fold.with_classifier(networks), len(rows)


def _gains(better: Calibration, before: Calibration, data: Labelled) -> np.ndarray:
    """Return by how much the Brier score of each held-out unit is lower (U,).

    It has bounds, so that one image that is confidently wrong does not decide. Where images of a
    patient are on both sides, patients are the units all the same: a step that helps new ones
    tells nothing about those that are known, and they are too few to count as many.
    """
    units = units_of(data.rows)[better.rows] if data.within_groups else better.units
    after, first = (unit_brier_score(c.probs, c.labels, units) for c in (better, before))
    return first - after
