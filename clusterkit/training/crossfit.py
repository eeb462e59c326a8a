"""Cross-fitting: a model of all labelled images, measured by models that each hold some out."""

import logging
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from clusterkit.config import Config
from clusterkit.data.labelled import Labelled
from clusterkit.data.splits import NOTHING_TO_HOLD_OUT, given_valid, make_folds, split_labelled
from clusterkit.errors import DataError
from clusterkit.inference.fold_models import FoldModels
from clusterkit.inference.scorer import Scorer
from clusterkit.methods.calibration import Calibration
from clusterkit.models.networks import Embeddings
from clusterkit.progress import Progress
from clusterkit.training.fold import CrossFit, train_fold
from clusterkit.training.history import History, Row
from clusterkit.training.self_training import Record, self_train
from clusterkit.training.strategy import RefitsClassifier, Strategy

log = logging.getLogger("clusterkit")


@dataclass(frozen=True, eq=False)
class Learned:
    """The outcome of `cross_fit`.

    Attributes
    ----------
    scorer : Scorer
        Networks, exemplars and neighbours for new images.
    embeddings : Embeddings
        Of the labelled images.
    calibration : Calibration
    fold_models : FoldModels or None
        None: each fold has an encoder of its own, or the features are not of the classifier alone.
    decisions : dict
        Choices that held-out labels made (views, inputs, self-training), and the pool's size.
    history : list of dict
        One row per epoch of every model: see `History`.
    """

    scorer: Scorer
    embeddings: Embeddings
    calibration: Calibration
    fold_models: FoldModels | None = None
    decisions: dict[str, Any] = field(default_factory=dict)
    history: list[Row] = field(default_factory=list)


def held_out_folds(data: Labelled, config: Config, strategy: str) -> tuple[np.ndarray, int]:
    """Return the fold each image is held out in (N,), -1 for never, and how many folds there are.

    Raises
    ------
    DataError
        Nothing can be held out: no class has two images that are no copies of each other.
    """
    wanted = config.train.folds or (5 if strategy == "head" else 1)
    if wanted == 1 or given_valid(data.rows, data.units).any():
        valid = split_labelled(data.rows, config.train.valid_fraction, config.seed, data.units)
        if not (valid & data.checked).any():
            raise DataError(NOTHING_TO_HOLD_OUT)
        return np.where(valid, 0, -1), 1
    folds = make_folds(data.rows, wanted, config.seed, data.units)
    kept, unmeasured = _measured(folds, data)
    if not (kept >= 0).any():
        # By chance each part held all images of some class; a part for each unit does not.
        kept, unmeasured = _measured(pd.factorize(data.units)[0], data)
    # Where nothing was looked at by itself there is nothing to measure.
    kept[~np.isin(kept, kept[data.checked])] = -1
    found = np.unique(kept[kept >= 0])
    if not len(found):
        raise DataError(NOTHING_TO_HOLD_OUT)
    if unmeasured:
        where = "copies of one image" if data.within_groups else "within one group (patient)"
        log.warning(
            "the errors of %s could not be measured, so no promise covers it: all its labels are "
            "%s, were given to whole clusters, or fall together; label it in more %s",
            ", ".join(f"'{label}'" for label in unmeasured), where,
            "images" if data.within_groups else "groups",
        )  # fmt: skip
    return np.where(kept >= 0, np.searchsorted(found, kept), -1), len(found)


def _measured(folds: np.ndarray, data: Labelled) -> tuple[np.ndarray, list[str]]:
    """Return the folds with -1 where a fold would hold all images of a class, and these classes.

    No model can have learned such a class: its images only train.
    """
    folds, unmeasured = folds.copy(), []
    for label in range(len(data.classes)):
        of_label = data.labels == label
        if not (of_label & data.checked).any():
            unmeasured.append(data.classes[label])
        elif len(np.unique(folds[of_label])) == 1:
            # The patient's images of other classes too: nobody is on both sides.
            folds[np.isin(data.units, data.units[of_label])] = -1
            unmeasured.append(data.classes[label])
    return folds, unmeasured


def cross_fit(
    data: Labelled,
    appearance: np.ndarray,
    strategy: Strategy,
    folds: np.ndarray,
    config: Config,
    progress: Progress,
) -> Learned:
    """Train on all labelled images, and calibrate on models that hold each of them out.

    Parameters
    ----------
    data : Labelled
        N images.
    appearance : (N, 27) float
        Of these images.
    strategy : Strategy
    folds : (N,) int
        See `held_out_folds`. With one fold the model that is measured is the one that is kept.
    config : Config
    progress : callable
        Called with ("fit", models trained, models in all).
    """
    fitted, histories = _train_all(data, appearance, strategy, folds, config, progress)
    record: Record = {"rounds": 0, "why": "there are no unlabelled images, or fine-tuning is on"}
    pool = fitted.final.pool
    if isinstance(strategy, RefitsClassifier) and pool is not None and config.train.self_training:
        fitted, record = self_train(fitted, pool, strategy, data, appearance, config)
    final = fitted.final
    if folds.max() == 0:
        # Measured with its training images as exemplars; for new images all labelled ones are.
        final = final.with_exemplars(np.arange(len(data.labels)), data, config.engine)
    decisions = {
        "views": strategy.views,
        "inputs": fitted.calibration.chosen,
        "pool": 0 if pool is None else len(pool.siamese),
        "self_training": record,
    }
    rows = [row for history in histories for row in history.rows]
    models = _fold_models(fitted, folds, strategy)
    return Learned(final.scorer, final.embeddings, fitted.calibration, models, decisions, rows)


def _train_all(
    data: Labelled,
    appearance: np.ndarray,
    strategy: Strategy,
    folds: np.ndarray,
    config: Config,
    progress: Progress,
) -> tuple[CrossFit, list[History]]:
    """Train a model per fold and, where there are several, one of all labelled images."""
    n_folds, everything = int(folds.max()) + 1, np.arange(len(data.labels))
    # A name that a whole cluster was given is learned from, and no truth to measure by.
    splits = [(str(f), everything[folds != f], everything[(folds == f) & data.checked])
              for f in range(n_folds)]  # fmt: skip
    if n_folds > 1:
        splits.append(("all", everything, everything[:0]))
    reduction = strategy.shared_reduction()
    again = isinstance(strategy, RefitsClassifier) and config.train.self_training
    kept, held_out, heads, histories = [], [], [], []
    for number, (name, train, test) in enumerate(splits):
        model = train_fold(strategy, train, test, data, reduction, History(name), config)
        histories.append(model.history)
        if number < n_folds:
            held_out.append(model.held_out(number, data, appearance))
            heads.append(model.scorer.networks.classifier_head)
            # With thousands of features each is as large as all images: self-training needs them.
            if again and model.pool is not None:
                kept.append(model if n_folds == 1 else model.only_measured())
        progress("fit", number + 1, len(splits))
        if number + 1 < len(splits):
            # Before the next one is made, not after.
            del model
    return CrossFit.measured(model, kept, held_out, heads, data, config.engine), histories


def _fold_models(fitted: CrossFit, folds: np.ndarray, strategy: Strategy) -> FoldModels | None:
    """Return the classifiers of the folds, where they are told apart by their heads alone."""
    single = folds.max() == 0
    if not single and not isinstance(strategy, RefitsClassifier):
        return None
    heads = [] if single else fitted.heads
    return FoldModels.of(heads, folds, fitted.calibration.rows, fitted.logits)
