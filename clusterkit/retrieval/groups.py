"""The article's second application: the patients whose images are most like a patient's."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from clusterkit.auditing.pair_pictures import check_cams_picture
from clusterkit.auditing.pictures import CAMS_OPTION, save_png
from clusterkit.config import Config, DataConfig, takes_settings, with_settings
from clusterkit.data.frames import names_of
from clusterkit.data.outcome_table import read_outcomes
from clusterkit.data.patients import group_column
from clusterkit.data.remote_files import is_remote
from clusterkit.data.remote_places import local_place
from clusterkit.errors import ClusterkitError, DataError
from clusterkit.formats.run import Run
from clusterkit.inference.given import Files, open_given
from clusterkit.inference.predictor import Predictor
from clusterkit.methods.group_similarity import pool_groups
from clusterkit.retrieval.group_matches import NO_ADVICE, RULE, GroupMatches
from clusterkit.retrieval.group_pictures import draw_group_matches
from clusterkit.retrieval.group_query import (
    GroupQuery,
    named_group,
    patient_key,
    query_of_group,
    read_query,
)
from clusterkit.retrieval.outcome_summary import summarise_outcomes

log = logging.getLogger("clusterkit")

# Pairs of images in one block (32 MB in float64).
_PAIRS = 4_000_000


@takes_settings
def similar_groups(
    run: Run | Path | str,
    query: Path | str,
    *,
    k: int = 5,
    outcomes: Path | str | None = None,
    cams: Path | str | None = None,
    config: Config | None = None,
    features: Files = (),
    **settings: Any,
) -> GroupMatches:
    """Rank the run's groups (patients) by the similarity of their images to a patient's.

    The similarity of two groups A and B is S(A,B) = ½ [mean over a in A of max over b in B of
    s(a,b) + mean over b in B of max over a in A of s(a,b)], with s the calibrated Siamese
    similarity of two images, which is 1 if their files are the same byte for byte; see
    `pool_groups`. All labelled images that have a group take part. A group that holds an image of
    the query itself is marked in `same_images`, with a warning; it has its place among the k, but
    its outcome, likely the patient's own, is not counted.

    Parameters
    ----------
    run : Run or path
    query : path or str
        An image, which is a patient with one image; a folder of one patient's images, of which
        unreadable ones are left out with a warning; or the name of a group of the run, which is
        then not ranked itself. A file or folder comes before a group of its name, with a warning.
        A group that DICOM files name, hashed by `config.data.key_file` or not, is not ranked.
    k : int ≥ 1
    outcomes : path or None
        A CSV, see `read_outcomes`: those of the k groups are counted, beside those of all.
    cams : path or None
        PNG to write: the closest pair of each group, at most 20, with their CAMs.
    config : Config or None
    features : path or sequence of path
        Of a run on given features: those of a query that is no group of the run.
    **settings : options of the command, e.g. ``group_column="patient"``

    Raises
    ------
    ClusterkitError
        The run, query, outcomes or picture cannot be used, or the run has no other groups.
    ValueError
        k is not positive.
    """
    if k < 1:
        raise ValueError(f"k = {k} must be at least 1")
    run = run if isinstance(run, Run) else Run.load(run)
    check_cams_picture(run, cams)
    config = with_settings(run.config_with(config), settings, "similar_groups")
    predictor, patient, key = _open(run, query, config, features)
    ranked, notes, counted = _rank(predictor, patient), [RULE], None
    if outcomes is not None:
        table = read_outcomes(outcomes, _column(config), run.manifest["group"], key)
        counted, note = _count(table, outcomes, ranked, k, config)
        notes.append(note)
    nearest = GroupMatches(ranked.head(k), counted, (*notes, NO_ADVICE))
    if cams is not None:
        save_png(draw_group_matches(predictor, patient, nearest.rows()), Path(cams), CAMS_OPTION)
    return nearest


def _open(
    run: Run, query: Path | str, config: Config, features: Files
) -> tuple[Predictor, GroupQuery, bytes | None]:
    """Return the run's predictor, the query's images, and the key of the run's patient ids."""
    if not (run.manifest["group"] != "").any():
        raise ClusterkitError("this run has no groups; fit with a group column to compare patients")
    key = patient_key(run, config)
    if is_remote(query):
        local_place(query, "a query is read")
    group = None if os.path.exists(query) else named_group(run, str(query), key)
    predictor = Predictor(run, config)
    if group is None:
        path = local_place(query, "a query is read")
        table = open_given(run, features, path)
        return predictor, read_query(predictor, path, config, table), key
    return predictor, query_of_group(run, group), key


