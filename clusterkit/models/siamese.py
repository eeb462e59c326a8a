"""Factored Siamese head: one projection per image, 512 multiply-adds per pair."""

from dataclasses import dataclass

import torch
from torch import nn

# Floats that one block of pairs may hold (64 MB in float32).
BLOCK = 16_000_000


@dataclass(frozen=True)
class FactoredSiamese:
    """`head(pair_features(a, b))` at inference as ``w · relu(U·a + V·b + c) + b``.

    BatchNorm acts channel by channel and the first Linear sums over channels, so both fold
    into one matrix per image of a pair. Exact up to floating-point rounding.

    Attributes
    ----------
    first, second : Tensor (D, H)
        U and V transposed: the projections of the first and the second image of a pair.
    shift : Tensor (H,)
        c: the constant of the hidden layer.
    weight : Tensor (H,)
        w: the last layer, with the second BatchNorm folded in.
    bias : float
        b: the constant of the logit.
    """

    first: torch.Tensor
    second: torch.Tensor
    shift: torch.Tensor
    weight: torch.Tensor
    bias: float

    @classmethod
    def from_head(cls, head: nn.Sequential) -> "FactoredSiamese":
        """Factored form of a head made by `create_head(2D, 1)`.

        Raises
        ------
        TypeError
            The head has other layers.
        """
        norm1, _, linear1, _, norm2, _, linear2 = (m.cpu() for m in head)
        if not (isinstance(norm1, nn.BatchNorm1d) and isinstance(norm2, nn.BatchNorm1d)):
            raise TypeError(f"not a head of create_head: {head}")
        if not (isinstance(linear1, nn.Linear) and isinstance(linear2, nn.Linear)):
            raise TypeError(f"not a head of create_head: {head}")
        with torch.no_grad():
            scale1, shift1 = _affine(norm1)
            scale2, shift2 = _affine(norm2)
            out = linear2.weight.double()[0]
            # As `pair_features` joins them: D may be odd where features are given.
            size = linear1.in_features // 2
            parts = [size // 2] * 2 + [size - size // 2] * 2
            shift = torch.zeros(linear1.out_features, dtype=torch.float64)
            scaled = []
            # Part by part: all weights in float64, twice, would be the largest thing of a fit.
            for weight, scale, constant in zip(
                linear1.weight.split(parts, 1),
                scale1.split(parts),
                shift1.split(parts),
                strict=True,
            ):
                precise = weight.double()
                shift += precise @ constant
                scaled.append((precise * scale).float().T)
            max_a, max_b, mean_a, mean_b = scaled
            return cls(
                first=torch.cat([max_a, mean_a]).contiguous(),
                second=torch.cat([max_b, mean_b]).contiguous(),
                shift=shift.float(),
                weight=(out * scale2).float(),
                bias=float(out @ shift2),
            )

    def project(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Projections (u, v), each (N, H), of features (N, D): all that a pair needs."""
        return features @ self.first + self.shift, features @ self.second

    def logits(
        self,
        queries: tuple[torch.Tensor, torch.Tensor],
        exemplars: tuple[torch.Tensor, torch.Tensor],
    ) -> torch.Tensor:
        """Return symmetric logits (Q, E): the mean over both orders of each pair.

        Parameters
        ----------
        queries, exemplars : (u, v) from `project`, (Q, H) and (E, H) each.
        """
        (query_u, query_v), (exemplar_u, exemplar_v) = queries, exemplars
        result = torch.empty(len(query_u), len(exemplar_u))
        width = max(1, BLOCK // max(1, len(query_u) * query_u.shape[1]))
        for start in range(0, len(exemplar_u), width):
            part = slice(start, start + width)
            forward = torch.relu(query_u[:, None] + exemplar_v[None, part]) @ self.weight
            backward = torch.relu(exemplar_u[None, part] + query_v[:, None]) @ self.weight
            result[:, part] = (forward + backward) / 2 + self.bias
        return result


def _affine(norm: nn.BatchNorm1d) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift with norm(x) = scale·x + shift at inference, in float64."""
    mean, var = norm.running_mean, norm.running_var
    if mean is None or var is None:
        raise TypeError("a BatchNorm that keeps no running statistics cannot be folded")
    scale = norm.weight.double() / torch.sqrt(var.double() + norm.eps)
    return scale, norm.bias.double() - scale * mean.double()
