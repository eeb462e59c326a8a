"""`fit`: from labelled images to a run."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from clusterkit.config import (
    Config,
    DataConfig,
    override,
    takes_settings,
    with_settings,
)
from clusterkit.data.features.table import FeatureTable, read_features
from clusterkit.data.label_map import LabelMap, read_label_map
from clusterkit.data.labelled import Labelled, load_labelled
from clusterkit.data.labels import check_labels, warn_of_near_labels
from clusterkit.data.left_out import LeftOut
from clusterkit.data.link_rules import LinkRules
from clusterkit.data.manifest import data_root, default_source, read_manifest
from clusterkit.data.remote_places import local_place
from clusterkit.data.splits import take_out_test, why_within_groups
from clusterkit.data.written_names import relative_folder
from clusterkit.encoders.backbone import FEATURES, Backbone, EncoderRecord
from clusterkit.encoders.precomputed import GivenFeatures
from clusterkit.encoders.registry import load_backbone
from clusterkit.formats.feature_record import FeatureRecord
from clusterkit.formats.fit_journal import FitJournal
from clusterkit.formats.named_assignments import named_for_each
from clusterkit.formats.run import Run
from clusterkit.launched import launched
from clusterkit.methods.calibration import Calibration
from clusterkit.models.expected_input import as_expected
from clusterkit.models.networks import choose_device
from clusterkit.progress import Progress, silent, with_bar
from clusterkit.reviewing import Applied, apply_reviews
from clusterkit.training.fit_key import fit_key
from clusterkit.training.joining import joined
from clusterkit.training.mlflow_record import open_record
from clusterkit.training.run_record import gallery_tensors, review_record, run_info

if TYPE_CHECKING:
    from clusterkit.training.strategy_choice import Training

log = logging.getLogger("clusterkit")

# Held-out groups (or images) below which confidence is little more than a guess.
_FEW = 10


@takes_settings
@with_bar
@torch.random.fork_rng(devices=[])  # the host's random numbers are its own
def fit(
    source: Path | str | None = None,
    *,
    config: Config | None = None,
    run: Path | str | None = None,
    reviews: Sequence[Path | str] = (),
    reviews_of: Sequence[Path | str] | Path | str | None = None,
    features: Sequence[Path | str] | Path | str = (),
    fresh: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> Run:
    """Learn a classifier and a Siamese model from labelled images, and write a run.

    Parameters
    ----------
    source : path or None
        A folder with one subfolder per class, a CSV with columns image and label, or a folder
        whose file names hold labels (`config.data.label_pattern`).
    config : Config or None
    run : path or None
        Where to write; None: a new folder under ``runs/``. Beside it, in ``<run>.journal``, is what
        an interrupted call goes on from.
    reviews : sequence of path
        Files of reviews, whose verdicts become labels (see `apply_reviews`); later files win.
    reviews_of : path, sequence of path or None
        The run (or CSV) that they are about, or one for each; None: see `folder_of_reviews`.
    features : path or sequence of path
        Files of features (see `data.features`) in the place of an encoder.
    fresh : bool
        Do not go on with an interrupted fit of the same data and settings.
    progress : callable or None
        Called with (stage, done, total); None: a bar where a person is there.
    **settings : options of the command, e.g. ``size=96``, ``backbone="resnet34"``

    Returns
    -------
    Run, as it was written. Of several processes (see `joined`) each returns it.

    Raises
    ------
    ClusterkitError
        The data, configuration or weights cannot be used, or another process writes this run;
        nothing is written then.
    """
    given, progress = with_settings(config or Config(), settings, "fit"), progress or silent
    told = {"run": run, "reviews": reviews, "reviews_of": reviews_of, "features": features,
            "fresh": fresh}  # fmt: skip
    if launched().follows:
        return Run.load(follow_fit(source, config=given, **told))
    with joined({"data": source, "config": given.to_dict()} | told, given.device) as group:
        record = open_record(given.train.mlflow)
        with FitJournal.reserved(None if run is None else Path(run)) as journal:
            said = _Said.of(source, given, features)
            result = _learn(said, reviews, reviews_of, journal, fresh, progress)
            result.save()
        group.dismiss(os.path.abspath(result.path))
    record.write(result)
    return result


def follow_fit(source: Path | str | None, *, config: Config, **told: Any) -> str:
    """Do the share of a process that does not lead in a `fit`; returns the path of the run.

    It is called as `fit` is; nothing is read or written here but images of the pool.
    """
    with joined({"data": source, "config": config.to_dict()} | told, config.device) as group:
        return group.follow()


@dataclass(frozen=True, eq=False)
class _Said:
    """What a caller of `fit` said, read.

    Attributes
    ----------
    source : Path
    given : Config
        As it was given.
    config : Config
        With a device that is there.
    table : FeatureTable or None
    names : LabelMap
    left_out : LeftOut
        Gets the files that are no images.
    """

    source: Path
    given: Config
    config: Config
    table: FeatureTable | None
    names: LabelMap
    left_out: LeftOut

    @classmethod
    def of(
        cls, source: Path | str | None, given: Config, features: Sequence[Path | str] | Path | str
    ) -> "_Said":
        config = override(given, device=str(choose_device(given.device)))
        named = source or config.data.source or default_source()
        source = local_place(named, "labelled images are read")
        names = read_label_map(config.data.label_map)
        table = read_features(features) if features else None
        return cls(source, given, config, table, names, LeftOut())


def _learn(
    said: _Said,
    reviews: Sequence[Path | str],
    reviews_of: Sequence[Path | str] | Path | str | None,
    journal: FitJournal,
    fresh: bool,
    progress: Progress,
) -> Run:
    """Return the run, not yet written; what takes long is kept in the journal on the way."""
    from clusterkit.training.final_test import with_test

    config, table = said.config, said.table
    applied, test = _read_reviewed(said, reviews, reviews_of, progress)
    # Random weights are part of the result, so the seed has to stand before them.
    torch.manual_seed(config.seed)
    backbone = _backbone(config, table)
    config = as_expected(config, backbone)
    said = replace(said, config=config, given=replace(said.given, image=config.image))
    journal.begin(fit_key(applied.manifest, config, backbone, table), fresh)
    data, training = _train(applied, backbone, said, journal, progress)
    run = _create_run(journal.place.run, said, applied, data, backbone, training)
    return with_test(_with_features(run, table), test, config, progress, table)


def _with_features(run: Run, table: FeatureTable | None) -> Run:
    if table is None:
        return run
    return replace(run, info=replace(run.info, features=FeatureRecord.of(table)))


def _train(
    applied: Applied, backbone: Backbone, said: _Said, journal: FitJournal, progress: Progress
) -> tuple[Labelled, "Training"]:
    """Train, and say in the summary of the reviews what became of them."""
    from clusterkit.training.doubted import without_doubted
    from clusterkit.training.held_out_change import held_out_change
    from clusterkit.training.strategy import TrainingSet
    from clusterkit.training.strategy_choice import train_best

    config, table = said.config, said.table
    data = load_labelled(applied.manifest, config, progress, table)
    chosen = TrainingSet.of(applied.manifest, data, backbone, config, progress, table, journal)
    chosen, doubted = without_doubted(chosen, config)
    training = train_best(chosen, config, progress)
    if applied.summary:
        held = training.learned.calibration
        change = held_out_change(applied.summary["against"], held, chosen.labelled)
        applied.summary |= {"doubted": doubted, "held_out": change}
    _warn_of_few_held_out(training.learned.calibration, chosen.labelled)
    return chosen.labelled, training


def _backbone(config: Config, table: FeatureTable | None) -> Backbone:
    """Return the encoder of the settings, or what stands in its place."""
    if table is None:
        return load_backbone(config.model.backbone, config.model.weights, config.image.size)
    record = EncoderRecord(FEATURES, FEATURES, FEATURES, weights=table.name)
    return Backbone(GivenFeatures(table.dimension, table.chains), record)


def _read_reviewed(
    said: _Said,
    reviews: Sequence[Path | str],
    reviews_of: Sequence[Path | str] | Path | str | None,
    progress: Progress,
) -> tuple[Applied, pd.DataFrame]:
    """Read the manifest, put the reviews into it, and take the test images out of it."""
    if isinstance(reviews, str | Path):
        reviews = [reviews]
    # Before the images are read.
    named_for_each(reviews, reviews_of)
    source, config, names, table = said.source, said.config, said.names, said.table
    manifest = read_manifest(source, config, progress, said.left_out, names, table)
    root, elsewhere = data_root(source, config.data), config.data.unlabeled
    unlabeled = data_root(Path(elsewhere), DataConfig()) if elsewhere else None
    applied = apply_reviews(manifest, list(reviews), root, unlabeled, names, table, reviews_of)
    unused = names.unused(applied.manifest["label"].dropna().unique())
    if unused:
        log.warning("%s", unused)
    applied.manifest, test = take_out_test(applied.manifest)
    check_labels(applied.manifest, config.data.max_classes)
    warn_of_near_labels(applied.manifest["label"])
    return applied, test


def _create_run(
    path: Path,
    said: _Said,
    applied: Applied,
    data: Labelled,
    backbone: Backbone,
    training: "Training",
) -> Run:
    source, config, learned = said.source, said.given, training.learned
    root = data_root(source, config.data)
    info = {
        "strategy": training.strategy,
        "strategy_reason": training.reason,
        "folds": training.n_folds,
        "decisions": learned.decisions,
        "precision": learned.calibration.precision.to_dict(),
        "metrics": learned.calibration.metrics(config.assign.confidence),
        "unlabelled": int(applied.manifest["label"].isna().sum()),
        "roots": [relative_folder(r, path) for r in [root, *applied.roots]],
        "link_roots": LinkRules.of(config.data, source).recorded(path),
        "left_out": said.left_out.to_dict(),
        "reviews": review_record(applied, path),
        "renamed": said.names.names,
    }
    return Run(
        path=path,
        info=run_info(source, path, config, data, backbone, info),
        config=config,
        networks=learned.scorer.networks.to("cpu"),
        manifest=data.rows.assign(split=training.split).reset_index(drop=True),
        gallery=gallery_tensors(learned, data.appearance, data.signatures),
        calibration=learned.calibration.to_dict(),
        history=pd.DataFrame(learned.history),
    )


def _warn_of_few_held_out(calibration: Calibration, data: Labelled) -> None:
    images, units = len(calibration.labels), calibration.n_units
    if data.within_groups:
        log.warning("%s: errors are measured on other images of the same groups, which is "
                    "optimistic and for these groups only. Nothing is promised, and assign leaves "
                    "every image for review", why_within_groups(data.rows))  # fmt: skip
        return
    if units < _FEW:
        of = f" of {units} groups" if units < images else ""
        log.warning("only %d labelled images%s could be held out: confidence is little more than "
                    "a guess until more are labelled (nothing is promised from fewer than the "
                    "error asks for)", images, of)  # fmt: skip
