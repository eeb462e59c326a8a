"""`certify`: a certificate for one batch of labels from a short random check by a person."""

import logging
import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

import clusterkit
from clusterkit.certifying.answers import Answers, check_complete, match_answers
from clusterkit.certifying.batch_to_certify import PlannedBatch, read_batch_to_certify
from clusterkit.certifying.certificate_file import (
    ANSWERS,
    CERTIFICATE,
    REVIEWS,
    Certificate,
    certificate_of,
    read_answer_ids,
    read_certificate,
    read_reviews_copy,
    write_answers,
    write_reviews_copy,
)
from clusterkit.certifying.certificate_page import write_certificate_page
from clusterkit.certifying.certify_page import render_certify_page
from clusterkit.certifying.drawn_sample import read_sample
from clusterkit.certifying.outcome import certified_table, record_of
from clusterkit.certifying.page_contents import THUMBS, SamplePictures, page_contents
from clusterkit.certifying.plan import time_now
from clusterkit.certifying.planning import Wanted, agreed_plan
from clusterkit.certifying.proof import Proof, prove
from clusterkit.certifying.words import certify_step
from clusterkit.data.labels import near_hint, nearest_label
from clusterkit.encoders.checksums import sha256_of
from clusterkit.errors import DataError
from clusterkit.formats.arrow_tables import has_parquet
from clusterkit.formats.assignment_pair import replace_pair, write_checked
from clusterkit.formats.assignments import STATUSES
from clusterkit.formats.atomic import write_json
from clusterkit.formats.certificate_record import CertificateRecord
from clusterkit.formats.known_images import Assigned
from clusterkit.formats.locking import locked
from clusterkit.formats.result_card import ResultCard, Shown
from clusterkit.formats.reviews import spread_reviews
from clusterkit.formats.run import Run
from clusterkit.output import check_writable, writing
from clusterkit.progress import Progress, with_bar

log = logging.getLogger("clusterkit")

_OUT = "--out DIR"
PAGE = "index.html"


@dataclass(frozen=True, repr=False)
class Certification(Shown):
    """The state of a check, and the certificate if answers were given.

    Attributes
    ----------
    folder : Path
    proof : Proof
    answers : Answers or None
        Those that were given, else those in `reviews.csv` beside the assignments; None: none.
    record : CertificateRecord or None
        None: no reviews were given, and nothing was written into the assignments.
    assignments : Path
    assigned : Assigned
        The labels as `assign` set them, which answers are about.
    """

    folder: Path
    proof: Proof
    answers: Answers | None
    record: CertificateRecord | None
    assignments: Path
    assigned: Assigned

    @property
    def page(self) -> Path:
        """The page that asks."""
        return self.folder / PAGE

    @property
    def certificate(self) -> Path | None:
        """The printable certificate; None: there is none yet."""
        path = self.folder / "certificate.html"
        return path if path.is_file() else None

    def card(self) -> ResultCard:
        """Return what is shown of it in a notebook or at a prompt."""
        said = self.record.statement if self.record else "not certified yet"
        facts = {"certificate": said, "page": str(self.page)}
        return ResultCard(f"Certification {self.folder}", facts)


@with_bar
def certify(
    run: Run | Path | str,
    *,
    assignments: Path | str | None = None,
    out: Path | str | None = None,
    reviews: Sequence[Path | str] | Path | str = (),
    max_error: float | None = None,
    confidence: float | None = None,
    budget: int | None = None,
    by: str | None = None,
    question: str | None = None,
    show_label: bool | None = None,
    seed: int | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
) -> Certification:
    """Draw a random sample of a batch's labels to be checked, or certify them by the answers.

    Without `reviews` the page that asks is written; the same sample comes back whenever it is
    called again. With `reviews` the labels in the assignments become `assigned` and `reviewed`.
    What is None is as in the plan that is there.

    Parameters
    ----------
    run : Run or path
    assignments : path or None
        The CSV; None: the run's own.
    out : path or None
        Folder of the page and the certificate; None: ``certify`` beside the assignments.
    reviews : path or sequence of path
        Answers, as `read_reviews` takes them.
    max_error, confidence, budget, by, question, show_label, seed
        See `planning.Wanted`.
    fresh : bool
        Draw anew: the sample and certificate that are there are kept beside as ``certify-1``.
    progress : callable or None
        Called with (stage, done, total); None: a bar where a person is there.

    Raises
    ------
    ClusterkitError
        There are no assignments, or they are not those of the plan; or the reviews cannot be used.
    """
    run = run if isinstance(run, Run) else Run.load(run)
    csv = Path(assignments) if assignments else run.own("assignments.csv")
    folder = Path(os.path.abspath(out)) if out else csv.parent / "certify"
    files = [reviews] if isinstance(reviews, str | Path) else list(reviews)
    wanted = Wanted(max_error, confidence, budget, by, question, show_label, seed)
    wanted.check()
    _check_folder(folder, by_default=out is None)
    with writing(folder, _OUT):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            batch = read_batch_to_certify(run, csv, folder, fresh, not files)
            batch, planned = agreed_plan(run, batch, wanted)
            if planned or not files:
                _write_page(run, batch, progress)
            if not files:
                return _state(batch)
            return _conclude(batch, files)


