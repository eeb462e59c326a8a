"""What decides the outcome of a fit: one that was interrupted is gone on with where it is alike."""

import hashlib
import importlib.metadata
from typing import Any

import pandas as pd
import torch

import clusterkit
from clusterkit.config import Config
from clusterkit.data.features.table import FeatureTable
from clusterkit.encoders.backbone import Backbone
from clusterkit.encoders.checksums import sha256_of_tensors
from clusterkit.formats.csv_text import table_text
from clusterkit.models.networks import processor_of

# Counts up with what a journal keeps and with how it is computed.
_KEPT = 1

# What numbers depend on to the last digit.
_PACKAGES = ("torch", "torchvision", "timm", "fastai", "numpy", "scipy", "scikit-learn")


def fit_key(
    manifest: pd.DataFrame, config: Config, backbone: Backbone, table: FeatureTable | None
) -> dict[str, Any]:
    """Return plain values that are the same for two fits only if these learn the same.

    Parameters
    ----------
    manifest : DataFrame
        With reviews put into it; where images are on this machine does not matter.
    config : Config
        With a device that is there.
    backbone : Backbone
        With the weights that training starts from.
    table : FeatureTable or None
    """
    settings, device = config.to_dict(), torch.device(config.device)
    # They say where files are; what is in them is in the manifest, and in the weights.
    settings["data"] |= {"source": None, "images": None, "unlabeled": None}
    del settings["train"]["mlflow"]
    return {
        "kept": _KEPT,
        "clusterkit": clusterkit.__version__,
        "packages": {name: _version(name) for name in _PACKAGES},
        "images": _digest_of_rows(manifest.drop(columns="path", errors="ignore")),
        "settings": settings,
        "encoder": backbone.record.to_dict(),
        "weights": sha256_of_tensors(backbone.encoder.state_dict()).hexdigest(),
        "features": [] if table is None else table.files,
        "device": [device.type, processor_of(device), str(torch.version.cuda)],
        # Sums are rounded in the order in which threads share them.
        "threads": torch.get_num_threads(),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _digest_of_rows(manifest: pd.DataFrame) -> str:
    text = table_text(manifest)
    # The name of a file may be no text.
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
