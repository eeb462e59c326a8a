"""FiftyOne (of Voxel51): a persistent dataset with predictions, tags and clusterkit's fields."""

import logging
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import Timeout

from clusterkit.errors import ConfigError, DataError, shown
from clusterkit.exporting.output_folder import Names
from clusterkit.exporting.selection import IMAGES, ExportBatch
from clusterkit.exporting.voxel51_embeddings import embeddings_of
from clusterkit.exporting.voxel51_samples import FIELDS, SampleToWrite, row_samples, with_labelled
from clusterkit.exporting.voxel51_update import DatasetWriter
from clusterkit.exporting.voxel51_views import (
    EMBEDDING,
    index_similarity,
    save_views,
    set_classes,
)
from clusterkit.formats.fiftyone_answers import (
    DECISION_TAGS,
    EARLIER,
    GROUND_TRUTH,
    PREDICTION,
    REVIEW,
    REVIEW_TIME,
)
from clusterkit.formats.fiftyone_database import ABOUT, FORMAT, RUN, about, fiftyone_database
from clusterkit.formats.fiftyone_dataset import PREFIX
from clusterkit.formats.known_images import clusters_fingerprint
from clusterkit.formats.locking import acquire
from clusterkit.formats.run import Run

log = logging.getLogger("clusterkit")

# What exports wrote before they noted it.
_FIRST_FIELDS = ("cluster", "image_name", "image_id", "group", "reason", PREDICTION)


def load_fiftyone() -> Any:
    """Import FiftyOne, and see that its database answers.

    Raises
    ------
    ConfigError
        It is not installed, or its database does not start.
    """
    with fiftyone_database("it was opened") as fo:
        return fo


def default_name(run: Run, assignments: Path | None) -> str:
    """Name a dataset after its run, and after the batch's folder where it is not the run's own."""
    name = run.path.absolute().name
    if assignments is not None:
        folder = assignments.absolute().parent
        name += "" if folder == run.path.absolute() else f"-{folder.name}"
    return "clusterkit-" + (re.sub(r"[^\w-]+", "-", name, flags=re.ASCII).strip("-") or "run")


def folder_name(name: str) -> str:
    """Name the folder of a dataset's pictures."""
    return Names().choose(name)


def check_dataset(run: Run, name: str) -> None:
    """Refuse a name that cannot be used, before images are read.

    Raises
    ------
    ConfigError
        It is none that FiftyOne takes, or that of a dataset which export did not make or made of
        another run.
    """
    with fiftyone_database(f"the dataset {shown(name)} was looked for") as fo:
        if not fo.dataset_exists(name):
            _check_name(fo, name)
            return
        of = fo.load_dataset(name).info.get(RUN)
        if of is None:
            raise ConfigError(f"FiftyOne has a dataset '{shown(name)}' that export did not make; "
                              "give another --name")  # fmt: skip
        if of != run.info.id:
            free = _free_name(fo, name, run)
            raise ConfigError(
                f"FiftyOne's dataset '{shown(name)}' is of another run (id {shown(str(of))}; this "
                f"one's is {run.info.id}), and may hold answers to it; give another --name, e.g. "
                f"{free}"
            )


def add_dataset(batch: ExportBatch, folder: Path, out: Path, copy: bool, name: str) -> list[str]:
    """Make a dataset, or renew it; pictures of frames, or of all images, go into `folder`.

    Parameters
    ----------
    batch : ExportBatch
    folder : Path
        To write into; it will be called `out`.
    copy : bool
        Write each image as PNG: FiftyOne shows no DICOM.
    name : str
        Of the dataset; in one that export made of the same run, samples are renewed in place.

    Returns
    -------
    list of str: what to know and to do next, for a person.
    """
    # Twice: minutes may lie between.
    check_dataset(batch.run, name)
    names = Names()
    samples = row_samples(batch, folder, out, copy, names)
    if not samples:
        raise DataError("none of the chosen images can be read; see --status")
    samples = with_labelled(samples, batch, folder, out, copy, names)
    with _alone(out, name), fiftyone_database(f"the dataset {shown(name)} was written") as fo:
        check_dataset(batch.run, name)
        exists = fo.dataset_exists(name)
        said = (_renew if exists else _make)(fo, batch, samples, name)
        if exists:
            _keep_pictures(fo.load_dataset(name), folder, out)
    shell = shlex.quote(name)
    file = batch.csv.parent / "fiftyone-reviews.csv"
    return [
        *said,
        f"fiftyone app launch {shell}",
        f"there write true labels into the field {REVIEW}, or set the tags "
        f"{', '.join(DECISION_TAGS)}; then",
        f"clusterkit review --from {shlex.quote(PREFIX + name)} --out {shlex.quote(str(file))}",
    ]


@contextmanager
def _alone(out: Path, name: str) -> Iterator[None]:
    """Let one process at a time write a dataset and its folder."""
    place = out.with_name(f".{out.name}.lock")
    try:
        lock = acquire(place, timeout=0)
    except Timeout as error:
        raise ConfigError(f"another process writes the dataset '{shown(name)}' now; wait for it, "
                          "then run the same command again") from error  # fmt: skip
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):
            place.unlink(missing_ok=True)


