"""Trains all networks on some of the labelled images, by one of two strategies."""

from dataclasses import replace

import numpy as np
import torch
from fastai.torch_core import set_seed
from scipy.special import log_softmax

from clusterkit.config import AugmentConfig, Config
from clusterkit.data.labelled import Labelled
from clusterkit.data.loading import ImageRef
from clusterkit.encoders.torchvision import Backbone, Encoder, empty_encoder
from clusterkit.methods.calibration import unit_weights
from clusterkit.models.forward import FLOAT32
from clusterkit.models.networks import Embeddings, Networks, embed_all, embed_paths
from clusterkit.progress import Progress, StageProgress, silent
from clusterkit.training.head_start import StartFeatures, embed_views
from clusterkit.training.learners import (
    Data,
    History,
    finetune_classifier,
    finetune_siamese,
)
from clusterkit.training.linear import fit_linear_head
from clusterkit.training.pair_head import fit_pair_head
from clusterkit.training.stopping import keep_back

# Fewer labelled images than this are too few to fine-tune a pretrained encoder safely.
_FINETUNE_IMAGES = 500

# Mirror images, and how many of `flipped_views` each choice takes: the fewest first.
_ALL = AugmentConfig(flip_horizontal=True, flip_vertical=True)
_VIEWS = {"as they are": 1, "mirrored left to right": 2, "mirrored both ways": 4}


