"""Fine-tuning: encoders and heads trained on images, anew per fold."""

from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from clusterkit.config import Config
from clusterkit.encoders.encoder import Encoder
from clusterkit.models.forward import FLOAT32
from clusterkit.models.heads import create_head
from clusterkit.models.networks import Embeddings, Networks
from clusterkit.progress import Progress, within
from clusterkit.training.cached_features import embed_views
from clusterkit.training.fastai_names import set_seed
from clusterkit.training.history import History
from clusterkit.training.kept_heads import kept_head
from clusterkit.training.learners import finetune_classifier, finetune_siamese
from clusterkit.training.loaders import TrainingSplit
from clusterkit.training.pair_head import fit_pair_head
from clusterkit.training.process_group import current_group
from clusterkit.training.shards import embed_paths_shared, embed_shared
from clusterkit.training.stage_journal import StageJournal
from clusterkit.training.stopping import keep_back
from clusterkit.training.strategy import TrainingSet

_EPOCHS = 12
_PAIR_HEAD_EPOCHS = 60

# The Siamese model's own encoder sees an image once per epoch: from random weights, it takes more.
_SIAMESE_EPOCHS = {True: 12, False: 24}


@dataclass(frozen=True, eq=False)
class FineTuning:
    """Networks whose encoder is trained with its head; see `Strategy`.

    Attributes
    ----------
    training_set : TrainingSet
    config : Config
    precision : {"float32", "bfloat16"}
        Of the encoder in `assign`, see `Networks`.
    progress : callable
        Called with (stage, done, total) in images; the stages are embed, embed pool, fine-tune and
        fine-tune Siamese.
    """

    training_set: TrainingSet
    config: Config
    precision: str
    progress: Progress

    @property
    def views(self) -> str:
        """Images are augmented at random; no mirror images are added to them."""
        return "as they are"

    def train(self, rows: np.ndarray, valid: np.ndarray, history: History) -> Networks:
        """Fine-tune on `rows`; `valid` is measured on where no rows can be kept back."""
        config, data = self.config, self.training_set.labelled
        set_seed(config.seed, reproducible=True)
        split = self._split(rows, valid)
        encoder = self._fresh_encoder()
        head = finetune_classifier(
            encoder, split, len(data.classes), config, config.train.epochs or _EPOCHS,
            self._stage("classifier", history), within(self.progress, "fine-tune"),
        )  # fmt: skip
        siamese, own = self._train_siamese(encoder, split, rows, history)
        return Networks(encoder, head, siamese, own, self.precision).to(config.device)

    def embed(self, networks: Networks) -> Embeddings:
        """Encode the labelled images in float32."""
        return self._embed(networks, FLOAT32)

    def embed_for_assign(self, networks: Networks) -> Embeddings | None:
        """Encode the labelled images in the networks' precision; None: that is float32."""
        return None if self.precision == FLOAT32 else self._embed(networks, self.precision)

    def embed_pool(self, networks: Networks) -> Embeddings | None:
        """Encode the readable images of the pool; None: there are none."""
        if not self.training_set.pool:
            return None
        return embed_paths_shared(
            networks, self.training_set.pool, self.config.image, self.config.device,
            within(self.progress, "embed pool"),
        )  # fmt: skip

    def shared_reduction(self) -> None:
        """None: each model has features of its own."""

    def _embed(self, networks: Networks, precision: str) -> Embeddings:
        images, device = self.training_set.labelled.images, self.config.device
        progress = within(self.progress, "embed")
        return embed_shared(networks, images, device, progress, precision)

    def _split(self, rows: np.ndarray, valid: np.ndarray) -> TrainingSplit:
        """Keep some of `rows` back for early stopping where there are enough."""
        data = self.training_set.labelled
        pretrained = self.training_set.backbone.pretrained
        start = self.training_set.features.views(self.config.augment) if pretrained else None
        kept = keep_back(data, rows, self.config.seed)
        if kept.any():
            return TrainingSplit(data.images, data.labels, rows[~kept], rows[kept], True, start)
        return TrainingSplit(data.images, data.labels, rows, valid, False, start)

    def _fresh_encoder(self) -> Encoder:
        return deepcopy(self.training_set.backbone.encoder)

    def _train_siamese(
        self, shared: Encoder, split: TrainingSplit, rows: np.ndarray, history: History
    ) -> tuple[torch.nn.Sequential, Encoder | None]:
        """Return the Siamese head and, where the config asks for one, an encoder of its own.

        Else the head is fitted on features of the classifier's fine-tuned encoder.
        """
        config, train = self.config, self.config.train
        if config.model.encoder == "separate":
            own = self._fresh_encoder()
            epochs = _SIAMESE_EPOCHS[self.training_set.backbone.pretrained]
            head = finetune_siamese(
                own, split, config, train.siamese_epochs or epochs,
                self._stage("siamese", history), within(self.progress, "fine-tune Siamese"),
            )  # fmt: skip
            return head, own
        head = kept_head(
            self.training_set.journal, _kept_name("pairs-finetune", history),
            partial(create_head, 4 * shared.channels, 1),
            partial(self._fit_pair_head, shared, rows, history), history,
        )  # fmt: skip
        return head, None

    def _fit_pair_head(
        self, shared: Encoder, rows: np.ndarray, history: History
    ) -> torch.nn.Sequential:
        config, data, train = self.config, self.training_set.labelled, self.config.train
        views = embed_views(
            shared, data.images, config.augment, config.device, within(self.progress, "embed")
        )
        return fit_pair_head(
            views[:, rows],
            data.labels[rows],
            shared.chains,
            train.siamese_epochs or _PAIR_HEAD_EPOCHS,
            train.lr,
            train.weight_decay,
            config.seed,
            partial(history.add, "siamese"),
        )

    def _stage(self, name: str, history: History) -> StageJournal:
        return StageJournal(self.training_set.journal, _kept_name(name, history), history)


def _kept_name(stage: str, history: History) -> str:
    """Return the name in the journal: as many processes as began go on with the same numbers."""
    processes = current_group().size
    return f"{stage}-{history.fold}" + f"-by-{processes}" * (processes > 1)
