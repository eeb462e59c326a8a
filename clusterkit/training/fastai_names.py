"""What is used of fastai: the one place that imports it, and that keeps its warnings in.

Importing fastai tells whoever does so of PyTorch's and pandas' deprecations, which nobody but
fastai can act on.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# What they set up on being imported for themselves stays set up.
import pandas as pd  # noqa: F401
import torch  # noqa: F401

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastai.callback.channelslast import ChannelsLast
    from fastai.callback.fp16 import MixedPrecision
    from fastai.callback.schedule import Learner  # importing it adds fit_one_cycle
    from fastai.torch_core import set_seed
    from fastai.vision.all import (
        Callback,
        CancelFitException,
        CancelValidException,
        DataLoaders,
        IntToFloatTensor,
        L,
        LabelSmoothingCrossEntropyFlat,
        Normalize,
        TensorImage,
        TfmdDL,
        aug_transforms,
        params,
    )

__all__ = [
    "Callback",
    "CancelFitException",
    "CancelValidException",
    "ChannelsLast",
    "DataLoaders",
    "IntToFloatTensor",
    "L",
    "LabelSmoothingCrossEntropyFlat",
    "Learner",
    "MixedPrecision",
    "Normalize",
    "TensorImage",
    "TfmdDL",
    "aug_transforms",
    "fastai_quiet",
    "params",
    "set_seed",
]


@contextmanager
def fastai_quiet() -> Iterator[None]:
    """Leave out what fastai, and PyTorch under it, warn of while they train.

    The filters of whoever calls are as they were afterwards. Not in several threads at once:
    Python has one list of filters.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(fastai|fastcore|torch|torchvision)\b")
        yield
