"""A trained model with its exemplars and neighbours: from features to what a label rests on."""

from dataclasses import dataclass

import numpy as np
import torch

from clusterkit.config import EngineConfig
from clusterkit.errors import DataError
from clusterkit.formats.run import Run
from clusterkit.inference.gallery import Comparison, Gallery
from clusterkit.methods.fusion import Fusion, Scores
from clusterkit.methods.k_center import choose_exemplars
from clusterkit.methods.label_propagation import Neighbourhood
from clusterkit.models.networks import Embeddings, Networks
from clusterkit.models.scaling import distance_scale
from clusterkit.models.siamese import FactoredSiamese

# Reduced dimensions for neighbours and clusters, and images that they are found from.
_REDUCED = 64
_REDUCED_FROM = 2000


@dataclass(frozen=True)
class Reduction:
    """Principal axes of standardised features: (features − centre) @ projection.

    Attributes
    ----------
    centre : (D,) float Tensor
    projection : (D, P) float Tensor
    """

    centre: torch.Tensor
    projection: torch.Tensor

    @classmethod
    def of(cls, features: torch.Tensor, chains: list[list[int]], seed: int) -> "Reduction":
        """Find the axes of features (N, D), from a sample where there are many.

        See `shrunk_variance` for `chains`.

        Raises
        ------
        DataError
            All images have the same features.
        """
        from sklearn.decomposition import PCA

        rng = np.random.default_rng(seed)
        values = features.numpy()
        if (values == values[0]).all():
            raise DataError(
                f"all {len(values)} images have the same features, by which no class can be told "
                "from another; give images that differ, or other features"
            )
        if len(values) > _REDUCED_FROM:
            values = values[rng.choice(len(values), _REDUCED_FROM, replace=False)]
        variance = torch.from_numpy(values.var(axis=0))
        centre = values.mean(axis=0)
        scale = distance_scale(variance, chains)
        count = min(_REDUCED, *values.shape)
        fitted = PCA(count, svd_solver="randomized", random_state=seed)
        axes = fitted.fit((values - centre) / scale).components_.T / scale[:, None]
        return cls(torch.from_numpy(centre).float(), torch.from_numpy(axes).float().contiguous())

    @classmethod
    def stored_in(cls, run: Run) -> "Reduction":
        """Return the axes that a run keeps."""
        return cls(run.gallery["centre"], run.gallery["projection"])

    def __call__(self, features: torch.Tensor) -> np.ndarray:
        """Reduce features (N, D) to (N, P) float32."""
        return ((features - self.centre) @ self.projection).numpy().astype(np.float32)


class Scorer:
    """Networks, exemplars and, with a pool, neighbours.

    Parameters
    ----------
    networks : Networks
    gallery : Gallery
    reduction : Reduction
    neighbours : Neighbourhood or None
        None: there is no pool.
    pool_top : int
        See `Gallery.compare`.
    """

    def __init__(
        self,
        networks: Networks,
        gallery: Gallery,
        reduction: Reduction,
        neighbours: Neighbourhood | None,
        pool_top: int,
    ) -> None:
        self.networks, self.gallery, self.reduction = networks, gallery, reduction
        self.neighbours, self.pool_top = neighbours, pool_top

    @classmethod
    def of(
        cls,
        networks: Networks,
        labelled: Embeddings,
        labels: np.ndarray,
        n_classes: int,
        pool: Embeddings | None,
        reduction: Reduction,
        config: EngineConfig,
    ) -> "Scorer":
        """Take labelled images as exemplars, and spread their labels over the pool.

        Parameters
        ----------
        labelled : Embeddings of E images, labels : (E,) int
        pool : Embeddings of M images, or None
        config : EngineConfig
        """
        siamese = FactoredSiamese.from_head(networks.siamese_head)
        exemplars = choose_exemplars(labelled.siamese.numpy(), labels, config.max_exemplars)
        gallery = Gallery(siamese, labelled.siamese, labels, n_classes, exemplars)
        scorer = cls(networks, gallery, reduction, None, config.pool_top)
        return scorer.with_classifier(networks, labelled, pool)

    def with_classifier(
        self, networks: Networks, labelled: Embeddings, pool: Embeddings | None
    ) -> "Scorer":
        """Return the scorer with another classifier, and the labels spread anew over the pool.

        Parameters
        ----------
        networks : Networks
            With the Siamese head that the gallery is of.
        labelled : Embeddings of the E images of the gallery
        pool : Embeddings of M images, or None
        """
        scorer = Scorer(networks, self.gallery, self.reduction, None, self.pool_top)
        if pool is not None:
            probs = torch.softmax(scorer.logits(pool), dim=1).numpy()
            scorer.neighbours = Neighbourhood.build(
                self.reduction(labelled.siamese), self.gallery.labels,
                self.reduction(pool.siamese), probs,
            )  # fmt: skip
        return scorer

    @torch.inference_mode()
    def logits(self, embeddings: Embeddings) -> torch.Tensor:
        """Return the classifier's logits (N, K)."""
        head = self.networks.classifier_head
        device = next(head.parameters()).device
        return head(embeddings.classifier.to(device)).float().cpu()

    def vote(self, features: torch.Tensor) -> np.ndarray:
        """Return what the neighbours of N images believe, (N, K); NaN: none."""
        if self.neighbours is None:
            return np.full((len(features), self.gallery.n_classes), np.nan, dtype=np.float32)
        return self.neighbours.vote(self.reduction(features))

    def compare(
        self, embeddings: Embeddings, fusion: Fusion | None = None
    ) -> tuple[Scores, Comparison, np.ndarray]:
        """Score N images, compared with the classes that the fusion's gate lets through.

        Returns
        -------
        Scores, Comparison, and the gate (N, K); without a fusion it lets all classes through.
        """
        logits = self.logits(embeddings).numpy()
        gate = np.ones(logits.shape, dtype=bool) if fusion is None else fusion.gate(logits)
        evidence = self.gallery.compare(embeddings.siamese, gate, self.pool_top)
        return Scores(logits, evidence.pooled, self.vote(embeddings.siamese)), evidence, gate
