"""A loaded run, ready to turn images into evidence."""

import numpy as np
import torch

from clusterkit.config import Config, ImageConfig
from clusterkit.data.duplicates.index import NearIndex
from clusterkit.data.loading import ImageBatch
from clusterkit.formats.run import Run
from clusterkit.inference.batch_streams import BatchStreams, Started
from clusterkit.inference.fold_models import FoldModels
from clusterkit.inference.gallery import Gallery
from clusterkit.inference.scorer import Reduction, Scorer
from clusterkit.methods.calibration import Calibration
from clusterkit.methods.fusion import Fusion
from clusterkit.methods.label_propagation import Neighbourhood
from clusterkit.methods.novelty import NoveltyModel
from clusterkit.methods.precision import Precision
from clusterkit.models.forward import FLOAT32
from clusterkit.models.networks import Embeddings, choose_device, embed, start_embedding
from clusterkit.models.siamese import FactoredSiamese

# Characters: the column reason is a short sentence.
_LONGEST_ERROR = 200


class Predictor:
    """A loaded run, ready to turn images into evidence.

    Parameters
    ----------
    run : Run
    config : Config
        Of it, the device; what the calibration rests on is the run's.
    """

    def __init__(self, run: Run, config: Config) -> None:
        self.run, self.config = run, config
        self.device = choose_device(config.device)
        # Folded on the CPU, so before the networks move.
        siamese = FactoredSiamese.from_head(run.networks.siamese_head)
        self.networks = run.networks.to(self.device)
        self.calibration = Calibration.from_dict(run.calibration)
        labels, stored, pool_top = run.labels, run.gallery, run.config.engine.pool_top
        exemplars = stored["exemplar"].numpy().astype(bool)
        self.gallery = Gallery(siamese, stored["features"], labels, len(run.classes), exemplars)
        reduction, neighbours = Reduction.stored_in(run), _neighbours(run)
        self.scorer = Scorer(self.networks, self.gallery, reduction, neighbours, pool_top)
        self.precision = Precision.from_dict(run.info.precision)
        self._streams = BatchStreams(self.device)
        self.near = NearIndex(stored["signatures"].numpy())
        self.novelty, self.folds = _novelty(run), FoldModels.stored_in(run)

    @property
    def image(self) -> ImageConfig:
        """How images are read: as the labelled ones were."""
        return self.run.config.image

    def make_ready(self) -> None:
        """Compile and convert the networks, once for all processes that are forked afterwards."""
        self.networks.make_ready(self.device)

    def features(self, images: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        """Encode uint8 RGB (B, S, S, 3) to Siamese features (B, D) and class logits (B, K).

        In float32, as the labelled images were: a few images are compared with those.
        """
        embeddings = embed(self.networks, images, self.device, FLOAT32)
        return embeddings.siamese, self.scorer.logits(embeddings).numpy()

    def start(self, batch: ImageBatch) -> Started:
        """Begin to encode a batch; a GPU goes on while the batch before it is finished."""
        sent = self._streams.send(batch.images)
        return self._streams.started(start_embedding(self.networks, sent, self.device))

    def finish(self, batch: ImageBatch, started: Started) -> dict[str, np.ndarray]:
        """Turn what `start` began into the arrays that the journal keeps: see `DecisionRule`."""
        with self._streams.finishing(started):
            arrays = self._score(started.embeddings.cpu(), batch.appearance)
            close = self.precision.is_close(arrays["probs"])
            if close.any():
                plain = embed(self.networks, batch.images[close], self.device, FLOAT32)
                for name, values in self._score(plain, batch.appearance[close]).items():
                    arrays[name][close] = values
        near, score = self.near.match(batch.signatures)
        errors = batch.errors.astype(f"U{_LONGEST_ERROR}")
        texts = {"ids": batch.ids, "errors": errors, "states": batch.states}
        return {**texts, "near": near, "near_score": score, **arrays}

    def _score(self, embeddings: Embeddings, appearance: np.ndarray) -> dict[str, np.ndarray]:
        fusion = self.calibration.fusion
        found = score_batch(self.scorer, fusion, self.novelty, embeddings, appearance)
        if self.folds is not None:
            found["of_folds"] = self.folds.probs(embeddings.classifier, fusion)
        return found


def score_batch(
    scorer: Scorer,
    fusion: Fusion,
    novelty: NoveltyModel,
    embeddings: Embeddings,
    appearance: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return all that rows rest on of N images, given their embeddings and `appearance`."""
    scores, comparison, gate = scorer.compare(embeddings, fusion)
    novelty_scores, nearest_classes = novelty.compare(embeddings.siamese, appearance)
    return {
        "classifier": fusion.classifier_probs(scores.logits).astype(np.float32),
        "probs": fusion.probs(scores, gate).astype(np.float32),
        "gate": gate,
        "pooled": comparison.pooled,
        "nearest": comparison.nearest,
        "nearest_logit": comparison.nearest_logit,
        "novelty": novelty_scores,
        "nearest_classes": nearest_classes,
        "reduced": scorer.reduction(embeddings.siamese),
    }


def _novelty(run: Run) -> NoveltyModel:
    stored = run.part_of_gallery("novelty")
    if stored:
        return NoveltyModel.from_tensors(stored)
    # Runs of format 3 keep what the model is made from.
    appearance = run.gallery["appearance"].numpy()
    return NoveltyModel.of(run.gallery["features"], appearance, run.labels)


def _neighbours(run: Run) -> Neighbourhood | None:
    stored = run.part_of_gallery("neighbours")
    return Neighbourhood(**{k: v.numpy() for k, v in stored.items()}) if stored else None
