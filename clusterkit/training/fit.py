"""`fit`: from labelled images to a run."""

import datetime as dt
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from clusterkit.config import Config, DataConfig, override
from clusterkit.data.appearance import measure_appearance
from clusterkit.data.contents import files_of
from clusterkit.data.duplicates.index import match
from clusterkit.data.labelled import Labelled, load_labelled
from clusterkit.data.loading import ImageRef, image_refs, read_signatures
from clusterkit.data.manifest import check_labels, data_root, default_source, read_manifest
from clusterkit.encoders.torchvision import load_backbone
from clusterkit.errors import RunError
from clusterkit.formats.run import Run
from clusterkit.methods.calibration import Calibration, clearly_likelier
from clusterkit.models.forward import FLOAT32, quick_precision
from clusterkit.models.networks import choose_device
from clusterkit.progress import Progress, silent
from clusterkit.reviewing import apply_reviews
from clusterkit.training.run_record import gallery_tensors, review_record, run_info

if TYPE_CHECKING:
    from clusterkit.training.crossfit import Learned

log = logging.getLogger("clusterkit")


# Held-out groups (or images) below which their record is said to be thin.
_FEW = 10


def fit(
    source: Path | str | None = None,
    *,
    config: Config | None = None,
    run: Path | str | None = None,
    reviews: Sequence[Path | str] = (),
    progress: Progress | None = None,
) -> Run:
    """Learn a classifier and a Siamese model from labelled images, and write a run.

    Parameters
    ----------
    source : path or None
        A folder with one subfolder a class, a CSV with columns image and label, or a folder
        whose file names hold labels (`config.data.label_pattern`).
    config : Config or None
    run : path or None
        Where to write; None: a new folder under ``runs/``.
    reviews : sequence of path
        Reviews files (DESIGN §6), whose verdicts become labels; later files win. Each is about
        the assignments.csv beside it, or else that of the newest run under ``runs/``.
    progress : callable or None
        Called with (stage, done, total).

    Returns
    -------
    Run, as it was written.

    Raises
    ------
    ClusterkitError
        The data, configuration or weights cannot be used; nothing is written then.
    """
    from clusterkit.training.crossfit import held_out_folds, learn
    from clusterkit.training.head_start import StartFeatures
    from clusterkit.training.learners import History
    from clusterkit.training.trainer import Trainer, choose_strategy

    asked = config or Config()
    config = override(asked, device=str(choose_device(asked.device)))
    path = _free_path(run)
    report = progress or silent
    source = Path(source or config.data.source or default_source())
    if isinstance(reviews, str | Path):
        reviews = [reviews]
    root, elsewhere = data_root(source, config.data), config.data.unlabeled
    applied = apply_reviews(
        read_manifest(source, config, report), list(reviews), root,
        elsewhere and data_root(Path(elsewhere), DataConfig()),
    )  # fmt: skip
    manifest = applied.manifest
    check_labels(manifest, config.data.max_classes)
    data = load_labelled(manifest, config, report)
    # Random weights are part of the result, so the seed has to stand before them.
    torch.manual_seed(config.seed)
    backbone = load_backbone(config.model.backbone, config.model.weights)
    strategy, why = choose_strategy(config, backbone, len(data.labels))
    log.info("strategy %s: %s", strategy, why)
    pool = _choose_pool(manifest, data, config)
    appearance = measure_appearance(data.images)
    start = StartFeatures(
        backbone.encoder, data.images, config.device,
        lambda done, total: report("embed", done, total),
    )  # fmt: skip

    def taught(how: str, precision: str) -> _Taught:
        folds, n_folds = held_out_folds(data, config, how)
        trainer = Trainer(data, pool, config, backbone, how, History(), report, start, precision)
        trainer.prepare(folds)
        learned = learn(data, appearance, trainer, folds, config, report)
        if config.model.precision == "auto" and not learned.calibration.precision.agrees:
            log.info("too much hangs on the rounding of %s: float32 is used", precision)
            return taught(how, FLOAT32)
        return _Taught(learned, folds, n_folds, trainer.history.rows)

    precision = config.model.precision
    precision = quick_precision(config.device) if precision == "auto" else precision
    best = taught(strategy, precision)
    if strategy == "finetune" and backbone.pretrained:
        frozen = taught("head", precision)
        if not clearly_likelier(best.learned.calibration, frozen.learned.calibration):
            best, strategy = frozen, "head"
            why = "fine-tuning was tried, and held-out images were not clearly likelier with it"
            log.warning("%s: heads on frozen features are used", why)
    learned, folds, n_folds = best.learned, best.folds, best.n_folds
    calibration = learned.calibration
    _say_if_few(calibration)
    data.rows["split"] = np.where(folds >= 0, "valid", "train") if n_folds == 1 else "train"
    info = {
        "strategy": strategy,
        "strategy_reason": why,
        "folds": n_folds,
        "decisions": learned.decisions,
        "precision": calibration.precision.to_dict(),
        "metrics": calibration.metrics(config.assign.confidence),
        "unlabelled": int(manifest["label"].isna().sum()),
        "roots": [os.path.relpath(r, path) for r in [root, *applied.roots]],
        "reviews": review_record(applied, path),
    }
    result = Run(
        path=path,
        info=run_info(source, path, asked, data, backbone, info),
        config=asked,
        networks=learned.scorer.networks.to("cpu"),
        manifest=data.rows.reset_index(drop=True),
        gallery=gallery_tensors(learned, appearance, data.signatures),
        calibration=calibration.to_dict(),
        history=pd.DataFrame(best.history),
    )
    result.save()
    return result


