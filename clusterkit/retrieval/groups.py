"""The article's second application: the patients whose images are most like a patient's."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from clusterkit.auditing.explain import Explainer
from clusterkit.auditing.pair_pictures import (
    PairRow,
    draw_pairs,
    open_labelled,
    picture_pair,
    shorten,
)
from clusterkit.auditing.pictures import save_png
from clusterkit.config import Config
from clusterkit.data.adapters.csv import CsvAdapter
from clusterkit.data.contents import names_of
from clusterkit.data.imageio.read import load_image
from clusterkit.data.loading import ImageRef, image_refs, load_batches, workers_for
from clusterkit.data.manifest import read_inputs
from clusterkit.data.outcome_table import find_group, read_outcomes
from clusterkit.data.pseudonyms import key_fingerprint, key_path, read_key
from clusterkit.errors import ClusterkitError, DataError, ImageError, nearest_name
from clusterkit.formats.run import Run
from clusterkit.inference.predictor import Predictor
from clusterkit.methods.group_similarity import pool_groups
from clusterkit.retrieval.outcome_summary import summarise_outcomes

log = logging.getLogger("clusterkit")

RULE = (
    "Similarity of two patients: each image is compared with the other patient's most similar "
    "one; the mean over the images of either patient, and of both means."
)
NO_ADVICE = (
    "This is no medical advice: these are patients whose images look alike to a model, and what "
    "became of them need not happen to anyone else."
)

# Pairs of images in one block (32 MB in float64).
_PAIRS = 4_000_000
# A picture with more rows than this is not looked at, and cannot be drawn at some height.
_ROWS = 20
# Characters of a row's labels in it.
_LABELS = 28
_FOOT = f"Beside each image: the places that speak for its likeness, yellow most. {NO_ADVICE}"


@dataclass(frozen=True)
class GroupMatches:
    """The groups most like a query.

    Attributes
    ----------
    table : DataFrame
        At most k rows, the most similar first. similarity: pooled, in [0, 1]. label, image: of
        the group's image in the closest pair. group. rank: from 1. n_images: of the group in the
        run. labels: of all its images, joined by ``|``. query_image, closest_similarity: the
        query's image in the closest pair, and how alike the two are, in [0, 1]. same_images: how
        many of the group's images are in the query too, byte for byte or as near duplicates:
        likely the same patient.
    outcomes : DataFrame or None
        See `summarise_outcomes`; None: none were given.
    notes : tuple of str
        Sentences that a reader has to know: the rule, what is counted, that it is no advice.
    """

    table: pd.DataFrame
    outcomes: pd.DataFrame | None
    notes: tuple[str, ...]

    @property
    def note(self) -> str:
        """The notes as one text."""
        return " ".join(self.notes)


@dataclass(frozen=True)
class _Query:
    """A images of one patient: their names, refs, ids, Siamese features (A, D), group."""

    names: list[str]
    refs: list[ImageRef]
    ids: list[str]
    features: torch.Tensor
    group: str | None = None
    # Ids of labelled images that near duplicates are of: the same picture saved anew.
    near: frozenset[str] = frozenset()


def similar_groups(
    run: Run | Path | str,
    query: Path | str,
    *,
    k: int = 5,
    outcomes: Path | str | None = None,
    cams: Path | str | None = None,
    config: Config | None = None,
) -> GroupMatches:
    """Rank the run's groups (patients) by how like a patient's images theirs are.

    The similarity of two groups A and B is S(A,B) = ½ [mean over a in A of max over b in B of
    s(a,b) + mean over b in B of max over a in A of s(a,b)], with s the calibrated Siamese
    similarity of two images, which is 1 if their files are the same byte for byte; see
    `pool_groups`. All labelled images that have a group take part.

    A group that holds an image of the query itself is marked in `same_images`, and a warning is
    given. It has its place among the k, but its outcome is not counted: it is likely the
    patient's own.

    Parameters
    ----------
    run : Run or path
    query : path or str
        An image, which is a patient with one image; a folder, all images of which are one
        patient's, and those that cannot be read are left out with a warning; or the name of a
        group of the run, which is then not ranked itself. What exists as a file or folder is
        taken for one even if a group has the same name, with a warning. DICOM files name their
        patient: if that is a group of the run, it is left out as well. A group's name may be a
        patient id that the run has as a hash, if the key is here (`config.data.key_file`).
    k : int
        How many groups.
    outcomes : path or None
        A CSV with the column of groups (`config.data.group_column`) and columns of outcomes, see
        `read_outcomes`. Counted are those of the k groups, beside those of all ranked groups,
        with intervals at `config.assign.confidence`, resampled with `config.seed`.
    cams : path or None
        Where to write a picture with the closest pair of each group, at most 20, and the places
        that make the two alike.
    config : Config or None
        None: the run's.

    Raises
    ------
    ClusterkitError
        The run, the query or the outcomes cannot be used, the run has no other groups, none of
        the k groups is in `outcomes`, or the picture cannot be made.
    ValueError
        k is not positive.
    """
    if k < 1:
        raise ValueError(f"k = {k} must be at least 1")
    run = run if isinstance(run, Run) else Run.load(run)
    config = run.config_with(config)
    if not (run.manifest["group"] != "").any():
        raise ClusterkitError("this run has no groups; fit with a group column to compare patients")
    key = _key_of(run, config)
    group = None if os.path.exists(query) else _group_of(run, str(query), key)
    predictor = Predictor(run, config)
    asked = _read_query(predictor, Path(query), config) if group is None else _query_of(run, group)
    ranked = _rank(predictor, asked)
    table = ranked.head(k)
    _warn_of_same(ranked)
    notes, counted = [RULE], None
    if outcomes is not None:
        counted, what = _count(
            read_outcomes(outcomes, config.data.group_column, run.manifest["group"], key),
            outcomes, ranked, table, config,
        )  # fmt: skip
        notes.append(what)
    if cams is not None:
        save_png(_picture(predictor, asked, table, config.audit.method), Path(cams))
    return GroupMatches(table, counted, (*notes, NO_ADVICE))


def _key_of(run: Run, config: Config) -> bytes | None:
    """Return the key that the run's patient ids are hashed with, where it is here."""
    fingerprint, path = run.info.data.patient_key, key_path(config.data.key_file)
    if not fingerprint or not path.is_file():
        return None
    if key_fingerprint(run.manifest["group"], config.data.key_file) == fingerprint:
        return read_key(path)
    log.warning("patient ids were hashed with another key than %s: only hashes are known; name "
                "the key with data.key_file", path)  # fmt: skip
    return None


