"""Classifiers of the folds: each knows all labels but those of the images that it is measured on.

What is said of a batch by the classifier of all labels holds their labels, and would tell them to
the held-out images by way of the batch. So a run keeps the small heads of its folds too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from clusterkit.errors import RunError
from clusterkit.formats.run import Run
from clusterkit.methods.fusion import Fusion

# Of its tensors in a run's gallery.
PART = "folds"


@dataclass(frozen=True)
class FoldModels:
    """Linear classifiers of F folds, and what they say of the N labelled images.

    Attributes
    ----------
    weight : (F, K, D) float32 Tensor, bias : (F, K) float32 Tensor
        Of their logits. F is 0 where there is one fold: its classifier is the run's own.
    number : (N,) int
        The fold that each labelled image was left out of; -1: of none.
    logits : (N, K) float32
        By the classifier of that fold; NaN: not measured.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    number: np.ndarray
    logits: np.ndarray

    @classmethod
    def of(
        cls,
        heads: Sequence[nn.Module],
        number: np.ndarray,
        rows: np.ndarray,
        logits: np.ndarray,
    ) -> "FoldModels":
        """Take heads of standardisation and one linear layer (`create_linear_head`).

        Parameters
        ----------
        heads : F of them, (B, D) → (B, K)
        number : (N,) int
        rows : (n,) int, logits : (n, K) float
            Of the measured images.
        """
        of_all = np.full((len(number), logits.shape[1]), np.nan, dtype=np.float32)
        of_all[rows] = logits
        if not heads:
            classes = logits.shape[1]
            return cls(torch.zeros(0, classes, 0), torch.zeros(0, classes), number, of_all)
        weights, biases = zip(*(_as_one_layer(head) for head in heads), strict=True)
        return cls(torch.stack(weights), torch.stack(biases), number, of_all)

    @classmethod
    def stored_in(cls, run: Run) -> "FoldModels | None":
        """Return what a run keeps; None: it is of an older version, or fine-tuned in each fold.

        Raises
        ------
        RunError
            The tensors do not fit the run or each other.
        """
        stored = run.part_of_gallery(PART)
        if not stored:
            return None
        images, depth = run.gallery["features"].shape
        folds, classes = len(stored.get("bias", ())), len(run.classes)
        wanted = {"weight": (folds, classes, depth if folds else 0), "bias": (folds, classes),
                  "number": (images,), "logits": (images, classes)}  # fmt: skip
        fits = wanted == {name: tuple(values.shape) for name, values in stored.items()}
        if not fits or not np.isin(stored["number"].numpy(), np.arange(-1, max(1, folds))).all():
            raise RunError(f"run {run.path} is damaged (gallery.safetensors: {PART}); fit it again")
        number, logits = stored["number"].numpy(), stored["logits"].numpy()
        return cls(stored["weight"], stored["bias"], number, logits)

    def to_tensors(self) -> dict[str, torch.Tensor]:
        """Return what a run keeps."""
        return {"weight": self.weight.contiguous(), "bias": self.bias.contiguous(),
                "number": torch.from_numpy(self.number.astype(np.int64)),
                "logits": torch.from_numpy(self.logits)}  # fmt: skip

    def probs(self, features: torch.Tensor, fusion: Fusion) -> np.ndarray:
        """Return class probabilities (B, F, K) float16 of features (B, D), as `fusion` scales them.

        Float16 is exact to a two-thousandth, and a journal keeps them of every image.
        """
        if not len(self.bias):
            return np.empty((len(features), *self.bias.shape), dtype=np.float16)
        weight = self.weight.flatten(0, 1)
        logits = (features @ weight.T).unflatten(1, self.bias.shape) + self.bias
        flat = fusion.classifier_probs(logits.flatten(0, 1).numpy())
        return flat.reshape(logits.shape).astype(np.float16)


def _as_one_layer(head: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    state = {name: values.detach().cpu() for name, values in head.state_dict().items()}
    weight = state["1.weight"] * (state["0.running_var"] + nn.BatchNorm1d(1).eps).rsqrt()
    return weight, state["1.bias"] - weight @ state["0.running_mean"]
