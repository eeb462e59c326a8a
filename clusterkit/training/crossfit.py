"""From labelled images to networks with a calibration: cross-fitting, the pool, self-training."""

import logging
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from clusterkit.config import Config
from clusterkit.data.labelled import Labelled
from clusterkit.data.splits import make_folds, split_labelled
from clusterkit.errors import DataError
from clusterkit.inference.scorer import Reduction, Scorer
from clusterkit.methods.calibration import Calibration, HeldOut, calibrate
from clusterkit.methods.label_shift import apply_prior, estimate_prior
from clusterkit.methods.novelty import NoveltyModel
from clusterkit.models.forward import FLOAT32
from clusterkit.models.networks import Embeddings, Networks
from clusterkit.progress import Progress
from clusterkit.training.trainer import Trainer

log = logging.getLogger("clusterkit")


@dataclass(frozen=True)
class Learned:
    """What `learn` found.

    Attributes
    ----------
    scorer : Scorer
        Networks, exemplars and neighbours for new images.
    embeddings : Embeddings
        Of the labelled images.
    calibration : Calibration
    decisions : dict
        What held-out labels decided: views, inputs, self-training.
    """

    scorer: Scorer
    embeddings: Embeddings
    calibration: Calibration
    decisions: dict = field(default_factory=dict)


@dataclass
class _Fold:
    """One model, the labelled images that taught it, those it is tested on, and its scorer.

    `labelled` are features to learn from and to compare with, `asked` those of the same images
    as `assign` sees new ones.
    """

    rows: np.ndarray
    test: np.ndarray
    networks: Networks
    labelled: Embeddings
    asked: Embeddings
    pool: Embeddings | None
    scorer: Scorer


def held_out_folds(data: Labelled, config: Config, strategy: str) -> tuple[np.ndarray, int]:
    """Return the fold each image is held out in (N,), -1 for never, and how many folds there are.

    Raises
    ------
    DataError
        Every class is within one group.
    """
    given = data.rows["split"].notna().any()
    wanted = config.train.folds or (5 if strategy == "head" else 1)
    if given or wanted == 1:
        valid = split_labelled(data.rows, config.train.valid_fraction, config.seed)
        return np.where(valid, 0, -1), 1
    folds = make_folds(data.rows, wanted, config.seed)
    # Where a fold holds all images of a class, no model can have learned it: they only train.
    unmeasured = []
    for label in range(len(data.classes)):
        of_label = data.labels == label
        if len(np.unique(folds[of_label])) == 1:
            # The patient's images of other classes too: nobody is on both sides.
            folds[np.isin(data.units, data.units[of_label])] = -1
            unmeasured.append(data.classes[label])
    if unmeasured:
        log.warning(
            "the errors of %s could not be measured, so no promise covers it: all its labels are "
            "within one group (patient), or fall together; label it in more groups",
            ", ".join(f"'{label}'" for label in sorted(set(unmeasured))),
        )
    found = np.unique(folds[folds >= 0])
    if not len(found):
        raise DataError(
            "no images can be held out: every class is within one group; "
            "label images of more groups (patients)"
        )
    return np.where(folds >= 0, np.searchsorted(found, folds), -1), len(found)


def learn(
    data: Labelled,
    appearance: np.ndarray,
    trainer: Trainer,
    folds: np.ndarray,
    config: Config,
    report: Progress,
) -> Learned:
    """Train on all labelled images, and measure on each what models without its fold say.

    Parameters
    ----------
    data : Labelled
        N images.
    appearance : (N, 27) float
        Their `appearance`.
    trainer : Trainer
        Prepared.
    folds : (N,) int
        See `held_out_folds`. With one fold the model that is measured is the one that is kept.
    config : Config
    report : callable
        Called with (stage, done, total).
    """
    n_folds = int(folds.max()) + 1
    stages = n_folds + (n_folds > 1)
    shared = _shared_reduction(trainer, config)
    fitted = []
    for fold in range(n_folds):
        trainer.history.fold = str(fold)
        rows, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        fitted.append(_fit(data, trainer, rows, test, shared, config))
        report("fit", fold + 1, stages)
    final = fitted[0]
    if n_folds > 1:
        trainer.history.fold = "all"
        everything = np.arange(len(data.labels))
        final = _fit(data, trainer, everything, everything[:0], shared, config)
        report("fit", stages, stages)
    calibration = _calibrate(fitted, data, appearance, config)
    record: dict = {"rounds": 0, "why": "there are no unlabelled images, or fine-tuning is on"}
    if trainer.frozen and final.pool is not None and config.train.self_training:
        final, calibration, record = _self_train(
            final, fitted, calibration, data, appearance, trainer, config
        )
    if n_folds == 1:
        # Measured with the exemplars that taught it; for new images all labelled ones are.
        rows = np.arange(len(data.labels))
        final = replace(final, scorer=_scorer(final, rows, final.scorer.reduction, data, config))
    decisions = {
        "views": trainer.views,
        "inputs": calibration.chosen,
        "pool": 0 if final.pool is None else len(final.pool.siamese),
        "self_training": record,
    }
    return Learned(final.scorer, final.labelled, calibration, decisions)


def _shared_reduction(trainer: Trainer, config: Config) -> Reduction | None:
    """Return the one reduction of frozen features; None: each model has its own."""
    if not trainer.frozen:
        return None
    # The networks do not matter: frozen features are the same for all.
    return _reduction(trainer.embed(None), trainer.embed_pool(None), config)


