"""A batch that is divided among processes is one batch: to BatchNorm, and to the head.

`torch.nn.SyncBatchNorm` knows GPUs alone, and is put in the place of layers that may do more than
normalise, as timm's do. This catches the normalising itself, whatever layer asks for it.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from clusterkit.training.process_group import current_group


def shared_statistics() -> AbstractContextManager[Any]:
    """Return the context in which BatchNorm learns from the parts that all processes have."""
    return nullcontext() if current_group().size == 1 else _SharedStatistics()


def gathered(features: torch.Tensor) -> torch.Tensor:
    """Return the features (B, D) of all processes, of which this one has (b, D).

    Gradients come back from all. The parts are those of `part_of_batch`.
    """
    return features if current_group().size == 1 else _Gathered.apply(features)


def part_of_batch(size: int) -> slice:
    """Return which of a batch's images are this process's: parts differ by one at most."""
    group = current_group()
    whole, more = divmod(size, group.size)
    start = group.rank * whole + min(group.rank, more)
    return slice(start, start + whole + (group.rank < more))


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: torch.Tensor) -> torch.Tensor:
        count = torch.tensor([len(features)], device=features.device)
        dist.all_reduce(count)
        ctx.own = part_of_batch(int(count))
        whole = features.new_zeros(int(count), features.shape[1])
        whole[ctx.own] = features
        # Adding zeros changes no number, and parts may differ in length.
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient[ctx.own]


class _SharedStatistics(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.batch_norm:
            return _batch_norm(*args, **kwargs)
        return func(*args, **kwargs)


def _batch_norm(
    images: torch.Tensor,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    """`torch.nn.functional.batch_norm`, with the statistics of all processes in training."""
    if not training:
        return functional.batch_norm(
            images, running_mean, running_var, weight, bias, training, momentum, eps
        )
    normal, mean, var, count = _Normalised.apply(images, eps)
    with torch.no_grad():
        if running_mean is not None and running_var is not None:
            unbiased = var * (count / (count - 1).clamp_min(1))
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    shape = _shape(images)
    if weight is not None:
        normal = normal * weight.view(shape)
    if bias is not None:
        normal = normal + bias.view(shape)
    return normal.to(images.dtype)


class _Normalised(torch.autograd.Function):
    """Channels (b, C, …) of mean 0 and variance 1 over all processes' parts (arXiv 1502.03167)."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, eps: float) -> tuple[torch.Tensor, ...]:
        over, shape = _over(images), _shape(images)
        count = images.numel() // images.shape[1]
        total = _sum_of_all(images.sum(over, dtype=torch.float32), count)
        count_of_all = total[-1]
        mean = total[:-1] / count_of_all
        centred = images.float() - mean.view(shape)
        var = _sum_of_all(centred.square().sum(over), 0)[:-1] / count_of_all
        scale = (var + eps).rsqrt()
        normal = centred * scale.view(shape)
        ctx.save_for_backward(normal, scale, count_of_all)
        ctx.dtype = images.dtype
        ctx.mark_non_differentiable(mean, var, count_of_all)
        return normal, mean, var, count_of_all

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, *_: Any) -> tuple[torch.Tensor, None]:
        normal, scale, count = ctx.saved_tensors
        over, shape = _over(normal), _shape(normal)
        sums = torch.stack([gradient.sum(over), (gradient * normal).sum(over)])
        dist.all_reduce(sums)
        of_mean, of_scale = (sums / count).unbind()
        found = gradient - of_mean.view(shape) - normal * of_scale.view(shape)
        return (found * scale.view(shape)).to(ctx.dtype), None


def _sum_of_all(sums: torch.Tensor, count: int) -> torch.Tensor:
    """Return sums (C,) and a count, (C + 1,), over all processes."""
    joined = torch.cat([sums.float(), sums.new_tensor([count], dtype=torch.float32)])
    dist.all_reduce(joined)
    return joined


def _over(images: torch.Tensor) -> list[int]:
    return [0, *range(2, images.dim())]


def _shape(images: torch.Tensor) -> list[int]:
    return [1, -1, *[1] * (images.dim() - 2)]
