"""The record of a fit: what run.json says of it, and the gallery that a run keeps."""

import datetime as dt
import platform
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

import clusterkit
from clusterkit.config import Config
from clusterkit.data.labelled import Labelled
from clusterkit.data.pseudonyms import key_fingerprint
from clusterkit.data.splits import units_of
from clusterkit.data.written_names import relative_folder
from clusterkit.encoders.backbone import Backbone
from clusterkit.formats.run_info import FORMAT, DataSummary, RunInfo, TrainingDecisions
from clusterkit.inference.fold_models import PART
from clusterkit.methods.novelty import NoveltyModel
from clusterkit.reviewing import Applied

if TYPE_CHECKING:
    from clusterkit.training.crossfit import Learned


def review_record(applied: Applied, path: Path) -> dict[str, Any]:
    """Return the summary of the reviews that a run keeps, with the origin of its labels."""
    if not applied.summary:
        return {}
    counts = applied.manifest["provenance"].dropna().str.partition(":")[0].value_counts()
    against = [a and relative_folder(Path(a), path) for a in applied.summary["against"]]
    provenance = {k: int(v) for k, v in sorted(counts.items())}
    return applied.summary | {"against": against, "provenance": provenance}


def gallery_tensors(
    learned: "Learned", appearance: np.ndarray, signatures: np.ndarray
) -> dict[str, torch.Tensor]:
    """Return the tensors that a run keeps of its labelled images; see `Run.gallery`."""
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
    if learned.fold_models is not None:
        of_folds = learned.fold_models.to_tensors()
        tensors |= {f"{PART}.{name}": values for name, values in of_folds.items()}
    if scorer.neighbours is not None:
        for name, values in vars(scorer.neighbours).items():
            tensors[f"neighbours.{name}"] = torch.from_numpy(values)
    return tensors


def run_info(
    source: Path,
    path: Path,
    config: Config,
    data: Labelled,
    backbone: Backbone,
    extra: dict[str, Any],
) -> RunInfo:
    """Return what `run.json` will hold.

    Parameters
    ----------
    source : Path
        Not kept: it is a path of this machine.
    path : Path
        Where the run will be.
    config : Config
        As the caller gave it.
    data : Labelled
    backbone : Backbone
    extra : dict
        strategy, strategy_reason, folds, decisions, precision, metrics, reviews; and of the data
        roots, link_roots, unlabelled, left_out and renamed.
    """
    strategy = extra["strategy"]
    separate = config.model.encoder == "separate" and strategy == "finetune"
    return RunInfo(
        format=FORMAT,
        id=uuid.uuid4().hex[:16],
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        versions={
            "clusterkit": clusterkit.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
        config=_saved(config, backbone),
        classes=data.classes,
        backbone=backbone.name,
        weights=backbone.weights,
        network=backbone.record.to_dict(),
        encoder="separate" if separate else "shared",
        classifier_head="linear" if strategy == "head" else "mlp",
        size=config.image.pixels,
        seed=config.seed,
        data=_data_summary(data, config, extra),
        strategy=strategy,
        strategy_reason=extra["strategy_reason"],
        folds=extra["folds"],
        decisions=TrainingDecisions(**extra["decisions"]),
        precision=extra["precision"],
        metrics=extra["metrics"],
        reviews=extra["reviews"],
    )


def _saved(config: Config, backbone: Backbone) -> dict[str, Any]:
    """Return the settings without what is of one machine or of one call."""
    saved = config.to_dict()
    # No absolute path goes into a run: it may be handed to a stranger.
    saved["data"] |= {"source": None, "images": None, "unlabeled": None, "key_file": None,
                      "label_map": None}  # fmt: skip
    # Whoever uses the run says anew which elements of headers are kept.
    saved["data"] |= {"keep_tags": [], "label_tag": None}
    # What links may lead to is said anew for other images.
    saved["data"] |= {"follow_links": False, "link_roots": [], "split_folders": None}
    # An address may hold a password.
    saved["train"]["mlflow"] = None
    if saved["model"]["weights"] not in ("auto", "none"):
        saved["model"]["weights"] = backbone.weights
    return saved


def _data_summary(data: Labelled, config: Config, extra: dict[str, Any]) -> DataSummary:
    counts, units = data.rows["label"].value_counts(), units_of(data.rows)
    # Patients may have images of several classes; then they are never split between folds.
    mixed = (pd.Series(data.labels).groupby(units).nunique() > 1).sum()
    return DataSummary(
        root=extra["roots"][0],
        # Where else reviewed images are, tried in this order.
        roots=extra["roots"],
        images=len(data.rows),
        patient_key=key_fingerprint(data.rows["group"], config.data.key_file),
        unlabelled=extra["unlabelled"],
        units=int(units.max()) + 1,
        units_of_several_classes=int(mixed),
        by_class={c: int(counts[c]) for c in data.classes},
        groups=int(data.rows["group"].nunique()),
        renamed=extra["renamed"],
        left_out=extra["left_out"],
        link_roots=extra["link_roots"],
        without_pictures=data.without_pictures,
    )
