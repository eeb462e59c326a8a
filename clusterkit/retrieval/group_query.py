"""The query of `similar_groups`: the images of one patient, read or taken from the run."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from clusterkit.config import Config
from clusterkit.data.adapters.csv import CsvAdapter
from clusterkit.data.features.table import FeatureTable, is_feature_file
from clusterkit.data.features.vector_lookup import inputs_of_table, look_up
from clusterkit.data.frames import names_of
from clusterkit.data.inputs import read_inputs
from clusterkit.data.loading import ImageRef, image_refs, load_batches, workers_for
from clusterkit.data.outcome_table import find_group
from clusterkit.data.pseudonyms import key_fingerprint, key_path, read_key
from clusterkit.errors import DataError, ImageError, nearest_name
from clusterkit.formats.run import Run
from clusterkit.inference.predictor import Predictor

log = logging.getLogger("clusterkit")


@dataclass(frozen=True)
class GroupQuery:
    """The images of one patient, A of them.

    Attributes
    ----------
    names : list of str
    refs : list of ImageRef
        Empty for a group of the run: its files are looked for when a picture is wanted, not
        before, since the data may be elsewhere.
    ids : list of str
        Their image_ids.
    features : (A, D)
        Siamese features.
    group : str or None
        The run's group that the images are of, where it has one.
    near_ids : frozenset of str
        Ids of labelled images that images of the query are near duplicates of.
    """

    names: list[str]
    refs: list[ImageRef]
    ids: list[str]
    features: torch.Tensor
    group: str | None = None
    near_ids: frozenset[str] = frozenset()


def patient_key(run: Run, config: Config) -> bytes | None:
    """Return the key that the run's patient ids are hashed with; None: it is not here."""
    fingerprint, path = run.info.data.patient_key, key_path(config.data.key_file)
    if not fingerprint or not path.is_file():
        return None
    if key_fingerprint(run.manifest["group"], config.data.key_file) == fingerprint:
        return read_key(path)
    log.warning("patient ids were hashed with another key than %s: only hashes are known; name "
                "the key with data.key_file", path)  # fmt: skip
    return None


def named_group(run: Run, name: str, key: bytes | None) -> str:
    """Return the run's group of a name, or of the hash of a patient id.

    Raises
    ------
    DataError
        There is none.
    """
    groups = run.manifest["group"][run.manifest["group"] != ""].unique()
    found = find_group(name, set(groups), key)
    if found is None:
        raise DataError(
            f"'{name}' is no file, no folder, and no group of this run"
            f"{nearest_name(name, groups)}; its {len(groups)} groups are e.g. "
            + ", ".join(map(str, groups[:3]))
        )
    return found


def query_of_group(run: Run, group: str) -> GroupQuery:
    """Return the query that a group of the run is."""
    rows = np.flatnonzero(run.manifest["group"] == group)
    part = run.manifest.iloc[rows]
    features = run.gallery["features"][torch.from_numpy(rows)]
    return GroupQuery(names_of(part).tolist(), [], part["image_id"].tolist(), features, group)


def read_query(
    predictor: Predictor, path: Path, config: Config, table: FeatureTable | None = None
) -> GroupQuery:
    """Read and encode an image or a folder of them; images that cannot be read are left out.

    Parameters
    ----------
    predictor : Predictor
    path : Path
    config : Config
    table : FeatureTable or None
        Of a run on given features, those of the images; `path` may be its file.

    Raises
    ------
    ClusterkitError
        The path is a table, or none of its images can be read.
    """
    how = "give an image, a folder of one patient's images, or the name of a group"
    if CsvAdapter.accepts(path, config.data):
        raise DataError(f"{path} is a table and not a patient; {how}")
    given = None
    if table is not None and is_feature_file(path):
        rows = inputs_of_table(table, path.parent if path.is_file() else path)
    else:
        rows = read_inputs(path, config)
    if table is not None:
        given, rows = look_up(table, rows)
    refs, names = image_refs(rows), names_of(rows).tolist()
    features: list[torch.Tensor] = []
    ids: list[str] = []
    errors: list[str] = []
    near_ids: set[str] = set()
    labelled_ids = predictor.run.manifest["image_id"].to_numpy()
    read = load_batches if given is None else given.batches
    for batch in read(refs, predictor.run.config.image, 32, workers_for(refs)):
        readable = batch.errors == ""
        ids += batch.ids.tolist()
        errors += batch.errors.tolist()
        matched, _ = predictor.near.match(batch.signatures)
        near_ids |= set(labelled_ids[matched[matched >= 0]])
        if readable.any():
            features.append(predictor.features(batch.images[readable])[0])
    failed = [i for i, error in enumerate(errors) if error]
    if len(failed) == len(names):
        what = f"none of the {len(names)} images in {path} can be read, e.g. {names[0]}"
        raise ImageError(f"{what if path.is_dir() else path}: {errors[0]}; {how}")
    if failed:
        log.warning("%d of the %d images in %s cannot be read and are left out, e.g. %s: %s",
                    len(failed), len(names), path, names[failed[0]], errors[failed[0]])  # fmt: skip
    good = [i for i, error in enumerate(errors) if not error]
    return GroupQuery([names[i] for i in good], [refs[i] for i in good], [ids[i] for i in good],
                      torch.cat(features), _group_in_headers(rows, path, predictor.run),
                      frozenset(near_ids))  # fmt: skip


def _group_in_headers(rows: pd.DataFrame, path: Path, run: Run) -> str | None:
    """Return the run's group that a query's own headers (DICOM) name, if it is one."""
    run_groups = set(run.manifest["group"])
    if str(path) in run_groups:
        log.warning("'%s' is a file or folder here and also a group of the run: what is in the "
                    "file or folder is compared", path)  # fmt: skip
    groups = sorted(set(rows["group"].dropna()))
    if len(groups) > 1:
        log.warning("%s holds images of %d patients, e.g. %s and %s: all are taken for one", path,
                    len(groups), *groups[:2])  # fmt: skip
    if len(groups) != 1 or groups[0] not in run_groups:
        return None
    log.warning("%s is of %s, a group of the run: that group is left out", path, groups[0])
    return groups[0]
