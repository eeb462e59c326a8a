"""`assign`: from a folder of images to `assignments.csv`, batch by batch, resumable."""

import hashlib
import logging
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import clusterkit
from clusterkit.config import Config, takes_settings, with_settings
from clusterkit.data.features.table import FeatureTable, is_feature_file
from clusterkit.data.features.vector_lookup import GivenVectors, inputs_of_table, look_up
from clusterkit.data.inputs import input_folder, not_read, read_inputs
from clusterkit.data.left_out import LeftOut
from clusterkit.data.pseudonyms import key_fingerprint
from clusterkit.data.remote_places import Place, local_place, place_of
from clusterkit.errors import ConfigError
from clusterkit.formats.arrow_tables import check_format
from clusterkit.formats.assignment_pair import finish_pair, write_pair
from clusterkit.formats.assignment_record import AssignmentRecord
from clusterkit.formats.assignment_target import check_target
from clusterkit.formats.promise_cover import promise_words
from clusterkit.formats.result_card import ResultCard, Shown
from clusterkit.formats.run import Run
from clusterkit.inference.batch_record import record_of, with_features
from clusterkit.inference.decision_rule import DecisionRule
from clusterkit.inference.decisions import decide
from clusterkit.inference.earlier_rows import EarlierRows, why_anew
from clusterkit.inference.engines import Engine, EngineName, LocalEngine, open_engine
from clusterkit.inference.evidence import Evidence
from clusterkit.inference.evidence_check import check_evidence
from clusterkit.inference.given import open_given
from clusterkit.inference.journal import Journal
from clusterkit.inference.missing_evidence import missing_of
from clusterkit.inference.predictor import Predictor
from clusterkit.inference.promise_text import transduction_remarks
from clusterkit.inference.rows import group_names, rows_of
from clusterkit.inference.transduce import transduce
from clusterkit.inference.workers import batch_size_of
from clusterkit.output import check_writable, writing
from clusterkit.progress import Progress, with_bar

log = logging.getLogger("clusterkit")

_OUT = "--out FILE.csv"

_CARD_COLUMNS = ("image", "status", "predicted_label", "confidence", "label_set", "reason")

