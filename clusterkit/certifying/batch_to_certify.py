"""The labels of a batch as `assign` wrote them, and the plan that they are certified by."""

import glob
import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from clusterkit.auditing.batch import read_batch
from clusterkit.certifying.certificate_file import BEFORE, read_certificate
from clusterkit.certifying.plan import Plan, read_plan
from clusterkit.certifying.population import Population
from clusterkit.data.files import ImageFolder
from clusterkit.data.written_names import folder_of_record, relative_folder
from clusterkit.encoders.checksums import sha256_of
from clusterkit.errors import DataError, RunError
from clusterkit.formats.assignment_record import AssignmentRecord
from clusterkit.formats.assignments import (
    read_assignments,
    read_record,
)
from clusterkit.formats.atomic import replacing, write_json
from clusterkit.formats.known_images import Assigned
from clusterkit.formats.run import Run
from clusterkit.methods.nested_sets import NestedSets

log = logging.getLogger("clusterkit")

# Of a million labels the other columns would take as long again.
_ASKED = ("image", "image_id", "status", "predicted_label", "confidence", "group", "cluster",
          "nearest_image")  # fmt: skip


@dataclass(frozen=True)
class BatchToCertify:
    """A batch, before and with its plan.

    Attributes
    ----------
    folder : Path
        Of the certificate.
    csv : Path
        The assignments.
    table : DataFrame
        As `assign` wrote them, whatever a certificate has made of them since.
    record : AssignmentRecord
        Likewise.
    inputs : ImageFolder
        Where the images are.
    labelled : DataFrame
        image_id and label of the run's labelled images.
    source : Path
        The file that holds `table`.
    digest : str
        SHA-256 of it.
    earlier : Plan or None
        The plan that is there; None: a new one is to be made.
    replaced : Plan or None
        The last plan that was put aside: the new one draws anew.
    """

    folder: Path
    csv: Path
    table: pd.DataFrame
    record: AssignmentRecord
    inputs: ImageFolder
    labelled: pd.DataFrame
    source: Path
    digest: str
    earlier: Plan | None
    replaced: Plan | None

    @property
    def assigned(self) -> Assigned:
        """The labels that reviews are about."""
        return Assigned(self.table, self.inputs.root, str(self.csv), self.record.fingerprint or "",
                        self.inputs.link_roots, tuple(self.record.batches))  # fmt: skip

    @property
    def relative_folder(self) -> str:
        """The folder, as seen from the assignments."""
        return relative_folder(self.folder.absolute(), self.csv.absolute().parent)


@dataclass(frozen=True)
class PlannedBatch(BatchToCertify):
    """A batch with its plan, population and sets."""

    plan: Plan
    population: Population
    sets: NestedSets


def read_batch_to_certify(
    run: Run, csv: Path, folder: Path, fresh: bool, asking: bool
) -> BatchToCertify:
    """Read the labels of a batch, and the plan if there is one.

    Parameters
    ----------
    run : Run
    csv : Path
    folder : Path
        Of the certificate; it is there.
    fresh : bool
        Put the plan that is there aside.
    asking : bool
        Nothing is certified now: only what drawing and asking needs is read.

    Raises
    ------
    ClusterkitError
        There are no assignments, another run made them, or they are not those of the plan.
    """
    if not csv.is_file():
        raise RunError(f"{csv} does not exist: there is no label to certify; run `clusterkit "
                       "assign` first")  # fmt: skip
    plan = read_plan(folder)
    _check_folder(folder, csv, plan)
    source = _source(csv, folder, plan, fresh) if plan else csv
    columns = _ASKED if asking else None
    # Else a certificate that was being written is finished now.
    batch = read_batch(run, csv, columns, paired=source == csv)
    table, record = batch.table, batch.record
    if source != csv:
        table, record = read_assignments(source, columns), read_record(source)
        record = replace(record, input_root=batch.record.input_root,
                         link_roots=batch.record.link_roots)  # fmt: skip
    elif batch.record.certificate is not None or (table["status"] == "reviewed").any():
        raise DataError(
            f"{csv} holds a certificate already, whose folder is not {folder}; name that folder "
            "with --out, or run `clusterkit assign` again"
        )
    if plan and fresh:
        if source != csv:
            # Until there is a new certificate, the labels are those that are to be certified. And
            # first: whoever is interrupted here goes on with the old plan.
            _copy(source, csv)
            write_json(csv.with_suffix(".json"), record.to_dict())
        folder.rename(_free(folder, plan.version))
        folder.mkdir()
        source, plan = csv, None
    replaced = _put_aside(folder, csv) if plan is None else None
    labelled = run.manifest[["image_id", "label"]]
    digest = sha256_of(source)
    return BatchToCertify(folder, csv, table, record, batch.inputs, labelled, source, digest, plan,
                          replaced)  # fmt: skip


