"""A person's reviews: checked against a run, and turned into labels for the next fit."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from clusterkit.data.features.table import FeatureTable
from clusterkit.data.features.vector_lookup import row_of
from clusterkit.data.files import inside_root
from clusterkit.data.frames import files_of, name_of
from clusterkit.data.identity import image_id_of
from clusterkit.data.imageio.read import read_bytes
from clusterkit.data.label_map import LabelMap, read_label_map
from clusterkit.data.labels import near_hint
from clusterkit.data.manifest_rows import file_numbers
from clusterkit.data.remote_places import Place, local_place
from clusterkit.data.written_names import written_name
from clusterkit.errors import DataError, RunError
from clusterkit.formats.assignment_pair import load_assigned
from clusterkit.formats.atomic import write_bytes
from clusterkit.formats.cluster_trust import trust_of
from clusterkit.formats.csv_text import same_table
from clusterkit.formats.fiftyone_dataset import is_fiftyone
from clusterkit.formats.named_assignments import assigned_for, named_assignments, named_for_each
from clusterkit.formats.review_place import folder_of_reviews, run_of_assignments, run_of_dataset
from clusterkit.formats.review_settling import SettledReview, settle, settled_rows, summarise
from clusterkit.formats.reviews import Reviews, review_bytes, spread_reviews
from clusterkit.formats.run import read_run_info
from clusterkit.formats.run_files import read_run_manifest
from clusterkit.output import writing

log = logging.getLogger("clusterkit")


@dataclass
class Applied:
    """A manifest with reviews in it.

    Attributes
    ----------
    manifest : DataFrame
        As `read_manifest` gives it, with `provenance`: given, reviewed, cluster:<n>; rejected
        where a reviewer took a label away or refused one; None where there is no label. With
        reviews also `trust`, see `formats.cluster_trust`.
    roots : list of Path
        Folders outside the data root that labelled images are relative to.
    summary : dict
        See `formats.review_settling.summarise`; {} without reviews.
    """

    manifest: pd.DataFrame
    roots: list[Path] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)


def review(
    reviews: Path | str,
    run: Path | str | None = None,
    out: Path | str | None = None,
    label_map: Path | str | None = None,
) -> dict[str, Any]:
    """Check a reviews file against a run, and return what it would change.

    Parameters
    ----------
    reviews : path or str
        A `reviews.csv`; a row's image_id may be ``cluster:<n>``. Or Label Studio's JSON export of
        a project that `export` prepared. Or ``fiftyone:NAME``, a FiftyOne dataset that it made.
    run : path or None
        The run, the folder or the CSV of the assignments; None: see
        `review_place.folder_of_reviews`.
    out : path or None
        Write the checked rows there, as a `reviews.csv`; None: nothing is written.
    label_map : path or None
        A CSV of labels to rename (see `data.label_map`); None: that which the run was fitted with.

    Returns
    -------
    dict: see `formats.review_settling.summarise`; and `against`, the assignments that were used.

    Raises
    ------
    ClusterkitError
        One line for the first row that cannot be used, or there are no assignments; or `out` holds
        something else already.
    """
    if not is_fiftyone(reviews) and not Path(reviews).exists():
        raise DataError(f"reviews file {reviews} does not exist; check the path")
    csv = named_assignments(folder_of_reviews(reviews) if run is None else run)
    assigned = load_assigned(csv)
    made_by = run_of_assignments(csv.parent) or run_of_dataset(reviews)
    names = read_label_map(label_map) if label_map else _names_of(made_by)
    labelled = _labelled_of(made_by)
    labelled = labelled.assign(label=pd.Series(names.renamed(labelled["label"]), dtype=object))
    spread = [spread_reviews(reviews, assigned, labelled, names)]
    settled = settle(spread, labelled)
    summary = summarise(spread, settled, labelled) | {"against": assigned.where}
    unused = names.unused([*labelled["label"], *spread[0].rows["label"]])
    if label_map and unused:
        log.warning("%s", unused)
    if out is not None:
        write_reviews(spread[0].rows, Path(out))
        summary["out"] = str(out)
    return summary


def write_reviews(rows: pd.DataFrame, path: Path) -> None:
    """Write reviews as a `reviews.csv`, whole or not at all; further columns where a row has one.

    Raises
    ------
    DataError
        Something else is there already, or it cannot be written.
    """
    content = review_bytes(rows)
    if os.path.isdir(path) or not path.name:
        raise DataError(f"{path} is a folder; give --out a file, e.g. reviews.csv")
    with writing(path, "--out CSV"):
        if path.exists() and (not path.is_file() or not same_table(path.read_bytes(), content)):
            raise DataError(f"{path} exists and holds something else; give another --out")
        write_bytes(path, content)


def apply_reviews(
    manifest: pd.DataFrame,
    paths: list[Path | str],
    root: Path,
    unlabeled: Path | None = None,
    names: LabelMap | None = None,
    features: FeatureTable | None = None,
    of: Sequence[Path | str] | Path | str | None = None,
) -> Applied:
    """Put reviews into a manifest.

    Images are known by their ids. Those that are not in the manifest are looked for where the
    assignments say they were, and must still have the same bytes.

    Parameters
    ----------
    manifest : DataFrame
        As `read_manifest` gives it.
    paths : list of path
        Reviews files; later ones win. What each is about says `review_place.folder_of_reviews`.
    root : path
        What the manifest's images are relative to.
    unlabeled : path or None
        What its unlabelled images from elsewhere are relative to.
    names : LabelMap or None
        Labels to be renamed: those of the manifest are already.
    features : FeatureTable or None
        Given: reviewed images need features, and their files may be gone.
    of : path, sequence of path or None
        What they are about, for all or for each, see `named_assignments.named_for_each`.

    Raises
    ------
    ClusterkitError
        A row cannot be used, or a reviewed image is not there any more.
    """
    manifest = manifest.assign(provenance=None).astype({"provenance": object})
    manifest.loc[manifest["label"].notna(), "provenance"] = "given"
    if not paths:
        return Applied(manifest)
    known = manifest[manifest["image_id"] != ""]
    about = zip(paths, named_for_each(paths, of), strict=True)
    spread = [spread_reviews(p, assigned_for(p, csv), known, names) for p, csv in about]
    settled = settle(spread, known)
    summary = summarise(spread, settled, known)
    summary["against"] = [s.assigned.where if s.assigned else None for s in spread]
    roots: list[Path] = []
    manifest = _set_known(manifest, settled, spread, roots, (root, unlabeled))
    there = settled["image_id"].isin(manifest["image_id"])
    wanted = settled[~there & (settled["label"] != "")]
    new = _find_new(wanted, spread, roots, root, features)
    manifest = pd.concat([manifest, new], ignore_index=True)
    _keep_split(manifest)
    trust = trust_of(spread, settled)
    manifest["trust"] = manifest["image_id"].map(trust).fillna(1.0).astype(float)
    _warn_of_new_classes(summary["new_classes"])
    _warn_of_groups(manifest)
    manifest = manifest.assign(_file=file_numbers(manifest))
    manifest = manifest.sort_values(["image", "_file"], ignore_index=True).drop(columns="_file")
    return Applied(manifest, list(dict.fromkeys(roots)), summary)


def _names_of(run: Path | None) -> LabelMap:
    """Return the label map of a run; reviews may be older than it."""
    try:
        return LabelMap() if run is None else LabelMap(read_run_info(run).data.renamed)
    except RunError:
        return LabelMap()


def _labelled_of(run: Path | None) -> pd.DataFrame:
    """Return the labelled images of a run, else none."""
    if run is None or not (run / "manifest.csv").is_file():
        return pd.DataFrame({"image_id": [], "label": []}, dtype=object)
    return read_run_manifest(run)


def _set_known(
    manifest: pd.DataFrame,
    settled: pd.DataFrame,
    spread: list[Reviews],
    roots: list[Path],
    given_roots: tuple[Path, Path | None],
) -> pd.DataFrame:
    """Label or unlabel the images that are in the manifest."""
    groups = {row.image_id: _group_of(row, spread) for row in settled_rows(settled)}
    rows = manifest["image_id"].isin(settled["image_id"])
    found = settled.set_index("image_id").loc[manifest["image_id"][rows]]
    rejected = (found["decision"] == "reject").to_numpy()
    fresh = rows & manifest["label"].isna() & manifest["image_id"].isin(found.index[~rejected])
    manifest.loc[rows, "label"] = [label or None for label in found["label"]]
    manifest.loc[rows, "provenance"] = found["provenance"].mask(rejected, "rejected").to_numpy()
    manifest.loc[rows, "group"] = [
        group or groups[identity]
        for group, identity in zip(manifest["group"][rows], found.index, strict=True)
    ]
    root, unlabeled = given_roots
    named = [_named(Path(path), root, unlabeled or root) for path in manifest["path"][fresh]]
    manifest.loc[fresh, "image"] = [image for image, _ in named]
    roots += [own for _, own in named if own is not None]
    return manifest


def _find_new(
    settled: pd.DataFrame,
    spread: list[Reviews],
    roots: list[Path],
    root: Path,
    features: FeatureTable | None,
) -> pd.DataFrame:
    """Return manifest rows of reviewed images that fit was not given."""
    rows = []
    missing: list[tuple[str, Place, DataError]] = []
    for row in settled_rows(settled):
        assigned = spread[row.file].assigned
        if assigned is None:
            # Without assignments only images of the manifest can be named.
            continue
        image = assigned.table["image"].iloc[row.position]
        try:
            root_of = local_place(assigned.root, "reviewed images are read")
            path = inside_root(root_of, image, assigned.where, assigned.link_roots).absolute()
            frame = row.image_id.partition("#")[2] or None
            vector = _check_same(path, name_of(image, frame), row.image_id, features)
        except DataError as error:
            missing.append((image, assigned.root, error))
            continue
        name, own = _named(path, root, root_of)
        if own is not None:
            roots.append(own)
        rows.append({"image": name, "image_id": row.image_id, "path": str(path),
                     "label": row.label, "group": _group_of(row, spread), "frame": frame,
                     "provenance": row.provenance, "vector": vector})  # fmt: skip
    if missing:
        image, folder, reason = missing[0]
        raise DataError(
            f"{len(missing)} reviewed images cannot be used, e.g. '{image}' under {folder} "
            f"({reason}); put them back, give their folder with --unlabeled, or remove their rows"
        )
    columns = ["image", "image_id", "path", "label", "group", "split", "frame", "provenance",
               *(["vector"] if features is not None else [])]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns, dtype=object)
    return table.where(table.notna(), None)


def _check_same(path: Path, name: str, image_id: str, features: FeatureTable | None) -> int:
    """Check that an image is the one that was reviewed; returns the row of its features, or -1.

    Raises
    ------
    DataError
        It is not there, has other bytes, or has no features where these are given.
    """
    frame = image_id.partition("#")[2]
    vector = -1
    if features is not None:
        vector = row_of(features, name, f"{path}#{frame}" if frame else str(path), image_id)
        if vector < 0:
            raise DataError(f"it has no features in {features.name}; give those too")
        if not os.path.lexists(path) and features.identity(vector) == image_id:
            return vector
    if image_id_of(read_bytes(path), frame or None) != image_id:
        raise DataError("it is not the file that was reviewed: its bytes have changed")
    return vector


def _named(path: Path, root: Path, own: Path) -> tuple[str, Path | None]:
    """Name an image under the data root, else under its own, and return that other root.

    Elsewhere its folder's name is a part of its own: two folders may hold files of one name.
    """
    path, root, own = (Path(os.path.abspath(p)) for p in (path, root, own))
    if path.is_relative_to(root):
        return written_name(path.relative_to(root).as_posix()), None
    return written_name(path.relative_to(own.parent).as_posix()), own.parent


def _group_of(row: SettledReview, spread: list[Reviews]) -> str | None:
    assigned = spread[row.file].assigned
    if assigned is None or row.position < 0:
        return None
    return assigned.table["group"].iloc[row.position] or None


def _warn_of_new_classes(found: dict[str, str | None]) -> None:
    for label, near in found.items():
        log.warning("reviews add the class '%s'%s", label, near_hint(label, near))


def _warn_of_groups(manifest: pd.DataFrame) -> None:
    given = manifest["provenance"] == "given"
    added = manifest["label"].notna() & ~given
    alone = added & manifest["group"].isna()
    if alone.any() and manifest["group"][given].notna().any():
        log.warning(
            "%d reviewed images have no group, e.g. '%s', but the others have: if they are of the "
            "same patients, what is measured is too good; assign from a CSV with a group column",
            alone.sum(),
            manifest["image"][alone].iloc[0],
        )


def _keep_split(manifest: pd.DataFrame) -> None:
    """A reviewed image of a patient that is held out by the data's own split is held out too.

    So is one of a test image's file: nothing may be learned from it.
    """
    split = manifest.dropna(subset=["split", "group"]).drop_duplicates("group")
    sides = dict(zip(split["group"], split["split"], strict=True))
    added = ~manifest["provenance"].isin(["given"]) & manifest["split"].isna()
    of_test = manifest[(manifest["split"] == "test") & (manifest["image_id"] != "")]
    same = added & files_of(manifest["image_id"]).isin(files_of(of_test["image_id"]))
    added &= manifest["group"].isin(sides)
    manifest.loc[added, "split"] = manifest["group"][added].map(sides)
    manifest.loc[same, "split"] = "test"
