"""The record of a fit: what run.json says of it, and the gallery that a run keeps."""

import datetime as dt
import os
import platform
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

import clusterkit
from clusterkit.config import Config
from clusterkit.data.labelled import Labelled
from clusterkit.data.pseudonyms import key_fingerprint
from clusterkit.encoders.torchvision import Backbone
from clusterkit.formats.run import FORMAT
from clusterkit.methods.novelty import NoveltyModel
from clusterkit.reviewing import Applied

if TYPE_CHECKING:
    from clusterkit.training.crossfit import Learned


def review_record(applied: Applied, path: Path) -> dict:
    """What the run keeps of its reviews, with how many labels came from where."""
    if not applied.summary:
        return {}
    counts = applied.manifest["provenance"].dropna().str.partition(":")[0].value_counts()
    against = [a and os.path.relpath(a, path) for a in applied.summary["against"]]
    provenance = {k: int(v) for k, v in sorted(counts.items())}
    return applied.summary | {"against": against, "provenance": provenance}


def gallery_tensors(
    learned: "Learned", appearance: np.ndarray, signatures: np.ndarray
) -> dict[str, torch.Tensor]:
    scorer = learned.scorer
    novelty = NoveltyModel.of(learned.embeddings.siamese, appearance, scorer.gallery.labels)
    tensors = {
        "features": learned.embeddings.siamese.contiguous(),
        "signatures": torch.from_numpy(signatures),
        "exemplar": torch.from_numpy(scorer.gallery.exemplars.astype(np.uint8)),
        "centre": scorer.reduction.centre,
        "projection": scorer.reduction.projection,
    }
    tensors |= {f"novelty.{name}": values for name, values in novelty.to_tensors().items()}
    if scorer.neighbours is not None:
        for name, values in vars(scorer.neighbours).items():
            tensors[f"neighbours.{name}"] = torch.from_numpy(values)
    return tensors


def run_info(
    source: Path, path: Path, config: Config, data: Labelled, backbone: Backbone, extra: dict
) -> dict:
    counts = data.rows["label"].value_counts()
    saved = config.to_dict()
    # No absolute path goes into a run: it may be handed to a stranger.
    saved["data"] |= {"source": None, "images": None, "unlabeled": None, "key_file": None}
    # What is kept of headers is asked for anew by whoever uses the run.
    saved["data"] |= {"keep_tags": [], "label_tag": None}
    if saved["model"]["weights"] not in ("auto", "none"):
        saved["model"]["weights"] = backbone.weights
    return {
        "format": FORMAT,
        "id": uuid.uuid4().hex[:16],
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "versions": {
            "clusterkit": clusterkit.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "config": saved,
        "classes": data.classes,
        "backbone": backbone.name,
        "weights": backbone.weights,
        "encoder": "separate"
        if config.model.encoder == "separate" and extra["strategy"] == "finetune"
        else "shared",
        "classifier_head": "linear" if extra["strategy"] == "head" else "mlp",
        "size": config.image.size,
        "seed": config.seed,
        "data": {
            "root": extra["roots"][0],
            # Where else reviewed images are, tried in this order.
            "roots": extra.pop("roots"),
            "images": len(data.rows),
            "patient_key": key_fingerprint(data.rows["group"], config.data.key_file),
            "unlabelled": extra.pop("unlabelled"),
            "units": int(data.units.max()) + 1,
            # Patients may have images of several classes; then they are never split between folds.
            "units_of_several_classes": int(
                (pd.Series(data.labels).groupby(data.units).nunique() > 1).sum()
            ),
            "by_class": {c: int(counts[c]) for c in data.classes},
        },
        **extra,
    }
