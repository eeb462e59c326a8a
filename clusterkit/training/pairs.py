"""Pairs of images for the Siamese model: same class or not, never an image with itself."""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from clusterkit.models.heads import pair_features

# Images among which all pairs are taken. Pairs grow with its square: a block of 32 gives 992.
_BLOCK = 32


def draw_pairs(
    labels: torch.Tensor, count: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw pairs of different images: (first, second, same class), each (count,).

    `labels` are whole numbers from 0 on, each of which occurs; there are two images or more.

    The first is any image. Its partner is of the same class with probability 0.5 (never, where
    the class has one image; always, where there is one class), else of a class drawn evenly
    from the others, so that a common class is not the partner of nearly all.
    """
    sizes = torch.bincount(labels)
    # Rows sorted by class, and where in them each class begins and each row stands.
    order = torch.argsort(labels, stable=True)
    starts, place = sizes.cumsum(0) - sizes, torch.argsort(order)
    first = torch.randint(len(labels), (count,), generator=generator)
    label = labels[first]
    same = torch.rand(count, generator=generator) < 0.5
    same = (same | (len(sizes) == 1)) & (sizes[label] > 1)
    # Another class: one of the K − 1 that are left, counted past the own.
    other = (torch.rand(count, generator=generator) * (len(sizes) - 1)).long()
    other = other + (other >= label)
    partner = torch.where(same, label, other.clamp_max(len(sizes) - 1))
    # Of the own class one place fewer is open: the image's own is stepped over.
    open_places = sizes[partner] - same.long()
    step = (torch.rand(count, generator=generator) * open_places).long()
    step = step + (same & (step >= place[first] - starts[label]))
    return first, order[starts[partner] + step], same


def mixed_batches(labels: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Deal rows into batches that hold pairs of one class and pairs of two.

    Rows of a class come in twos, in random order, so that most images meet one of their class
    however many classes there are. A batch that still lacks a kind of pair gets it in place of
    its last rows: a rare class is then seen more often than it occurs.

    Parameters
    ----------
    labels : (N,) int
    size : int ≥ 3
        Images a batch, at most N.
    rng : numpy Generator

    Returns
    -------
    (N // size, size) int: no row twice in a batch. Both kinds of pairs are in each wherever
    `labels` has two classes, one of them with two images.
    """
    chunks = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        chunks += [rows[i : i + 2] for i in range(0, len(rows), 2)]
    order = np.concatenate([chunks[i] for i in rng.permutation(len(chunks))])
    count = len(order) // size
    batches = order[: count * size].reshape(count, size)
    for batch in batches:
        _mend(batch, labels, rng)
    return batches


def _mend(batch: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> None:
    """Replace the last rows of a batch (B,) by a pair of the kind that it lacks."""
    classes, counts = np.unique(labels[batch], return_counts=True)
    if len(classes) == 1:
        others = np.flatnonzero(labels != classes[0])
        if len(others):
            batch[-1] = rng.choice(others)
    elif counts.max() == 1:
        sizes = np.bincount(labels)
        with_mates = np.flatnonzero(sizes[labels[batch[:-1]]] > 1)
        if len(with_mates):
            row = batch[with_mates[0]]
            mates = np.flatnonzero(labels == labels[row])
            batch[-1] = rng.choice(mates[mates != row])
        elif sizes.max() > 1:
            label = rng.choice(np.flatnonzero(sizes > 1))
            batch[-2:] = rng.choice(np.flatnonzero(labels == label), 2, replace=False)


def all_pairs(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (first, second), (P,) int each: all ordered pairs of `count` images.

    Of more than 32 images, all pairs within each run of 32.

    >>> [p.tolist() for p in all_pairs(3)]
    [[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]]
    """
    block = torch.arange(count) // _BLOCK
    near = (block[:, None] == block) & ~torch.eye(count, dtype=torch.bool)
    first, second = near.nonzero(as_tuple=True)
    return first, second


def pair_weights(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (same class, weight), (P,) each, of `all_pairs` of a batch with labels (B,).

    Each image is equally often the first, and of either kind each partner weighs what
    `draw_pairs` makes it likely, within the batch; either kind counts half in all (all, where
    the other kind is missing). They sum to 1: the loss is the expectation of what drawn pairs
    would give, without their noise.
    """
    first, second = (side.to(labels.device) for side in all_pairs(len(labels)))
    same = labels[first] == labels[second]
    # How many partners of the second's class the first has to choose from.
    keys = first * (int(labels.max()) + 1) + labels[second]
    _, place, counts = torch.unique(keys, return_inverse=True, return_counts=True)
    weights = 1.0 / counts[place]
    # The other classes are drawn evenly: as many as the first meets.
    met = torch.zeros(len(labels), device=labels.device).index_add_(0, first[~same], weights[~same])
    weights[~same] /= met[first[~same]]
    for kind in (same, ~same):
        if kind.any():
            weights[kind] /= weights[kind].sum() * (1 if kind.all() else 2)
    return same, weights


def join_all(features: torch.Tensor) -> torch.Tensor:
    """Return the Siamese head's input (P, 4C): `all_pairs` of features (B, 2C)."""
    first, second = (side.to(features.device) for side in all_pairs(len(features)))
    return pair_features(features[first], features[second])


class AllPairsLoss(nn.Module):
    """Binary cross-entropy of the logits (P, 1) of `all_pairs`, weighted by `pair_weights`."""

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar, of a batch with labels (B,)."""
        # A GPU would be waited for at each of its small steps, and add up in any order.
        same, weights = (part.to(logits.device) for part in pair_weights(labels.cpu()))
        return binary_cross_entropy_with_logits(
            logits[:, 0], same.float(), weights.to(logits.dtype), reduction="sum"
        )