def _check_folder(folder: Path, *, by_default: bool) -> None:
    """Refuse what cannot be written, and links that somebody else may have put there."""
    links = [folder] if by_default else []
    for path in (*links, folder / THUMBS):
        if path.is_symlink():
            raise DataError(f"{path} is a link; remove it, or give another {_OUT}")
    check_writable(folder, _OUT, folder=True)


def _write_page(run: Run, batch: PlannedBatch, progress: Progress | None) -> None:
    """Draw the page; pictures that are there already are kept."""
    sample = read_sample(batch.folder, batch.plan.sample)
    pictures = SamplePictures(run, batch.inputs, batch.folder)
    step = shlex.join([*certify_step(run.path, batch.csv, batch.folder), "--reviews", REVIEWS])
    page = page_contents(
        run, batch.plan, batch.table, sample, pictures, batch.assigned.fingerprint, step, progress
    )
    render_certify_page(batch.folder, page)


def _warn_of_labels(answers: Answers, batch: PlannedBatch) -> None:
    """Say which answers are no class of the run: a letter too many counts as different."""
    known = sorted({*batch.labelled["label"].dropna(), *batch.table["predicted_label"]} - {""})
    for label in sorted(set(answers.table["label"]) - {"", *known}):
        near = near_hint(label, nearest_label(label, known))
        log.warning("answers name '%s'%s, which is no label of the run: they count as different",
                    label, near)  # fmt: skip


def _state(batch: PlannedBatch) -> Certification:
    """Return what the reviews beside the assignments say so far, without changing anything."""
    path, answers = batch.csv.parent / REVIEWS, None
    if path.is_file():
        sample = read_sample(batch.folder, batch.plan.sample)["image_id"].tolist()
        reviews = [spread_reviews(path, batch.assigned, batch.labelled)]
        answers = match_answers(reviews, sample, batch.plan.created)
    proof = prove(batch.plan, batch.population, batch.sets, answers)
    return Certification(batch.folder, proof, answers, None, batch.csv, batch.assigned)


def _conclude(batch: PlannedBatch, files: list[Path | str]) -> Certification:
    """Write the certificate, and the labels after it."""
    sample = read_sample(batch.folder, batch.plan.sample)["image_id"].tolist()
    reviews = [spread_reviews(file, batch.assigned, batch.labelled) for file in files]
    given = match_answers(reviews, sample, batch.plan.created)
    made = read_certificate(batch.folder)
    count = made.found.answered if made else 0
    check_complete(given, read_answer_ids(batch.folder), count, str(batch.folder / REVIEWS))
    _warn_of_labels(given, batch)
    copied = batch.folder / REVIEWS
    write_reviews_copy(reviews, copied)
    # From the copy, as whoever verifies it will.
    answers = match_answers([read_reviews_copy(copied, batch.assigned)], sample, batch.plan.created)
    proof = prove(batch.plan, batch.population, batch.sets, answers)
    now = time_now()
    record = record_of(proof, answers, now, batch.relative_folder)
    table = certified_table(batch.table, proof, answers)
    partial = write_checked(table, batch.csv)
    try:
        digest = sha256_of(partial)
        digests = (digest, _replaced(digest, batch.csv, made))
        versions = {"clusterkit": clusterkit.__version__}
        certificate = certificate_of(proof, answers, record, digests, versions)
        write_answers(answers.table, batch.folder / ANSWERS)
        write_json(batch.folder / CERTIFICATE, certificate.to_dict())
        write_certificate_page(batch.folder, proof, answers, certificate)
        _replace(batch, partial, table, record)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    counted = replace(answers, clusters=given.clusters)
    return Certification(batch.folder, proof, counted, record, batch.csv, batch.assigned)


def _replaced(coming: str, csv: Path, made: Certificate | None) -> str:
    """Return the digest of the table that is replaced.

    The very table that is to come may be there already, where a command was ended after it had
    put it there: what it replaced was another.
    """
    there = sha256_of(csv)
    return made.before if made and there == coming == made.file else there


def _replace(
    batch: PlannedBatch, partial: Path, table: pd.DataFrame, record: CertificateRecord
) -> None:
    """Put the labels after the certificate in their place, and what is said of them beside."""
    counts = table["status"].value_counts()
    labelled = table["predicted_label"][table["status"].isin(["assigned", "reviewed", "duplicate"])]
    promise: dict[str, Any] = {}
    if record.certified:
        # What had been promised was about other labels than those that are assigned now.
        batches = [replace(one, promise=None, promise_text=None) for one in batch.record.batches]
        promise = {"promise": None, "promise_text": record.statement, "batches": batches,
                   "ladder": [], "certify_answers": None}  # fmt: skip
    values = replace(
        batch.record,
        status={s: int(counts.get(s, 0)) for s in STATUSES},
        assigned_by_class={str(c): int((labelled == c).sum()) for c in sorted(set(labelled))},
        certificate=record,
        **promise,
    )
    replace_pair(partial, values, batch.csv, table if has_parquet(batch.csv) else None)