class Trainer:
    """From labelled images to networks: heads on frozen features, or fine-tuning.

    Parameters
    ----------
    data : Labelled
    pool : list of (path, frame)
        Where the unlabelled images are.
    config : Config
        With a device that is there.
    backbone : Backbone
    strategy : str
        ``"head"`` or ``"finetune"``.
    history : History
        Gets one row an epoch.
    report : callable
        Called with (stage, done, total); in images: embed, fine-tune, fine-tune Siamese.
    start : StartFeatures or None
        Of the backbone and these images, if other trainers share them.
    precision : {"float32", "bfloat16"}
        That images are asked about in, see `Networks`: the pool, and held-out images where the
        promise is measured. What is learned from, and compared with, is float32.
    """

    def __init__(
        self,
        data: Labelled,
        pool: list[ImageRef],
        config: Config,
        backbone: Backbone,
        strategy: str,
        history: History,
        report: Progress = silent,
        start: StartFeatures | None = None,
        precision: str = FLOAT32,
    ) -> None:
        self.precision = precision
        self.data, self.pool, self.config, self.backbone = data, pool, config, backbone
        self.strategy, self.history, self.report = strategy, history, report
        self.start = start or StartFeatures(
            backbone.encoder, data.images, config.device, self._reporter("embed")
        )
        self.views = "as they are"
        self._start = {k: v.clone() for k, v in backbone.encoder.state_dict().items()}
        self._features: torch.Tensor | None = None
        self._asked: torch.Tensor | None = None
        self._pool_features: torch.Tensor | None = None

    @property
    def frozen(self) -> bool:
        """Whether all networks share the features of one encoder that is not trained."""
        return self.strategy == "head"

    def prepare(self, folds: np.ndarray) -> None:
        """Embed what stays the same for all folds, and choose the mirror images to learn from.

        Parameters
        ----------
        folds : (N,) int
            The fold each image is held out in; -1: never.
        """
        if not self.frozen:
            return
        features = self.start.views(_ALL if self._choosing else self.config.augment)
        only = self._only(self.backbone.encoder)
        pool = self._embed_pool(only)
        self.take_features(features, None if pool is None else pool.classifier, folds)
        if self.precision != FLOAT32:
            self._asked = self._embed_labelled(only).siamese

    def take_features(
        self, features: torch.Tensor, pool: torch.Tensor | None, folds: np.ndarray
    ) -> None:
        """Take what `prepare` would compute, and choose the mirror images to learn from.

        Parameters
        ----------
        features : (V, N, D) float Tensor
            Of the labelled images and their mirror images, in the order of `flipped_views`.
        pool : (M, D) float Tensor or None
        folds : (N,) int
        """
        options = _VIEWS if self._choosing else {"as allowed": len(features)}
        fits = {
            name: self._held_out_fit(features[:count], folds) if self._choosing else 0.0
            for name, count in options.items()
        }
        self.views = max(fits, key=fits.get)
        self._features, self._pool_features = features[: options[self.views]], pool

    @property
    def _choosing(self) -> bool:
        return self.config.augment.views == "auto"

    def train(self, rows: np.ndarray, valid: np.ndarray) -> Networks:
        """Train on `rows`, watch `valid`; always from the same start."""
        set_seed(self.config.seed, reproducible=True)
        return self._heads(rows) if self.frozen else self._tune(rows, valid)

    def refit_classifier(
        self, networks: Networks, rows: np.ndarray, chosen: np.ndarray, labels: np.ndarray
    ) -> Networks:
        """Fit the linear head anew with some of the pool (M',) under the labels given."""
        extra = (self._pool_features[chosen], labels)
        return replace(networks, classifier_head=self._linear(self._features, rows, extra))

    def embed(self, networks: Networks) -> Embeddings:
        """Features of the labelled images, as they are, in float32."""
        if self.frozen:
            return Embeddings(self._features[0], self._features[0])
        return self._embed_labelled(networks, FLOAT32)

    def embed_asked(self, networks: Networks) -> Embeddings:
        """Features of the labelled images as `assign` will see new ones: in its precision."""
        if self.frozen:
            return Embeddings(self._asked, self._asked)
        return self._embed_labelled(networks)

    def _embed_labelled(self, networks: Networks, precision: str | None = None) -> Embeddings:
        report = self._reporter("embed")
        images, device = self.data.images, self.config.device
        return embed_all(networks, images, device, progress=report, precision=precision)

    def embed_pool(self, networks: Networks) -> Embeddings | None:
        """Features of the readable images of the pool; None: there are none."""
        if not self.frozen:
            return self._embed_pool(networks)
        if self._pool_features is None:
            return None
        return Embeddings(self._pool_features, self._pool_features)

    def _heads(self, rows: np.ndarray) -> Networks:
        head = self._linear(self._features, rows)
        siamese = self._pair_head(self._features, rows)
        return self._networks(self.backbone.encoder, head, siamese)

    def _linear(
        self,
        features: torch.Tensor,
        rows: np.ndarray,
        extra: tuple[torch.Tensor, np.ndarray] | None = None,
    ) -> torch.nn.Sequential:
        data, config = self.data, self.config.train
        depths = self.backbone.encoder.depths
        return fit_linear_head(
            features[:, rows], data.labels[rows], data.prior, depths, config.C, extra
        )

    def _pair_head(self, features: torch.Tensor, rows: np.ndarray) -> torch.nn.Sequential:
        config = self.config
        return fit_pair_head(
            features[:, rows],
            self.data.labels[rows],
            self._epochs()[1],
            config.train.lr,
            config.train.weight_decay,
            config.seed,
            lambda epoch, loss: self.history.add("siamese", epoch, loss),
        )

    def _tune(self, rows: np.ndarray, valid: np.ndarray) -> Networks:
        epochs, siamese_epochs = self._epochs()
        config, history, report = self.config, self.history, self._reporter
        data = self._parts(rows, valid)
        encoder, own, n_classes = self._fresh_encoder(), None, len(self.data.classes)
        head = finetune_classifier(
            encoder, data, n_classes, config, epochs, history, report("fine-tune")
        )
        if config.model.encoder == "separate":
            own = self._fresh_encoder()
            siamese = finetune_siamese(
                own, data, config, siamese_epochs, history, report("fine-tune Siamese")
            )
        else:
            images, device = self.data.images, config.device
            views = embed_views(encoder, images, config.augment, device, report("embed"))
            siamese = self._pair_head(views, rows)
        return self._networks(encoder, head, siamese, own)

    def _parts(self, rows: np.ndarray, valid: np.ndarray) -> Data:
        """Keep some of `rows` back to stop by, where there are enough; else watch `valid`."""
        images, labels = self.data.images, self.data.labels
        start = self.start.views(self.config.augment) if self.backbone.pretrained else None
        kept = keep_back(self.data, rows, self.config.seed)
        if kept.any():
            return Data(images, labels, rows[~kept], rows[kept], True, start)
        return Data(images, labels, rows, valid, False, start)

    def _reporter(self, stage: str) -> StageProgress:
        return lambda done, total: self.report(stage, done, total)

    def _fresh_encoder(self) -> Encoder:
        encoder = empty_encoder(self.backbone.name)
        encoder.load_state_dict(self._start)
        return encoder

    def _epochs(self) -> tuple[int, int]:
        default = (0, 60) if self.frozen else (12, 60)
        if not self.frozen and self.config.model.encoder == "separate":
            # Each epoch encodes an image once: from nothing, it takes more of them.
            default = (12, 12 if self.backbone.pretrained else 24)
        config = self.config.train
        return config.epochs or default[0], config.siamese_epochs or default[1]

    def _networks(self, *parts: torch.nn.Module | None) -> Networks:
        return Networks(*parts, precision=self.precision).to(self.config.device)

    def _only(self, encoder: torch.nn.Module) -> Networks:
        return self._networks(encoder, torch.nn.Identity(), torch.nn.Sequential())

    def _embed_pool(self, networks: Networks) -> Embeddings | None:
        if not self.pool:
            return None
        image, device = self.config.image, self.config.device
        return embed_paths(networks, self.pool, image, device, self._reporter("embed pool"))

    def _held_out_fit(self, features: torch.Tensor, folds: np.ndarray) -> float:
        """Mean log-likelihood, each unit counting once, of held-out images as they are."""
        data = self.data
        depths = [features.shape[2] // 2]
        total, weights = 0.0, unit_weights(data.units)
        for fold in np.unique(folds[folds >= 0]):
            train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            head = fit_linear_head(
                features[:, train], data.labels[train], data.prior, depths, self.config.train.C
            )
            with torch.inference_mode():
                log_probs = log_softmax(head(features[0, test]).numpy(), axis=1)
            total += weights[test] @ log_probs[np.arange(len(test)), data.labels[test]]
        return float(total)


def choose_strategy(config: Config, backbone: Backbone, n: int) -> tuple[str, str]:
    """Return the strategy for `n` labelled images, and why."""
    if config.train.strategy != "auto":
        return config.train.strategy, "asked for in the config"
    if not backbone.pretrained:
        return "finetune", "random weights have to be trained"
    if config.device == "cpu":
        return "head", "pretrained weights and no GPU: heads on cached features take seconds"
    if n < _FINETUNE_IMAGES:
        return "head", f"{n} labelled images are too few to fine-tune a pretrained encoder safely"
    return "finetune", f"{n} labelled images and a GPU"