def _group_of(run: Run, query: str, key: bytes | None) -> str:
    groups = run.manifest["group"][run.manifest["group"] != ""].unique()
    found = find_group(query, set(groups), key)
    if found is None:
        raise DataError(
            f"'{query}' is no file, no folder, and no group of this run"
            f"{nearest_name(query, groups)}; its {len(groups)} groups are e.g. "
            + ", ".join(map(str, groups[:3]))
        )
    return found


def _query_of(run: Run, group: str) -> _Query:
    rows = np.flatnonzero(run.manifest["group"] == group)
    part = run.manifest.iloc[rows]
    features = run.gallery["features"][torch.from_numpy(rows)]
    # Their files are looked for when a picture is wanted, not before: data may be elsewhere.
    return _Query(names_of(part).tolist(), [], part["image_id"].tolist(), features, group)


def _read_query(predictor: Predictor, path: Path, config: Config) -> _Query:
    how = "give an image, a folder of one patient's images, or the name of a group"
    if CsvAdapter.accepts(path, config.data):
        raise DataError(f"{path} is a table and not a patient; {how}")
    rows = read_inputs(path, config)
    refs, names = image_refs(rows), names_of(rows).tolist()
    features, ids, errors, near = [], [], [], set()
    known = predictor.run.manifest["image_id"].to_numpy()
    for batch in load_batches(refs, predictor.run.config.image, 32, workers_for(refs)):
        readable = batch.errors == ""
        ids += batch.ids.tolist()
        errors += batch.errors.tolist()
        found, _ = predictor.near.match(batch.signatures)
        near |= set(known[found[found >= 0]])
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
    return _Query([names[i] for i in good], [refs[i] for i in good], [ids[i] for i in good],
                  torch.cat(features), _group_in(rows, path, predictor.run),
                  frozenset(near))  # fmt: skip


def _group_in(rows: pd.DataFrame, path: Path, run: Run) -> str | None:
    """Return the run's group that a query's own headers (DICOM) name, if it is one."""
    known = set(run.manifest["group"])
    if str(path) in known:
        log.warning("'%s' is a file or folder here and also a group of the run: what is in the "
                    "file or folder is compared", path)  # fmt: skip
    groups = sorted(set(rows["group"].dropna()))
    if len(groups) > 1:
        log.warning("%s holds images of %d patients, e.g. %s and %s: all are taken for one", path,
                    len(groups), *groups[:2])  # fmt: skip
    if len(groups) != 1 or groups[0] not in known:
        return None
    log.warning("%s is of %s, a group of the run: that group is left out", path, groups[0])
    return groups[0]


