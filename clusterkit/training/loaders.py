"""fastai's batches of labelled images, for fine-tuning."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from clusterkit.config import Config
from clusterkit.encoders.encoder import EncoderInput
from clusterkit.training.fastai_names import DataLoaders, TensorImage, TfmdDL
from clusterkit.training.pairs import mixed_batches
from clusterkit.training.process_group import current_group
from clusterkit.training.shared_statistics import part_of_batch
from clusterkit.training.shared_training import check_batch_size
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

    def without_pictures(self) -> "TrainingSplit":
        """Return it for a process that has the images already, and no use for features."""
        features = None if self.features is None else self.features[:, :0]
        return replace(self, images=self.images[:0], features=features)


class _ImageDataset:
    """A dataset of images and their labels; `split_idx` is fastai's: 0 is augmented, 1 is not."""

    def __init__(self, data: TrainingSplit, rows: np.ndarray, split_idx: int) -> None:
        self.images, self.rows, self.split_idx = data.images, rows, split_idx
        self.labels = torch.as_tensor(data.labels[rows])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[TensorImage, torch.Tensor]:
        return tensor_image(self.images[self.rows[index]]), self.labels[index]


class _PartLoader(TfmdDL):
    """Batches in rank 0's order: a process has its part of the images, and all labels."""

    def get_idxs(self) -> list[int]:
        return current_group().broadcast(list(super().get_idxs()))

    def create_batch(
        self, samples: list[tuple[TensorImage, torch.Tensor]]
    ) -> tuple[TensorImage, torch.Tensor]:
        # fastai looks at a batch of one image first.
        own = samples[part_of_batch(len(samples))] or samples[:1]
        images, _ = super().create_batch(own)
        return images, torch.stack([label for _, label in samples])


class _MixedLoader(_PartLoader):
    """Batches dealt by `mixed_batches` anew each epoch."""

    def shuffle_fn(self, _: list[int]) -> list[int]:
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        return mixed_batches(self.dataset.labels.numpy(), self.bs, rng).ravel().tolist()


def create_loaders(
    data: TrainingSplit, config: Config, pairs: bool, expects: EncoderInput
) -> DataLoaders:
    """Return fastai's loaders of the training and the validation images.

    Of several processes each has its part of every batch, and of the validation images.

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
    check_batch_size(size)
    make, valid = _MixedLoader if pairs else _PartLoader, data.valid[part_of_batch(len(data.valid))]
    return DataLoaders(
        make(_ImageDataset(data, data.train, 0), bs=size, shuffle=True, drop_last=True, **common),
        TfmdDL(_ImageDataset(data, valid, 1), bs=config.train.batch_size, **common),
    )