@dataclass(frozen=True)
class _Taught:
    """What one strategy learned, and the folds that it was measured on."""

    learned: "Learned"
    folds: np.ndarray
    n_folds: int
    history: list[dict]


def _say_if_few(calibration: Calibration) -> None:
    images, units = len(calibration.labels), calibration.n_units
    if units < _FEW:
        of = f" of {units} groups" if units < images else ""
        log.warning("only %d labelled images%s could be held out: confidence is little more than "
                    "a guess until more are labelled (nothing is promised from fewer than the "
                    "error asks for)", images, of)  # fmt: skip


def _choose_pool(manifest: pd.DataFrame, data: Labelled, config: Config) -> list[ImageRef]:
    """Return refs of unlabelled images that are no copies of labelled ones nor of their groups.

    A held-out patient must not be helped by unlabelled images of their own: a new patient has
    none, and what is measured on the one is promised for the other.
    """
    rows = manifest[manifest["label"].isna() & (manifest["image_id"] != "")]
    # What a person refused a label for must not get one from self-training.
    rows = rows[rows["provenance"] != "rejected"]
    # Frames of a labelled file are of its patient too, whether or not that is known.
    files, known = (files_of(r["image_id"]) for r in (rows, data.rows))
    rows = rows[~files.isin(known)].drop_duplicates("image_id")
    rows = rows[rows["group"].isna() | ~rows["group"].isin(data.rows["group"].dropna())]
    refs, most = image_refs(rows), config.train.pool
    if len(refs) > most:
        chosen = np.random.default_rng(config.seed).choice(len(refs), most, replace=False)
        refs = [refs[i] for i in np.sort(chosen)]
    if not refs:
        return refs
    near, _ = match(read_signatures(refs, config.image), data.signatures)
    return [ref for ref, other in zip(refs, near, strict=True) if other < 0]


def _free_path(run: Path | str | None) -> Path:
    if run is None:
        stamp = dt.datetime.now().strftime("%Y%m%d-%H%M%S")
        path, n = Path("runs") / stamp, 1
        while path.exists():
            n += 1
            path = Path("runs") / f"{stamp}-{n}"
        return path
    path = Path(run)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"{path} exists and is not an empty folder; give another --run")
    return path
