"""The protocol of the benchmarks: k labelled images per class by whole groups, all else unlabelled.

Groups in random order; from each whole group images are taken as labelled until every class has
k. A group that gave a labelled image gives no unlabelled one; all images of the other groups are
the rest, whose labels nobody looks at before the end.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from clusterkit.config import AugmentConfig, Config, override
from clusterkit.data.appearance import measure_appearance
from clusterkit.data.labelled import Labelled, load_labelled
from clusterkit.data.splits import units_of
from clusterkit.encoders.backbone import Backbone
from clusterkit.encoders.registry import load_backbone
from clusterkit.inference.transduce import labelled_nodes
from clusterkit.methods.calibration import Calibration
from clusterkit.methods.fusion import Scores
from clusterkit.methods.label_shift import apply_prior, estimate_prior
from clusterkit.methods.lapse import Lapse
from clusterkit.methods.transduction import refine
from clusterkit.models.networks import Embeddings, Networks, embed_all
from clusterkit.progress import silent
from clusterkit.training.crossfit import Learned, cross_fit, held_out_folds
from clusterkit.training.frozen import FrozenFeatures
from clusterkit.training.views import flipped_views

# Manifest below the data folder, and pixels a side.
SETS = {"malaria": ("labels.csv", 128), "bccd": ("labels.csv", 128), "busi": (".", 224)}
_VIEWS = AugmentConfig(flip_horizontal=True, flip_vertical=True)


def data_folder() -> Path:
    """Return the folder that CLUSTERKIT_DATA names."""
    return Path(os.environ["CLUSTERKIT_DATA"])


def weights_file() -> Path:
    """Return the SqueezeNet weights in it."""
    return data_folder() / "weights" / "squeezenet1_0_imagenet.pth"


def draw(manifest: pd.DataFrame, k: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (labelled, rest): k images per class from whole groups, and all other groups."""
    known = manifest[manifest["label"].notna()]
    groups = known["group"].where(known["group"].notna(), known["image"])
    missing = dict.fromkeys(sorted(known["label"].unique()), k)
    taken, used = [], set()
    members = dict(list(known.groupby(groups)))
    for group in np.random.RandomState(seed).permutation(sorted(members)):
        if not any(missing.values()):
            break
        for index, label in members[group]["label"].items():
            if missing[label]:
                missing[label] -= 1
                taken.append(index)
                used.add(group)
    return known.loc[taken], known[~groups.isin(used)]


def draw_without(
    manifest: pd.DataFrame, left: str | None, k: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (labelled, rest) as `draw` does, with no labelled image of one class, `left`."""
    taken, rest = draw(manifest[manifest["label"] != left], k, seed)
    unknown = manifest[manifest["label"] == left]
    used = taken["group"].dropna()
    return taken, pd.concat([rest, unknown[~unknown["group"].isin(used)]])


@dataclass(frozen=True)
class Features:
    """A whole set on frozen features, computed once for many draws.

    Attributes
    ----------
    manifest : DataFrame (N)
    views : (V, N, D) float Tensor
        Of the images, and of their three mirror images if asked for.
    appearance : (N, 12) float
    labels : (N,) int
    classes : list of str
    backbone : Backbone
    """

    manifest: pd.DataFrame
    views: torch.Tensor
    appearance: np.ndarray
    labels: np.ndarray
    classes: list[str]
    backbone: Backbone

    @classmethod
    def of(
        cls,
        manifest: pd.DataFrame,
        size: int,
        backbone: str,
        weights: Path | str,
        mirrored: bool = True,
        change: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> "Features":
        """Embed all labelled images of a manifest, changed and with mirror images if asked to."""
        config = override(Config(), image__size=size, device="cpu")
        data = load_labelled(manifest, config, silent)
        images = data.images if change is None else change(data.images)
        loaded = load_backbone(backbone, str(weights))
        networks = Networks(loaded.encoder, torch.nn.Identity(), torch.nn.Sequential())
        views = torch.stack([
            embed_all(networks, np.ascontiguousarray(view), "cpu").siamese
            for view in flipped_views(images, _VIEWS if mirrored else AugmentConfig())
        ])  # fmt: skip
        appearance = measure_appearance(images)
        return cls(data.rows, views, appearance, data.labels, data.classes, loaded)

    @property
    def last(self) -> torch.Tensor:
        """(N, 2C) features of the deepest map alone, as reference.csv has them."""
        channels, total = self.backbone.encoder.nested[-1], self.views.shape[2] // 2
        columns = np.r_[total - channels : total, 2 * total - channels : 2 * total]
        return self.views[0][:, columns]

    def learn(self, labelled: np.ndarray, pool: np.ndarray | None, config: Config) -> Learned:
        """Learn from some rows (n,), with others (m,) as the unlabelled pool, as `fit` does."""
        rows = self.manifest.iloc[labelled].reset_index(drop=True)
        classes = sorted(rows["label"].unique())
        index = rows["label"].map({c: i for i, c in enumerate(classes)}).to_numpy()
        images = np.empty((len(rows), 0, 0, 3), dtype=np.uint8)
        data = Labelled(rows, images, index, units_of(rows), classes)
        config = override(config, device="cpu")
        folds, _ = held_out_folds(data, config, "head")
        views, of_pool = self.views[:, labelled], None if pool is None else self.views[0, pool]
        strategy = FrozenFeatures.given(data, views, of_pool, folds, config, self.backbone)
        return cross_fit(data, self.appearance[labelled], strategy, folds, config, silent)


def refined_rest(learned: Learned, features: torch.Tensor) -> tuple[np.ndarray, Calibration, bool]:
    """Return what `score_rest` does with the batch's images helping each other, as in `assign`.

    Also returns whether held-out labels gained by it.
    """
    calibration, models = learned.calibration, learned.fold_models
    scorer, embeddings = learned.scorer, learned.embeddings
    scores, _, gate = scorer.compare(Embeddings(features, features), calibration.fusion)
    probs, used = calibration.fusion.probs(scores, gate), False
    if models is not None and not calibration.within_groups:
        whole = calibration.fusion.classifier_probs(scores.logits)
        folds = models.probs(features, calibration.fusion).astype(float)
        points = [scorer.reduction(part) for part in (embeddings.siamese, features)]
        found, both, _ = refine(
            np.concatenate(points),
            labelled_nodes(calibration, models, scorer.gallery.labels),
            lambda fold: whole if fold < 0 or not folds.shape[1] else folds[:, fold],
            np.concatenate([calibration.probs, probs]),
            calibration.prior,
        )
        n, used = len(calibration.labels), found is not None
        lapse = Lapse.fitted(both[:n], calibration.labels, calibration.units)
        calibration, probs = replace(calibration, probs=both[:n], lapse=lapse), both[n:]
    return *_shifted(probs, calibration), used


def score_rest(learned: Learned, features: torch.Tensor) -> tuple[np.ndarray, Calibration, Scores]:
    """Return probabilities (N, K) of a batch as `assign` gives them, and its calibration."""
    calibration, batch = learned.calibration, Embeddings(features, features)
    scores, _, gate = learned.scorer.compare(batch, calibration.fusion)
    return *_shifted(calibration.fusion.probs(scores, gate), calibration), scores


def _shifted(probs: np.ndarray, calibration: Calibration) -> tuple[np.ndarray, Calibration]:
    """Return what `assign` makes of the fused probabilities (N, K) of a whole batch."""
    probs = calibration.lapse(probs)
    prior = estimate_prior(probs, calibration.prior, calibration.n_units)
    return apply_prior(probs, calibration.prior, prior), calibration.lapsed().with_prior(prior)