def _rank(predictor: Predictor, asked: _Query) -> pd.DataFrame:
    manifest, fusion = predictor.run.manifest, predictor.calibration.fusion

    def alike(logits: np.ndarray) -> np.ndarray:
        same = np.isposinf(logits)
        return np.where(same, 1.0, fusion.similarity(np.where(same, 0.0, logits)))

    rows = np.flatnonzero((manifest["group"] != "") & (manifest["group"] != (asked.group or "")))
    if not len(rows):
        raise ClusterkitError(f"'{asked.group}' is the only group of this run; there is no other "
                              "to compare it with")  # fmt: skip
    compared = manifest.iloc[rows].reset_index(drop=True)
    codes, groups = pd.factorize(compared["group"])
    found = pool_groups(_blocks(predictor, asked, rows), codes, alike)
    order = found.order()
    closest = compared.iloc[found.closest[order]]
    labels = compared.groupby("group")["label"].agg(lambda values: "|".join(sorted(set(values))))
    same = compared["image_id"].isin(asked.near.union(asked.ids)).groupby(compared["group"]).sum()
    names = groups.to_numpy()[order]
    return pd.DataFrame({
        "similarity": found.similarity[order],
        "label": closest["label"].to_numpy(),
        "image": names_of(closest),
        "group": names,
        "rank": np.arange(1, len(order) + 1),
        "n_images": np.bincount(codes)[order],
        "labels": labels[names].to_numpy(),
        "query_image": [asked.names[i] for i in found.query[order]],
        "closest_similarity": alike(found.closest_logit)[order],
        "same_images": same[names].to_numpy(),
    })  # fmt: skip


def _blocks(predictor: Predictor, asked: _Query, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield logits of the query's images with some labelled ones; inf: the very same image."""
    numbers, _ = pd.factorize(np.r_[asked.ids, predictor.run.manifest["image_id"].to_numpy()[rows]])
    first, second = np.split(numbers, [len(asked.ids)])
    height = max(1, _PAIRS // len(rows))
    for start in range(0, len(first), height):
        part = slice(start, start + height)
        with torch.inference_mode():
            logits = predictor.gallery.logits(asked.features[part], rows)
        # A model need not find an image most like itself, but a reader does.
        yield np.where(first[part, None] == second, np.inf, logits)


def _warn_of_same(ranked: pd.DataFrame) -> None:
    same = ranked[ranked["same_images"] > 0]
    if len(same):
        log.warning(
            "group %s (rank %d)%s holds an image of the query itself: likely the same patient, "
            "whose outcome is not counted", same["group"].iloc[0], same["rank"].iloc[0],
            f" and {len(same) - 1} more" if len(same) > 1 else "",
        )  # fmt: skip


def _count(
    known: pd.DataFrame,
    source: Path | str,
    ranked: pd.DataFrame,
    table: pd.DataFrame,
    config: Config,
) -> tuple[pd.DataFrame, str]:
    """Count outcomes; returns the table and what a reader has to know of it."""
    other = ranked["group"][ranked["same_images"] == 0]
    near = table["group"][table["same_images"] == 0].tolist()
    if not known.index.isin(near).any():
        named = f" ({', '.join(near[:3])}{', …' * (len(near) > 3)})" if near else ""
        column = config.data.group_column
        hint = f"check that its column '{column}' names them as the run does"
        if known.index.isin(other).any() or not near:
            hint = f"it has rows for less similar ones, so give a larger -k than {len(table)}"
        raise DataError(f"{source} has an outcome for none of the {len(near)} most similar "
                        f"patients{named}; {hint}")  # fmt: skip
    counted = summarise_outcomes(
        known[known.index.isin(other)], near, config.assign.confidence, config.seed
    )
    note = (
        f"Outcomes: {len(near)} most similar patients, each counted once, beside all "
        f"{len(other)} that were compared; intervals at {config.assign.confidence:.0%} are from "
        "resampling these few patients, and for so few rather too narrow."
    )
    return counted, note


def _picture(predictor: Predictor, asked: _Query, table: pd.DataFrame, method: str) -> Image.Image:
    rows, explainer = [], Explainer.of(predictor, method)
    for match in table.head(_ROWS).itertuples():
        first = _open(predictor.run, asked, match.query_image)
        second = open_labelled(predictor.run, match.image)
        labels = match.labels.replace("|", ", ")
        title = (
            f"{match.rank}. {shorten(match.group)}: {match.similarity * 100:.1f}% similar "
            f"(closest pair {match.closest_similarity * 100:.1f}%, {match.label}); "
            f"{'the same patient? ' * (match.same_images > 0)}"
            f"{_images(match.n_images)}: {labels[:_LABELS]}{'…' * (len(labels) > _LABELS)}"
        )
        names = (match.query_image, match.image)
        picture = picture_pair(explainer, predictor.run, first, second, match.label)
        rows.append(PairRow(picture, title, names))
    query = _images(len(asked.names)) if asked.refs else shorten(asked.group)
    return draw_pairs(rows, f"Query: {query}. The patients with the most similar images", _FOOT)


def _open(run: Run, asked: _Query, name: str) -> Image.Image:
    if not asked.refs:
        return open_labelled(run, name)
    path, frame = asked.refs[asked.names.index(name)]
    return load_image(path, how=run.config.image, frame=int(frame or 0))


def _images(n: int) -> str:
    return f"{n} image{'s' * (n != 1)}"