# Counts up with what a journal keeps of an image: an older one is begun anew.
_EVIDENCE = 4


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
                 "promise": promise_words(record) or "",
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
    source: Place | str,
    *,
    config: Config | None = None,
    out: Path | str | None = None,
    fresh: bool = False,
    overwrite: bool = False,
    features: Sequence[Path | str] | Path | str = (),
    format: str = "csv",
    engine: EngineName = "local",
    address: str | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Assignment:
    """Label the images of a folder or CSV, or refuse to, and write `assignments.csv`.

    Parameters
    ----------
    run : Run or path
    source : path or URL
        A folder (searched to the bottom), a CSV with a column image, or one image; or a folder in
        a store (``s3://bucket/folder``, ``gs://``, ``az://``) or an image there.
    config : Config or None
        Laid over the run's, see `Run.config_with`.
    out : path or None
        The CSV, with a JSON beside it; None: ``<run>/assignments.csv``.
    fresh : bool
        Compute and decide all images anew. Else what an interrupted call has left is gone on with,
        and images that are as they were keep their rows.
    overwrite : bool
        Replace the assignments of another input, which reviews may be about.
    features : path or sequence of path
        For a run on given features: those of these images, or `source` itself.
    format : {"csv", "parquet"}; the latter puts a Parquet file of the same rows beside the CSV
    engine, address : str
        Where images are computed; see `open_engine`.
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
    source, out = place_of(source), Path(out) if out is not None else run.own("assignments.csv")
    vectors = open_given(run, features, source)
    if vectors is not None and engine != "local":
        raise ConfigError("features are given and nothing is encoded; leave out --engine ray")
    with open_engine(engine, address, config) as where:
        inputs = _list_inputs(run, source, config, progress, vectors)
        _check_out(out, inputs, source, overwrite, format)
        work = _Work(run, config, inputs, out, where)
        table, record = work.done(fresh, started, format, progress)
    return Assignment(table, record, out)


@dataclass(frozen=True)
class _Inputs:
    """The images of an input.

    Attributes
    ----------
    rows : DataFrame (N)
        See `read_inputs`.
    root : Path or RemoteLocation
        Folder that images are relative to.
    given : GivenVectors or None
        Their features, for a run on such.
    not_rows : dict
        What a record says of other files.
    """

    rows: pd.DataFrame
    root: Place
    given: GivenVectors | None
    not_rows: dict[str, Any]


def _list_inputs(
    run: Run, source: Place, config: Config, progress: Progress | None, table: FeatureTable | None
) -> _Inputs:
    left_out, root = LeftOut(), input_folder(source, config.data)
    if table is not None and isinstance(source, Path) and is_feature_file(source):
        rows = inputs_of_table(table, local_place(root, "images beside features are read"))
    else:
        rows = read_inputs(source, config, progress, left_out)
    given = None
    if table is not None:
        given, rows = look_up(table, rows)
    _check_key(run, rows, config)
    others = {"left_out": left_out.to_dict(), "not_read": not_read(rows).to_dict()}
    return _Inputs(rows, root, given, others)


def _check_out(out: Path, inputs: _Inputs, source: Place, overwrite: bool, format: str) -> None:
    """Find out what cannot or must not be written before hours are spent."""
    check_format(format, out)
    for path in (out, out.with_suffix(".json")):
        check_writable(path, _OUT)
    with writing(out, _OUT):
        finish_pair(out)
    check_target(out, inputs.rows["image"], inputs.root, source, overwrite)


@dataclass(frozen=True)
class _Work:
    """One call: images of an input under a run, computed somewhere and written to a CSV."""

    run: Run
    config: Config
    inputs: _Inputs
    out: Path
    where: Engine

    def done(
        self, fresh: bool, started: float, format: str, progress: Progress | None
    ) -> tuple[pd.DataFrame, AssignmentRecord]:
        """Compute, decide and write; return what was written."""
        journal = self._journal(fresh)
        try:
            resumed, evidence = self._computed(journal, progress)
            anew = None if fresh else why_anew(self.out, self.run, self.config)
            earlier = EarlierRows.of(self.out) if anew == "" else None
            table, record = self._decided(evidence, earlier, journal.fingerprint)
            record = replace(
                record,
                device=str(self.where.device),
                resumed_batches=resumed,
                anew=anew or None,
                **self.inputs.not_rows,
            )
            record = with_features(record, self.run, self.inputs.given, evidence)
            record = _write(self.out, table, record, time.perf_counter() - started, format)
            journal.finish()
        finally:
            journal.close()
        return table, record

    @property
    def _batch_size(self) -> int:
        return batch_size_of(self.config, self.where.device)

    def _journal(self, fresh: bool) -> Journal:
        """Open the journal of all that decides the evidence on an image."""
        given = self.inputs.given
        key = {
            "clusterkit": clusterkit.__version__,
            "torch": torch.__version__,
            "run": self.run.info.id,
            "device": str(self.where.device),
            "processor": self.where.processor,
            "batch_size": self._batch_size,
            "pool_top": self.run.config.engine.pool_top,
            "evidence": _EVIDENCE,
            **({} if given is None else {"features": given.table.files}),
        }
        with writing(self.out, _OUT):
            self.out.parent.mkdir(parents=True, exist_ok=True)
            return Journal(self.out, key, fresh)

    def _computed(self, journal: Journal, progress: Progress | None) -> tuple[int, Evidence]:
        """Compute what a journal lacks; return how many batches a killed call has left, and all."""
        size, image, where = self._batch_size, self.run.config.image, self.where
        missing = missing_of(journal, self.inputs.rows, size, progress)
        total, left = len(self.inputs.rows), len(missing.images)
        if missing.done:
            log.info("resuming: %d batches were done before", len(missing.done))
        if left < total:
            log.info("%d of %d images are known", total - left, total)
        finished = total - left + min(len(missing.done) * size, left)
        if self.inputs.given is not None:
            given = self.inputs.given.of(missing.images)
            where = LocalEngine(where.device, self.config.assign.workers, given)
        make = partial(Predictor, self.run, self.config)
        # Closed at once: an exception that is kept would keep its processes too.
        with closing(where.compute(make, image, missing.refs, size, missing.done)) as computed:
            for number, arrays in computed:
                arrays["names"] = missing.names[number * size :][: len(arrays["ids"])]
                with writing(journal.folder, _OUT):
                    journal.write(missing.listing, number, arrays)
                finished += len(arrays["ids"])
                if progress:
                    progress("assign", min(finished, total), total)
        # Of a million images they take much memory, and nobody needs them any more.
        del self.inputs.rows["path"]
        evidence = journal.evidence(missing.rows(journal, size))
        if left < total or missing.done:
            check_evidence(journal, evidence, self.run)
        return len(missing.done), evidence

    def _decided(
        self, evidence: Evidence, earlier: EarlierRows | None, made_of: str
    ) -> tuple[pd.DataFrame, AssignmentRecord]:
        """Return the rows, those of before as they were, and what is said of them."""
        rows, groups = self.inputs.rows, group_names(self.inputs.rows)
        there = None if earlier is None else earlier.found(rows["image"], evidence)
        kept = np.zeros(len(rows), dtype=bool) if there is None else there.kept
        found = transduce(self.run, self.config, evidence, groups, kept)
        rule = DecisionRule.of(self.run, self.config, found.evidence, found.calibration)
        decided = decide(found.evidence, groups, rule)
        table, continued = rows_of(rows, found.evidence, rule, decided, ~kept), None
        if earlier is not None and there is not None:
            # Read only now: of a million rows they take much memory.
            continued = earlier.continued_by(table, rows, decided, there)
            table = continued.table
        # And so do decisions, all of which are in the table by now.
        del decided
        record = record_of(self.run, self.inputs.root, self.out, table, rule, found.evidence)
        remarks = [*record.remarks, *transduction_remarks(found.record)]
        held_out = found.record.with_held_out(rule.calibration.confidence, rule.calibration.correct)
        record = replace(record, remarks=remarks, transduction=held_out,
                         fingerprint=_fingerprint(made_of, table))  # fmt: skip
        return table, record if continued is None else continued.described(record)


def _check_key(run: Run, inputs: pd.DataFrame, config: Config) -> None:
    known = run.info.data.patient_key
    if known and key_fingerprint(inputs["group"], config.data.key_file) not in (known, None):
        log.warning("patient ids are hashed with another key than when the run was fitted: one "
                    "patient has two names; name the key with data.key_file")  # fmt: skip


def _fingerprint(made_of: str, table: pd.DataFrame) -> str:
    """Return 16 hex digits of the run, of what computed, and of each image's name and bytes."""
    of = made_of + "\n".join(table["image"] + "\0" + table["image_id"])
    return hashlib.sha256(of.encode(errors="surrogatepass")).hexdigest()[:16]


def _write(
    out: Path, table: pd.DataFrame, record: AssignmentRecord, seconds: float, format: str
) -> AssignmentRecord:
    """Write the table and its record, and return the record with how long it took."""
    speed = len(table) / seconds
    record = replace(record, seconds=round(seconds, 3), images_per_second=speed)
    with writing(out, _OUT):
        return write_pair(table, record, out, format == "parquet")