def _rank(predictor: Predictor, query: GroupQuery) -> pd.DataFrame:
    """Return all groups but the query's, the most similar first, with `GroupMatch`'s columns."""
    manifest, fusion = predictor.run.manifest, predictor.calibration.fusion

    def to_similarity(logits: np.ndarray) -> np.ndarray:
        same = np.isposinf(logits)
        return np.where(same, 1.0, fusion.similarity(np.where(same, 0.0, logits)))

    rows = np.flatnonzero((manifest["group"] != "") & (manifest["group"] != (query.group or "")))
    if not len(rows):
        raise ClusterkitError(f"'{query.group}' is the only group of this run; there is no other "
                              "to compare it with")  # fmt: skip
    compared = manifest.iloc[rows].reset_index(drop=True)
    codes, groups = pd.factorize(compared["group"])
    found = pool_groups(_blocks(predictor, query, rows), codes, to_similarity)
    order = found.order()
    closest = compared.iloc[found.closest[order]]
    labels = compared.groupby("group")["label"].agg(lambda values: "|".join(sorted(set(values))))
    same = (
        compared["image_id"].isin(query.near_ids.union(query.ids)).groupby(compared["group"]).sum()
    )
    names = groups.to_numpy()[order]
    ranked = pd.DataFrame({
        "similarity": found.similarity[order],
        "label": closest["label"].to_numpy(),
        "image": names_of(closest),
        "group": names,
        "rank": np.arange(1, len(order) + 1),
        "n_images": np.bincount(codes)[order],
        "labels": labels[names].to_numpy(),
        "query_image": [query.names[i] for i in found.query[order]],
        "closest_similarity": to_similarity(found.closest_logit)[order],
        "same_images": same[names].to_numpy(),
    })  # fmt: skip
    _warn_of_same(ranked)
    return ranked


def _blocks(predictor: Predictor, query: GroupQuery, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield logits (a, N) of the query's images with labelled ones; inf: the very same image."""
    numbers, _ = pd.factorize(np.r_[query.ids, predictor.run.manifest["image_id"].to_numpy()[rows]])
    first, second = np.split(numbers, [len(query.ids)])
    height = max(1, _PAIRS // len(rows))
    for start in range(0, len(first), height):
        part = slice(start, start + height)
        with torch.inference_mode():
            logits = predictor.gallery.logits(query.features[part], rows)
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


def _column(config: Config) -> str:
    """Return the column of a table that names patients; that of outcomes always has one."""
    return group_column(config.data) or DataConfig().group_column


def _count(
    outcomes: pd.DataFrame, source: Path | str, ranked: pd.DataFrame, k: int, config: Config
) -> tuple[pd.DataFrame, str]:
    """Count the outcomes of the first k groups; returns the table, and a note for its reader."""
    other = ranked["group"][ranked["same_images"] == 0]
    nearest = ranked.head(k)
    near = nearest["group"][nearest["same_images"] == 0].tolist()
    if not outcomes.index.isin(near).any():
        named = f" ({', '.join(near[:3])}{', …' * (len(near) > 3)})" if near else ""
        column = _column(config)
        hint = f"check that its column '{column}' names them as the run does"
        if outcomes.index.isin(other).any() or not near:
            hint = f"it has rows for less similar ones, so give a larger -k than {len(nearest)}"
        raise DataError(f"{source} has an outcome for none of the {len(near)} most similar "
                        f"patients{named}; {hint}")  # fmt: skip
    counted = summarise_outcomes(
        outcomes[outcomes.index.isin(other)], near, config.assign.confidence, config.seed
    )
    note = (
        f"Outcomes: {len(near)} most similar patients, each counted once, beside all "
        f"{len(other)} that were compared; intervals at {config.assign.confidence:.0%} are from "
        "resampling these few patients, and for so few rather too narrow."
    )
    return counted, note
