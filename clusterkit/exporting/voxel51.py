"""FiftyOne (of Voxel51): a persistent dataset with predictions, tags and clusterkit's fields."""

import os
from pathlib import Path
from typing import Any

from clusterkit.data.frames import name_of
from clusterkit.errors import ConfigError, DataError
from clusterkit.exporting.output_folder import Names
from clusterkit.exporting.selection import ANSWERED, ExportBatch, ExportRow

PIP = "pip install 'clusterkit[export]'"

# Marks a dataset as one that export made, and may replace.
_OWN = "clusterkit_export"
_AT_ONCE = 1000


def load_fiftyone() -> Any:
    """Import FiftyOne.

    Raises
    ------
    ConfigError
        It is not installed, or its database does not start.
    """
    try:
        import fiftyone
    except ImportError as error:
        raise ConfigError(f"FiftyOne is not installed; run: {PIP}") from error
    except Exception as error:
        # It starts its database on import, and fails with whatever that fails with.
        raise ConfigError(f"FiftyOne does not start: {str(error)[:200]}") from error
    return fiftyone


def add_dataset(batch: ExportBatch, folder: Path, out: Path, copy: bool, name: str) -> list[str]:
    """Make a dataset; pictures of frames (with `copy`, of all images) go into `folder`.

    Parameters
    ----------
    batch : ExportBatch
    folder : Path
        To write into; it will be called `out`.
    copy : bool
        Write each image as PNG: FiftyOne shows no DICOM.
    name : str
        Of the dataset; one that export made is replaced.

    Returns
    -------
    list of str: what to do next, for a person.
    """
    fo = load_fiftyone()
    _check_own(fo, name)
    samples: list[tuple[str, ExportRow]] = []
    names = Names()
    for number, row in enumerate(batch.rows, 1):
        path = os.path.abspath(row.path)
        if copy or row.frame >= 0:
            file = batch.write_picture(row, folder, names)
            if file is None:
                continue
            path = os.path.abspath(out / file)
        samples.append((path, row))
        batch.report(number)
    if not samples:
        raise DataError(f"none of the {len(batch.rows)} images can be read; see --status")
    batch.rows = [row for _, row in samples]
    # Under another name until it is whole.
    partial = f"{name}.partial-{os.getpid()}"
    dataset = fo.Dataset(partial)
    try:
        dataset.info[_OWN] = batch.run.info.id
        for start in range(0, len(samples), _AT_ONCE):
            part = samples[start : start + _AT_ONCE]
            dataset.add_samples([_sample(fo, *s) for s in part], progress=False)
        _check_own(fo, name)
        if fo.dataset_exists(name):
            fo.delete_dataset(name)
        dataset.name = name
        dataset.persistent = True
        dataset.save()
    except BaseException:
        dataset.delete()
        raise
    return [f"fiftyone app launch, and choose the dataset {name}"]


def _check_own(fo: Any, name: str) -> None:
    if fo.dataset_exists(name) and _OWN not in fo.load_dataset(name).info:
        raise ConfigError(f"FiftyOne has a dataset '{name}' that export did not make; give another "
                          "--name")  # fmt: skip


def _sample(fo: Any, path: str, row: ExportRow) -> Any:
    sample = fo.Sample(filepath=path, tags=[row.status])
    if row.status in ANSWERED:
        sample["prediction"] = fo.Classification(
            label=row.predicted_label, confidence=row.confidence
        )
    if row.cluster is not None:
        sample["cluster"] = row.cluster
    frame = str(row.frame) if row.frame >= 0 else None
    sample["image_name"] = name_of(row.image, frame)
    # An empty text would be a value of its own in the sidebar's filters.
    for field in ("image_id", "group", "reason"):
        if getattr(row, field):
            sample[field] = getattr(row, field)
    return sample
