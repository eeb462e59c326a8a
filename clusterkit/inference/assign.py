"""`assign`: from a folder of images to `assignments.csv`, batch by batch, resumable."""

import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import clusterkit
from clusterkit.config import Config, takes_settings, with_settings
from clusterkit.data.features.table import FeatureTable, is_feature_file
from clusterkit.data.features.vector_lookup import GivenVectors, inputs_of_table, look_up
from clusterkit.data.inputs import not_read, read_inputs
from clusterkit.data.left_out import LeftOut
from clusterkit.data.link_rules import LinkRules
from clusterkit.data.loading import image_refs
from clusterkit.data.pseudonyms import key_fingerprint
from clusterkit.data.written_names import relative_folder
from clusterkit.formats.arrow_tables import check_format
from clusterkit.formats.assignment_pair import write_pair
from clusterkit.formats.assignment_record import AssignmentRecord, ClassShares
from clusterkit.formats.assignment_target import check_target
from clusterkit.formats.assignments import STATUSES
from clusterkit.formats.feature_record import FeatureRecord
from clusterkit.formats.result_card import ResultCard, Shown
from clusterkit.formats.run import Run
from clusterkit.inference.cluster_summaries import summarise_clusters
from clusterkit.inference.decision_rule import DecisionRule
from clusterkit.inference.evidence import Evidence
from clusterkit.inference.given import open_given
from clusterkit.inference.journal import Journal
from clusterkit.inference.ladder import ladder_of
from clusterkit.inference.predictor import Predictor
from clusterkit.inference.promise_text import (
    picture_remarks,
    promise_text,
    remarks,
    transduction_remarks,
)
from clusterkit.inference.rows import build_table, group_names
from clusterkit.inference.transduce import transduce
from clusterkit.inference.workers import batch_size_of, compute
from clusterkit.models.networks import choose_device, processor_of
from clusterkit.output import check_writable, writing
from clusterkit.progress import Progress, with_bar

log = logging.getLogger("clusterkit")

_OUT = "--out FILE.csv"

_CARD_COLUMNS = ("image", "status", "predicted_label", "confidence", "label_set", "reason")

# Counts up with what a journal keeps of an image: an older one is not gone on with.
_EVIDENCE = 3


@dataclass(frozen=True, repr=False)
class Assignment(Shown):
    """The result of `assign`, as it was written.

    Attributes
    ----------
    table : DataFrame
        The rows of `assignments.csv`.
    record : AssignmentRecord
        What is in `assignments.json`.
    path : Path
        The CSV.
    """

    table: pd.DataFrame
    record: AssignmentRecord
    path: Path

    def card(self) -> ResultCard:
        """Return what is shown of it in a notebook or at a prompt."""
        record = self.record
        counts = ", ".join(f"{n:,} {status}" for status, n in record.status.items() if n)
        # Of what a person checked, the promise that it rested on is no longer said.
        found = {} if record.certificate is None else {"certificate": record.certificate.words}
        facts = {"images": f"{record.images:,}: {counts}", **found,
                 "promise": record.promise_text or "",
                 "clusters": f"{record.clusters} of the refused images"}  # fmt: skip
        return ResultCard(f"Assignment {self.path}", facts, self.table[list(_CARD_COLUMNS)])

    @property
    def summary(self) -> dict[str, Any]:
        """The values of `assignments.json`, plain."""
        return self.record.to_dict()