def _make(fo: Any, batch: ExportBatch, samples: list[SampleToWrite], name: str) -> list[str]:
    vectors, why = embeddings_of(samples, batch.run, {}, batch.progress)
    # Under another name until it is whole; until then FiftyOne itself removes it at its next start.
    dataset = fo.Dataset(f"{name}.partial-{os.getpid()}")
    try:
        _note(dataset, batch, complete=False)
        DatasetWriter(fo, dataset).add(list(zip(samples, vectors, strict=True)))
        indexed = _finish(dataset, batch)
        _rename(dataset, name)
    except BaseException:
        # Where the database is gone, this fails as well.
        with suppress(Exception):
            dataset.delete()
        raise
    return _said(indexed, why)


def _rename(dataset: Any, name: str) -> None:
    try:
        dataset.name = name
    except ValueError as error:
        raise ConfigError(f"another process has made the dataset '{shown(name)}' meanwhile; run "
                          "the same command again") from error  # fmt: skip
    dataset.persistent = True
    dataset.save()


def _renew(fo: Any, batch: ExportBatch, samples: list[SampleToWrite], name: str) -> list[str]:
    dataset = fo.load_dataset(name)
    dataset.reload()
    writer = DatasetWriter(fo, dataset)
    writer.check_fields(set(about(dataset).get("fields") or _FIRST_FIELDS))
    vectors, why = embeddings_of(samples, batch.run, writer.stored_embeddings(), batch.progress)
    _note(dataset, batch, complete=False)
    renewed, earlier = writer.update(samples, vectors)
    indexed = _finish(dataset, batch)
    said = [f"{renewed} samples were renewed and {len(samples) - renewed} added; fields, tags and "
            "views of yours are as they were"]  # fmt: skip
    if earlier:
        said.append(f"{earlier} samples of an earlier export stay, with the tag {EARLIER}")
    if writer.moved:
        said.append(f"{writer.moved} labels that were changed there are in the field {REVIEW} now")
    return said + _said(indexed, why)


def _said(indexed: bool, why: str) -> list[str]:
    lines = [f"no embeddings {why}"] if why else []
    return lines + ([] if indexed else ["there is no similarity index: it needs fiftyone-brain "
                                        "and embeddings"])  # fmt: skip


def _note(dataset: Any, batch: ExportBatch, complete: bool) -> None:
    """Note which run and assignments are in a dataset; whole only at the end."""
    found = about(dataset)
    ours = set(found.get("fields") or (_FIRST_FIELDS if RUN in dataset.info else ()))
    found["fields"] = sorted({*ours, *FIELDS, PREDICTION, GROUND_TRUTH, EMBEDDING, REVIEW_TIME})
    if complete:
        # Compared with the time of each sample, which this process set too.
        latest = dataset.max("last_modified_at") or datetime.now(UTC)
        found |= {"format": FORMAT, "fingerprint": clusters_fingerprint(batch.table),
                  "assignments": str(batch.csv.absolute().parent),
                  "run": str(batch.run.path.absolute()),
                  "exported_at": latest.replace(tzinfo=None).isoformat()}  # fmt: skip
    dataset.info[RUN] = batch.run.info.id
    dataset.info[ABOUT] = found
    dataset.save()


def _finish(dataset: Any, batch: ExportBatch) -> bool:
    save_views(dataset)
    set_classes(dataset, batch.classes)
    indexed = index_similarity(dataset)
    _note(dataset, batch, complete=True)
    return indexed


def _keep_pictures(dataset: Any, folder: Path, out: Path) -> None:
    """Keep the pictures of earlier samples: the folder takes the place of the old one."""
    images = os.path.abspath(out / IMAGES)
    for path in dataset.values("filepath"):
        if os.path.dirname(path) != images or not os.path.isfile(path):
            continue
        new = folder / IMAGES / os.path.basename(path)
        if not new.exists():
            new.parent.mkdir(exist_ok=True)
            shutil.copy2(path, new)


def _check_name(fo: Any, name: str) -> None:
    """Refuse a name of which FiftyOne cannot make an address of its own."""
    try:
        slug = fo.core.utils.to_slug(name)
    except ValueError as error:
        raise ConfigError(f"'{shown(name)}' is no name for a dataset ({shown(str(error), 120)}); "
                          "give another --name") from error  # fmt: skip
    for other in fo.list_datasets():
        with suppress(ValueError):
            if fo.core.utils.to_slug(other) == slug:
                raise ConfigError(
                    f"FiftyOne cannot tell the name '{shown(name)}' from that of its dataset "
                    f"'{shown(other)}'; give another --name"
                )


def _free_name(fo: Any, name: str, run: Run) -> str:
    taken = {fo.core.utils.to_slug(other) for other in fo.list_datasets()}
    for wanted in (
        default_name(run, None),
        *(f"{default_name(run, None)}-{n}" for n in range(2, 99)),
    ):
        if fo.core.utils.to_slug(wanted) not in taken:
            return wanted
    return f"{name}-{run.info.id}"