def _reduction(labelled: Embeddings, pool: Embeddings | None, config: Config) -> Reduction:
    parts = [labelled.siamese] + ([] if pool is None else [pool.siamese])
    return Reduction.of(torch.cat(parts), config.seed)


def _fit(
    data: Labelled,
    trainer: Trainer,
    rows: np.ndarray,
    test: np.ndarray,
    reduction: Reduction | None,
    config: Config,
) -> _Fold:
    networks = trainer.train(rows, test)
    labelled, pool = trainer.embed(networks), trainer.embed_pool(networks)
    asked = labelled if trainer.precision == FLOAT32 else trainer.embed_asked(networks)
    reduction = reduction or _reduction(labelled, pool, config)
    fold = _Fold(rows, test, networks, labelled, asked, pool, None)
    fold.scorer = _scorer(fold, rows, reduction, data, config)
    return fold


def _scorer(
    fold: _Fold, rows: np.ndarray, reduction: Reduction, data: Labelled, config: Config
) -> Scorer:
    return Scorer.of(
        fold.networks,
        _take(fold.labelled, rows),
        data.labels[rows],
        len(data.classes),
        fold.pool,
        reduction,
        config.engine,
    )


def _take(embeddings: Embeddings, rows: np.ndarray) -> Embeddings:
    return Embeddings(embeddings.classifier[rows], embeddings.siamese[rows])


def _calibrate(
    fitted: list[_Fold], data: Labelled, appearance: np.ndarray, config: Config
) -> Calibration:
    parts = [_score(fold, number, data, appearance) for number, fold in enumerate(fitted)]
    engine = config.engine
    return calibrate(HeldOut.joined(parts), data.prior, engine.gate_mass, engine.gate_max)


def _score(fold: _Fold, number: int, data: Labelled, appearance: np.ndarray) -> HeldOut:
    """Score the images that a model did not learn from against exemplars that it did."""
    rows, test = fold.rows, fold.test
    tested = _take(fold.asked, test)
    scores, _, _ = fold.scorer.compare(tested)
    plain = None
    if fold.asked is not fold.labelled:
        plain, _, _ = fold.scorer.compare(_take(fold.labelled, test))
    strange = NoveltyModel.of(fold.labelled.siamese[rows], appearance[rows], data.labels[rows])
    return HeldOut(
        rows=test,
        scores=scores,
        plain=plain,
        novelty=strange.score(tested.siamese, appearance[test]),
        labels=data.labels[test],
        units=data.units[test],
        folds=np.full(len(test), number),
    )


def _self_train(
    final: _Fold,
    fitted: list[_Fold],
    calibration: Calibration,
    data: Labelled,
    appearance: np.ndarray,
    trainer: Trainer,
    config: Config,
) -> tuple[_Fold, Calibration, dict]:
    """Let pool images that are within the promised error teach, as long as held-out labels gain.

    Each fold's model is taught by what it is sure of itself, never by a label that it is tested
    on. The threshold, the class proportions and the number of rounds are common to all folds:
    a few numbers that rest on all held-out labels.
    """
    error, level = config.assign.max_error, config.assign.confidence
    if error is None:
        return final, calibration, {"rounds": 0, "why": "no error is promised"}
    record = {"rounds": 0, "why": "all rounds helped", "joined": 0}
    for _ in range(config.train.self_training):
        prior = _pool_prior(final, calibration)
        threshold = calibration.with_prior(prior).promise(error, level).threshold
        if threshold is None:
            record["why"] = "no unlabelled image could be promised to be within the error"
            break
        taught = [_teach(f, calibration, prior, threshold, trainer, data, config)
                  for f in [final, *fitted]]  # fmt: skip
        better = _calibrate([f for f, _ in taught[1:]], data, appearance, config)
        if better.log_likelihood <= calibration.log_likelihood:
            record["why"] = "held-out labels did not gain by another round"
            break
        (final, joined), fitted, calibration = taught[0], [f for f, _ in taught[1:]], better
        record |= {"rounds": record["rounds"] + 1, "joined": joined}
    return final, calibration, record


def _pool_prior(fold: _Fold, calibration: Calibration) -> np.ndarray:
    return estimate_prior(_pool_probs(fold, calibration), calibration.prior, calibration.n_units)


def _pool_probs(fold: _Fold, calibration: Calibration) -> np.ndarray:
    scores, _, gate = fold.scorer.compare(fold.pool, calibration.fusion)
    return calibration.fusion.probs(scores, gate)


def _teach(
    fold: _Fold,
    calibration: Calibration,
    prior: np.ndarray,
    threshold: float,
    trainer: Trainer,
    data: Labelled,
    config: Config,
) -> tuple[_Fold, int]:
    probs = apply_prior(_pool_probs(fold, calibration), calibration.prior, prior)
    chosen = np.flatnonzero(probs.max(axis=1) >= threshold)
    labels = probs[chosen].argmax(axis=1)
    networks = trainer.refit_classifier(fold.networks, fold.rows, chosen, labels)
    taught = replace(fold, networks=networks)
    taught.scorer = _scorer(taught, fold.rows, fold.scorer.reduction, data, config)
    return taught, len(chosen)