@takes_settings
@with_bar
def assign(
    run: Run | Path | str,
    source: Path | str,
    *,
    config: Config | None = None,
    out: Path | str | None = None,
    fresh: bool = False,
    overwrite: bool = False,
    features: Sequence[Path | str] | Path | str = (),
    format: str = "csv",
    progress: Progress | None = None,
    **settings: Any,
) -> Assignment:
    """Label the images of a folder or CSV, or refuse to, and write `assignments.csv`.

    Parameters
    ----------
    run : Run or path
    source : path
        A folder (searched to the bottom), a CSV with a column image, or one image.
    config : Config or None
        Laid over the run's, see `Run.config_with`.
    out : path or None
        The CSV, with a JSON beside it; None: ``<run>/assignments.csv``.
    fresh : bool
        Do not resume an interrupted call with the same input.
    overwrite : bool
        Replace the assignments of another input, which reviews may be about.
    features : path or sequence of path
        For a run on given features: those of these images, or `source` itself.
    format : {"csv", "parquet"}; the latter puts a Parquet file of the same rows beside the CSV
    progress : callable or None
        Called with (stage, done, total); None: a bar where a person is there.
    **settings : options of the command, e.g. ``max_error=0.15``, ``images="scans"``

    Raises
    ------
    ClusterkitError
        The run or input cannot be used, or `out` is not to be replaced (see `check_target`).
    """
    run, started = run if isinstance(run, Run) else Run.load(run), time.perf_counter()
    config = with_settings(run.config_with(config), settings, "assign")
    source, out = Path(source), Path(out) if out is not None else run.own("assignments.csv")
    vectors = open_given(run, features, source)
    inputs, given, left_out = _list_inputs(run, source, config, progress, vectors)
    _check_out(out, inputs, source, config, overwrite, format)
    journal = _open_journal(out, _key(run, inputs, config, vectors), fresh)
    try:
        resumed = _embed_missing(run, inputs, config, journal, progress, given)
        inputs = inputs.drop(columns="path")
        evidence = journal.evidence()
        table, record = _decide(run, source, out, config, inputs, evidence)
        how: dict[str, Any] = {"fingerprint": journal.fingerprint, "resumed_batches": resumed}
        record = _with_features(replace(record, **how, **left_out), run, given, evidence)
        record = _write(out, table, record, time.perf_counter() - started, format)
    except BaseException:
        journal.close()
        raise
    journal.remove()
    return Assignment(table, record, out)


def _check_out(
    out: Path, inputs: pd.DataFrame, source: Path, config: Config, overwrite: bool, format: str
) -> None:
    """Find out what cannot or must not be written before hours are spent."""
    check_format(format, out)
    for path in (out, out.with_suffix(".json")):
        check_writable(path, _OUT)
    check_target(out, inputs["image"], _root_of(source, config), source, overwrite)


def _list_inputs(
    run: Run, source: Path, config: Config, progress: Progress | None, table: FeatureTable | None
) -> tuple[pd.DataFrame, GivenVectors | None, dict[str, Any]]:
    """Return the rows of an input, their features, and what a record says of other files."""
    left_out = LeftOut()
    if table is not None and is_feature_file(source):
        inputs = inputs_of_table(table, _root_of(source, config))
    else:
        inputs = read_inputs(source, config, progress, left_out)
    given = None
    if table is not None:
        given, inputs = look_up(table, inputs)
    _check_key(run, inputs, config)
    return inputs, given, {"left_out": left_out.to_dict(), "not_read": not_read(inputs).to_dict()}


def _open_journal(out: Path, key: dict[str, Any], fresh: bool) -> Journal:
    with writing(out, _OUT):
        out.parent.mkdir(parents=True, exist_ok=True)
        return Journal(out, key, fresh)


def _embed_missing(
    run: Run,
    inputs: pd.DataFrame,
    config: Config,
    journal: Journal,
    progress: Progress | None,
    given: GivenVectors | None,
) -> int:
    """Compute the batches that the journal lacks; returns how many it had."""
    done, batch_size = journal.done(), batch_size_of(config, choose_device(config.device))
    if done:
        log.info("resuming: %d batches were done before", len(done))
    finished = len(done) * batch_size
    if finished >= len(inputs):
        return len(done)
    refs = image_refs(inputs)
    for number, evidence in compute(Predictor(run, config), refs, batch_size, done, given):
        with writing(journal.folder, _OUT):
            journal.write(number, evidence)
        finished += len(evidence["ids"])
        if progress:
            progress("assign", min(finished, len(refs)), len(refs))
    return len(done)


def _check_key(run: Run, inputs: pd.DataFrame, config: Config) -> None:
    known = run.info.data.patient_key
    if known and key_fingerprint(inputs["group"], config.data.key_file) not in (known, None):
        log.warning("patient ids are hashed with another key than when the run was fitted: one "
                    "patient has two names; name the key with data.key_file")  # fmt: skip


