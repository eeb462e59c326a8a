"""fastai's batches of labelled images, for fine-tuning."""

from dataclasses import dataclass

import numpy as np
import torch

from clusterkit.config import Config
from clusterkit.encoders.encoder import EncoderInput
from clusterkit.training.fastai_names import DataLoaders, TensorImage, TfmdDL
from clusterkit.training.pairs import mixed_batches
from clusterkit.training.transforms import batch_transforms, tensor_image


@dataclass(frozen=True)
class TrainingSplit:
    """Labelled images, those that train, and those that validate.

    Attributes
    ----------
    images : (N, S, S, 3) uint8
    labels : (N,) int
    train, valid : (n,) int
        Rows of each part; `valid` may be empty.
    early_stopping : bool
        Whether the validation loss chooses the epoch: see `stopping.keep_back`.
    features : (V, N, D) float Tensor or None
        Of the pretrained encoder; None: it has random weights.
    """

    images: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    valid: np.ndarray
    early_stopping: bool = False
    features: torch.Tensor | None = None


class _ImageDataset:
    """A dataset of images and their labels; `split_idx` is fastai's: 0 is augmented, 1 is not."""

    def __init__(self, data: TrainingSplit, rows: np.ndarray, split_idx: int) -> None:
        self.images, self.rows, self.split_idx = data.images, rows, split_idx
        self.labels = torch.as_tensor(data.labels[rows])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[TensorImage, torch.Tensor]:
        return tensor_image(self.images[self.rows[index]]), self.labels[index]


class _MixedLoader(TfmdDL):
    """Batches dealt by `mixed_batches` anew each epoch."""

    def get_idxs(self) -> list[int]:
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        return mixed_batches(self.dataset.labels.numpy(), self.bs, rng).ravel().tolist()


def create_loaders(
    data: TrainingSplit, config: Config, pairs: bool, expects: EncoderInput
) -> DataLoaders:
    """Return fastai's loaders of the training and the validation images.

    Parameters
    ----------
    data : TrainingSplit
    config : Config
    pairs : bool
        Whether training batches must hold pairs of one class and pairs of two.
    expects : EncoderInput
        Of the encoder that is trained.
    """
    # At least two whole batches, and none of one image: BatchNorm cannot learn from it.
    # Pairs of both kinds take three.
    least = min(3 if pairs else 2, len(data.train))
    size = max(least, min(config.train.batch_size, len(data.train) // 2))
    common = {
        "num_workers": 0,
        "device": torch.device(config.device),
        "after_batch": batch_transforms(config.augment, data.images.shape[1], expects),
    }
    make = _MixedLoader if pairs else TfmdDL
    return DataLoaders(
        make(
            _ImageDataset(data, data.train, 0), bs=size, shuffle=not pairs, drop_last=True, **common
        ),
        TfmdDL(_ImageDataset(data, data.valid, 1), bs=config.train.batch_size, **common),
    )