def _put_aside(folder: Path, csv: Path) -> Plan | None:
    """Return the last plan about a table that was put aside; a new one names it."""
    found = []
    for path in folder.parent.glob(f"{glob.escape(folder.name)}-*"):
        try:
            plan = read_plan(path) if path.is_dir() else None
        except DataError as error:
            log.info("%s is not looked at: %s", path, error)
            continue
        if plan is not None and _names(path, plan, csv):
            found.append(plan)
    return max(found, key=lambda plan: plan.version, default=None)


def _names(folder: Path, plan: Plan, csv: Path) -> bool:
    return folder_of_record(plan.assignments, folder.absolute()).resolve() == csv.resolve()


def _source(csv: Path, folder: Path, plan: Plan, fresh: bool) -> Path:
    """Return the file with the labels as `assign` wrote them: the table, or the copy of it."""
    certified, digest = read_certificate(folder), sha256_of(csv)
    if certified and digest in (certified.file, certified.before):
        source = folder / BEFORE
        if not source.is_file() or sha256_of(source) != plan.file:
            raise DataError(f"{source} was changed since the sample was drawn; put it back from a "
                            "copy, or run `clusterkit assign` and then certify --fresh"
                            )  # fmt: skip
        return source
    if digest != plan.file and not fresh:
        raise DataError(
            f"{csv} is not what the sample in {folder} was drawn from: assign was run anew, or "
            f"somebody changed it; copy {folder / BEFORE} over it and the .json of that name over "
            f"{csv.with_suffix('.json').name} to go on, or draw anew with --fresh (answers that "
            "were given stay in reviews.csv)"
        )
    return csv


def keep_before(batch: BatchToCertify) -> None:
    """Copy the assignments as `assign` wrote them into the folder of the certificate."""
    copy = batch.folder / BEFORE
    about = copy.with_suffix(".json")
    # Of a command that was ended between the two there is the first alone.
    if copy.is_file() and about.is_file() and sha256_of(copy) == batch.digest:
        return
    _copy(batch.source, copy)
    start = batch.folder.absolute()
    place = batch.inputs.root
    root = relative_folder(place.absolute() if isinstance(place, Path) else place, start)
    links = [relative_folder(Path(link).absolute(), start) for link in batch.inputs.link_roots]
    record = replace(batch.record, input_root=root, link_roots=links)
    write_json(about, record.to_dict())


def _copy(source: Path, target: Path) -> None:
    """Copy a file, whole or not at all."""
    with open(source, "rb") as whole, replacing(target, "wb") as file:
        shutil.copyfileobj(whole, file)


def _check_folder(folder: Path, csv: Path, plan: Plan | None) -> None:
    """Refuse a folder of somebody else's files; what was begun there for this table is gone on."""
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    if plan is not None or not names:
        return
    copy = folder / BEFORE
    begun = names <= {BEFORE, "assignments.json", "sample.csv"} and copy.is_file()
    if not begun or sha256_of(copy) != sha256_of(csv):
        raise DataError(f"{folder} holds files and no plan of a certificate; give another --out")


def _free(folder: Path, version: int) -> Path:
    number = version
    while (path := folder.with_name(f"{folder.name}-{number}")).exists():
        number += 1
    return path
