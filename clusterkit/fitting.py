"""`fit`: from labelled images to a run."""

import datetime as dt
import logging
import os
import platform
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import clusterkit
from clusterkit.config import Config, override
from clusterkit.data.loading import load_batches
from clusterkit.data.manifest import check_labels, data_root, default_source, read_manifest
from clusterkit.data.splits import make_folds, split_labelled, units_of
from clusterkit.engine.calibrate import HeldOut, calibrate
from clusterkit.engine.novelty import AppearanceModel, appearance
from clusterkit.engine.similarity import Gallery
from clusterkit.errors import DataError, RunError
from clusterkit.models.backbones import Backbone, load_backbone
from clusterkit.models.networks import Networks, choose_device, embed_all
from clusterkit.models.run import FORMAT, Run
from clusterkit.models.siamese import FactoredSiamese

log = logging.getLogger("clusterkit")

Report = Callable[[str, int, int], None]

# Reduced dimensions that clusters are looked for in.
_REDUCED = 32


@dataclass
class _Labelled:
    """The labelled images in memory: rows (N), pixels (N, S, S, 3), classes (N,), units (N,)."""

    rows: pd.DataFrame
    images: np.ndarray
    labels: np.ndarray
    units: np.ndarray
    classes: list[str]


def fit(
    source: Path | str | None = None,
    *,
    config: Config | None = None,
    run: Path | str | None = None,
    progress: Report | None = None,
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
    from clusterkit.training.learners import History

    asked = config or Config()
    config = override(asked, device=str(choose_device(asked.device)))
    path = _free_path(run)
    report = progress or (lambda stage, done, total: None)
    source = Path(source or config.data.source or default_source())
    manifest = read_manifest(source, config)
    check_labels(manifest, config.data.max_classes)
    data = _load(manifest, config, report)
    # Random weights are part of the result, so the seed has to stand before them.
    torch.manual_seed(config.seed)
    backbone = load_backbone(config.model.backbone, config.model.weights)
    strategy, why = _choose_strategy(config, backbone, len(data.labels))
    log.info("strategy %s: %s", strategy, why)
    test_folds, n_folds = _held_out_folds(data, config, strategy)
    history = History()
    trainer = _Trainer(data, config, backbone, strategy, history)
    held_out = []
    stages = n_folds + (0 if n_folds == 1 else 1)
    networks = None
    for fold in range(n_folds):
        test = np.flatnonzero(test_folds == fold)
        history.fold = str(fold)
        networks = trainer.train(np.flatnonzero(test_folds != fold), test)
        held_out.append(_score(networks, data, test_folds, fold, config))
        report("fit", fold + 1, stages)
    if n_folds > 1:
        history.fold = "all"
        networks = trainer.train(np.arange(len(data.labels)), np.arange(0))
        report("fit", stages, stages)
    calibration = calibrate(_join(held_out), config.engine.gate_mass, config.engine.gate_max)
    data.rows["split"] = np.where(test_folds >= 0, "valid", "train") if n_folds == 1 else "train"
    features = embed_all(networks, data.images, config.device).siamese
    result = Run(
        path=path,
        info=_info(
            source,
            path,
            asked,
            data,
            backbone,
            {
                "strategy": strategy,
                "strategy_reason": why,
                "folds": n_folds,
                "metrics": calibration.metrics(),
                "unlabelled": int(manifest["label"].isna().sum()),
            },
        ),
        config=asked,
        networks=networks.to("cpu"),
        manifest=data.rows.reset_index(drop=True),
        gallery={
            "features": features.contiguous(),
            "appearance": torch.from_numpy(appearance(data.images)),
            **_reduction(features),
        },
        calibration=calibration.to_dict(),
        history=pd.DataFrame(history.rows),
    )
    result.save()
    return result


class _Trainer:
    """Trains all networks on some of the labelled images, by one of the two strategies."""

    def __init__(self, data, config, backbone: Backbone, strategy: str, history) -> None:
        self.data, self.config, self.backbone = data, config, backbone
        self.strategy, self.history = strategy, history
        self._start = {k: v.clone() for k, v in backbone.encoder.state_dict().items()}
        self._views = None

    def train(self, rows: np.ndarray, valid: np.ndarray) -> Networks:
        """Train on `rows`, watch `valid`; always from the same start."""
        from fastai.torch_core import set_seed

        set_seed(self.config.seed, reproducible=True)
        return self._head_only(rows, valid) if self.strategy == "head" else self._tune(rows, valid)

    def _head_only(self, rows: np.ndarray, valid: np.ndarray) -> Networks:
        from clusterkit.training.learners import Data, train_siamese_head
        from clusterkit.training.linear import fit_linear_head

        if self._views is None:
            self._views = self._embed_views(self.backbone.encoder)
        _, siamese_epochs = self._epochs()
        labels, n_classes = self.data.labels, len(self.data.classes)
        data = Data(self._views, labels, rows, valid)
        head = fit_linear_head(self._views[:, rows], labels[rows], n_classes, self.config.train.C)
        siamese = train_siamese_head(data, self.config, siamese_epochs, self.history)
        return Networks(self.backbone.encoder, head, siamese).to(self.config.device)

    def _tune(self, rows: np.ndarray, valid: np.ndarray) -> Networks:
        from clusterkit.training.learners import (
            Data,
            finetune_classifier,
            finetune_siamese,
            train_siamese_head,
        )

        epochs, siamese_epochs = self._epochs()
        name = self.backbone.name
        data = Data(self.data.images, self.data.labels, rows, valid)
        encoder, own = self._fresh_encoder(name), None
        head = finetune_classifier(
            encoder,
            data,
            len(self.data.classes),
            self.config,
            epochs,
            self.backbone.pretrained,
            self.history,
        )
        if self.config.model.encoder == "separate":
            own = self._fresh_encoder(name)
            siamese = finetune_siamese(
                own,
                data,
                self.config,
                siamese_epochs,
                self.backbone.pretrained,
                self.history,
            )
        else:
            views = Data(self._embed_views(encoder), self.data.labels, rows, valid)
            siamese = train_siamese_head(views, self.config, siamese_epochs, self.history)
        return Networks(encoder, head, siamese, own).to(self.config.device)

    def _fresh_encoder(self, name: str) -> torch.nn.Module:
        from clusterkit.models.backbones import empty_encoder

        encoder = empty_encoder(name)
        encoder.load_state_dict(self._start)
        return encoder

    def _epochs(self) -> tuple[int, int]:
        default = (0, 60) if self.strategy == "head" else (12, 60)
        if self.strategy == "finetune" and self.config.model.encoder == "separate":
            default = (12, 12)
        config = self.config.train
        return config.epochs or default[0], config.siamese_epochs or default[1]

    def _embed_views(self, encoder: torch.nn.Module) -> torch.Tensor:
        """Pooled features (V, N, D) of every view that the config's flips allow."""
        from clusterkit.training.transforms import flipped_views

        networks = Networks(encoder, torch.nn.Identity(), torch.nn.Sequential())
        networks.to(self.config.device)
        views = flipped_views(self.data.images, self.config.augment)
        return torch.stack(
            [
                embed_all(networks, np.ascontiguousarray(v), self.config.device).siamese
                for v in views
            ]
        )


def _load(manifest: pd.DataFrame, config: Config, report: Report) -> _Labelled:
    """Decode the labelled images once; unreadable ones are left out with a warning."""
    rows = manifest[manifest["label"].notna()].reset_index(drop=True)
    size = config.image.size
    images = np.empty((len(rows), size, size, 3), dtype=np.uint8)
    errors = np.empty(len(rows), dtype=object)
    workers = 0 if len(rows) < 200 else min(os.cpu_count() or 1, 8)
    for batch in load_batches(rows["path"].tolist(), size, config.image.resize, 32, workers):
        place = slice(batch.number * 32, batch.number * 32 + len(batch.ids))
        images[place], errors[place] = batch.images, batch.errors
        report("read", place.stop, len(rows))
    bad = errors != ""
    if bad.any():
        first = np.flatnonzero(bad)[0]
        log.warning("%d labelled images are left out, e.g. %s: %s", bad.sum(),
                    rows["image"][first], errors[first])  # fmt: skip
    rows = rows[~bad].reset_index(drop=True)
    classes = check_labels(rows, config.data.max_classes)
    labels = rows["label"].map({c: i for i, c in enumerate(classes)}).to_numpy()
    return _Labelled(rows, images[~bad], labels, units_of(rows), classes)


def _choose_strategy(config: Config, backbone: Backbone, n: int) -> tuple[str, str]:
    if config.train.strategy != "auto":
        return config.train.strategy, "asked for in the config"
    if not backbone.pretrained:
        return "finetune", "random weights have to be trained"
    if config.device == "cpu":
        return "head", "pretrained weights and no GPU: heads on cached features take seconds"
    if n < 500:
        return "head", f"{n} labelled images are too few to fine-tune a pretrained encoder safely"
    return "finetune", f"{n} labelled images and a GPU"


def _held_out_folds(data: _Labelled, config: Config, strategy: str) -> tuple[np.ndarray, int]:
    """Return the fold each image is held out in (-1: never), and how many folds there are."""
    given = data.rows["split"].notna().any()
    wanted = config.train.folds or (5 if strategy == "head" else 1)
    if given or wanted == 1:
        valid = split_labelled(data.rows, config.train.valid_fraction, config.seed)
        return np.where(valid, 0, -1), 1
    folds = make_folds(data.rows, wanted, config.seed)
    # Where a fold holds all images of a class, no model can have learned it: they only train.
    for fold in np.unique(folds):
        for label in np.unique(data.labels[folds == fold]):
            of_label = data.labels == label
            if (folds[of_label] == fold).all():
                folds[of_label] = -1
    found = np.unique(folds[folds >= 0])
    if not len(found):
        raise DataError(
            "no images can be held out: every class is within one group; "
            "label images of more groups (patients)"
        )
    return np.where(folds >= 0, np.searchsorted(found, folds), -1), len(found)


def _score(
    networks: Networks, data: _Labelled, folds: np.ndarray, fold: int, config: Config
) -> HeldOut:
    """Score the images of one fold against exemplars of the others."""
    test, train = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
    features = embed_all(networks, data.images, config.device)
    gallery = Gallery(
        FactoredSiamese.from_head(networks.siamese_head),
        features.siamese[train],
        data.labels[train],
        len(data.classes),
    )
    everything = np.ones((len(test), len(data.classes)), dtype=bool)
    evidence = gallery.compare(features.siamese[test], everything, config.engine.pool_top)
    look = appearance(data.images)
    strange = AppearanceModel(look[train])
    with torch.inference_mode():
        networks.classifier_head.cpu()
        logits = networks.classifier_head(features.classifier[test]).numpy()
    return HeldOut(
        rows=test,
        logits=logits,
        pooled=evidence.pooled,
        novelty=np.stack([evidence.distance, strange.score(look[test])], axis=1),
        labels=data.labels[test],
        units=data.units[test],
        folds=np.full(len(test), fold),
    )


def _join(parts: list[HeldOut]) -> HeldOut:
    return HeldOut(**{k: np.concatenate([vars(p)[k] for p in parts]) for k in vars(parts[0])})


def _reduction(features: torch.Tensor) -> dict[str, torch.Tensor]:
    """Principal axes of the exemplars' features, for clusters."""
    from sklearn.decomposition import PCA

    n = min(_REDUCED, len(features), features.shape[1])
    fitted = PCA(n, whiten=False, svd_solver="full").fit(features.numpy())
    return {
        "centre": torch.from_numpy(fitted.mean_.astype(np.float32)),
        "projection": torch.from_numpy(np.ascontiguousarray(fitted.components_.T, np.float32)),
    }


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


def _info(
    source: Path, path: Path, config: Config, data: _Labelled, backbone: Backbone, extra: dict
) -> dict:
    counts = data.rows["label"].value_counts()
    saved = config.to_dict()
    # No absolute path goes into a run: it may be handed to a stranger.
    saved["data"] |= {"source": None, "images": None, "unlabeled": None}
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
            "root": os.path.relpath(data_root(source, config.data), path),
            "images": len(data.rows),
            "unlabelled": extra.pop("unlabelled"),
            "units": int(data.units.max()) + 1,
            "by_class": {c: int(counts[c]) for c in data.classes},
        },
        **extra,
    }
