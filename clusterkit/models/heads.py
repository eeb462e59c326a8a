"""Heads over pooled features, as fastai builds them: the classifier's and the Siamese model's."""

import torch
from torch import nn

HIDDEN = 512


def pool(maps: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
    """Pool encoder maps, (B, C_d, h, w) for each depth, to features (B, 2C): maxima, then means.

    C is the sum of all C_d. For one depth the order is that of fastai's `AdaptiveConcatPool2d`.
    Maps of any precision are summed in float32, and features are float32.
    """
    maps = [maps] if torch.is_tensor(maps) else maps
    means = [m.mean((2, 3), dtype=torch.float32) for m in maps]
    return torch.cat([m.amax((2, 3)).float() for m in maps] + means, dim=1)


def create_head(n_in: int, n_out: int, ps: float = 0.5) -> nn.Sequential:
    """Build fastai's `create_head` without its pooling: (B, n_in) → (B, n_out) logits.

    BatchNorm → Dropout(ps/2) → Linear → ReLU → BatchNorm → Dropout(ps) → Linear, the two
    Linear layers without a bias.

    Parameters
    ----------
    n_in : int
        Pooled features: twice the channels.
    n_out : int
        Logits.
    ps : float in [0, 1)
        Dropout before the last layer; half of it before the first.
    """
    head = nn.Sequential(
        nn.BatchNorm1d(n_in),
        nn.Dropout(ps / 2),
        nn.Linear(n_in, HIDDEN, bias=False),
        nn.ReLU(inplace=True),
        nn.BatchNorm1d(HIDDEN),
        nn.Dropout(ps),
        nn.Linear(HIDDEN, n_out, bias=False),
    )
    for layer in head:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    return head


def create_linear_head(n_in: int, n_out: int) -> nn.Sequential:
    """Build standardisation and one Linear layer: (B, n_in) → (B, n_out) logits."""
    return nn.Sequential(nn.BatchNorm1d(n_in, affine=False), nn.Linear(n_in, n_out))


HEADS = {"mlp": create_head, "linear": create_linear_head}


def pair_features(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Join two images' pooled features, (B, D) each, as pooling their joined maps would.

    Pooling `torch.cat([maps_a, maps_b], dim=1)` gives [max a, max b, mean a, mean b]. Features of
    another origin are joined alike, cut after D // 2 numbers.

    >>> a, b = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    >>> bool((pair_features(pool(a), pool(b)) == pool(torch.cat([a, b], 1))).all())
    True
    """
    channels = first.shape[1] // 2
    return torch.cat(
        [first[:, :channels], second[:, :channels], first[:, channels:], second[:, channels:]],
        dim=1,
    )


class Classifier(nn.Module):
    """Encoder, pooling, head: (B, 3, H, W) normalised RGB → (B, K) logits."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return class logits (B, K)."""
        return self.head(pool(self.encoder(images)))


class SiameseModel(nn.Module):
    """One encoder for both images and a head over both, as in "Image Similarity Finder".

    Forward takes two batches (B, 3, H, W) and returns logits (B, 1); the sigmoid is the
    probability that the two show the same class. It is not symmetric in its arguments.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Return logits (B, 1)."""
        return self.head(pair_features(pool(self.encoder(first)), pool(self.encoder(second))))