def _key(
    run: Run, inputs: pd.DataFrame, config: Config, table: FeatureTable | None
) -> dict[str, Any]:
    """Everything that decides what is in the journal's batches."""
    listed = hashlib.sha256()
    for path, frame in zip(inputs["path"], inputs["frame"], strict=True):
        try:
            state = os.stat(path)
            stamp = (state.st_size, state.st_mtime_ns)
        except OSError:
            stamp = None
        listed.update(json.dumps([path, frame, stamp]).encode())
    return {
        "clusterkit": clusterkit.__version__,
        "torch": torch.__version__,
        "run": run.info.id,
        "inputs": listed.hexdigest(),
        "device": str(choose_device(config.device)),
        "processor": processor_of(choose_device(config.device)),
        "batch_size": batch_size_of(config, choose_device(config.device)),
        "pool_top": run.config.engine.pool_top,
        "evidence": _EVIDENCE,
        **({} if table is None else {"features": table.files}),
    }


def _with_features(
    record: AssignmentRecord, run: Run, given: GivenVectors | None, evidence: Evidence
) -> AssignmentRecord:
    """Return a record that names the features, and says what is not known without pictures."""
    if given is None:
        return record
    unseen = sum(int((~part["seen"]).sum()) for _, part in evidence.parts("seen"))
    notes = picture_remarks(unseen, len(evidence), run.info.data.without_pictures)
    features = FeatureRecord.of(given.table)
    return replace(record, remarks=[*record.remarks, *notes], features=features)


def _write(
    out: Path, table: pd.DataFrame, record: AssignmentRecord, seconds: float, format: str
) -> AssignmentRecord:
    """Write the table and its record, and return the record with how long it took."""
    speed = len(table) / seconds
    record = replace(record, seconds=round(seconds, 3), images_per_second=speed)
    with writing(out, _OUT):
        return write_pair(table, record, out, format == "parquet")


def _root_of(source: Path, config: Config) -> Path:
    """Folder that the images of an input are relative to."""
    return Path(config.data.images or source.parent) if source.is_file() else source


def _decide(
    run: Run, source: Path, out: Path, config: Config, inputs: pd.DataFrame, evidence: Evidence
) -> tuple[pd.DataFrame, AssignmentRecord]:
    """Return the rows of a batch, and what `assignments.json` says of them."""
    found = transduce(run, config, evidence, group_names(inputs))
    rule = DecisionRule.of(run, config, found.evidence, found.calibration)
    table = build_table(inputs, found.evidence, rule)
    record = _record(run, source, out, table, rule, found.evidence)
    remarks = [*record.remarks, *transduction_remarks(found.record)]
    held_out = found.record.with_held_out(rule.calibration.confidence, rule.calibration.correct)
    return table, replace(record, remarks=remarks, transduction=held_out)


def _record(
    run: Run,
    source: Path | str,
    out: Path,
    table: pd.DataFrame,
    rule: DecisionRule,
    evidence: Evidence,
) -> AssignmentRecord:
    """Return what `assignments.json` says of the table, the rule and the clusters."""
    root = _root_of(Path(source), rule.config)
    counts = table["status"].value_counts()
    labels = table["predicted_label"][table["status"].isin(["assigned", "duplicate"])]
    failed = table["reason"][table["status"] == "failed"]
    near = (table["duplicate_of"] != "") & (table["status"] != "duplicate")
    return AssignmentRecord(
        images=len(table),
        status={s: int(counts.get(s, 0)) for s in STATUSES},
        failures={str(reason): n for reason, n in failed.value_counts().items()},
        assigned_by_class={c: int((labels == c).sum()) for c in run.classes},
        clusters=int(table["cluster"].nunique()),
        near_duplicates=int(near.sum()),
        class_shares=ClassShares(
            labelled=dict(zip(run.classes, rule.calibration.prior.round(6).tolist(), strict=True)),
            estimated=dict(zip(run.classes, rule.prior.round(6).tolist(), strict=True)),
        ),
        promise=rule.record(),
        promise_text=promise_text(rule),
        **ladder_of(rule, table, evidence),
        confidence=rule.config.assign.confidence,
        label_sets=rule.label_set_record(),
        untestable_classes=[c for c, few in zip(run.classes, rule.untestable, strict=True) if few],
        remarks=remarks(rule),
        run=run.info.id,
        cluster_summaries=summarise_clusters(table, evidence),
        # Relative, so that a run and its data can move together and no absolute path is kept.
        input_root=relative_folder(root, out.parent),
        link_roots=LinkRules.of(rule.config.data, root).recorded(out.parent),
        device=str(choose_device(rule.config.device)),
        versions={
            "clusterkit": clusterkit.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
    )
