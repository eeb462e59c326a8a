"""A person reviews 40 images as the page asks for them, and fits again: does it make things better?

For the demo's sample, and for bccd with each class unlabelled in turn: `fit`, `assign`, then the
truth acts as the person's eyes. Clusters of refused images first, the largest first: one in which
most are of one class is named after that class, ten members by chance are looked at, and of those
what is something else is put aside. Then refused images one by one, in the order of `--ask`, until
so many images have been looked at. The decisions are written to a reviews.csv as the page writes
it, and `fit --reviews` and `assign` follow on the same images.

Written, before → after: images that are assigned, and those that have a label (also copies of
labelled images: after the review all that were looked at or named with their cluster), with how
many of them are wrong; the part of all guesses that is right (of images that could be read,
whatever their status), also of those alone that nobody looked at; the accuracy of held-out images;
and the clusters of the first run (purity, and adjusted mutual information with the true classes).

    CLUSTERKIT_DATA=… python -m benchmarks.review_loop --out review_loop.csv
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.novelty import cluster_figures
from benchmarks.protocol import SETS, data_folder, draw_without
from clusterkit import Run, assign, fit, read_manifest
from clusterkit.config import Config, config_from_dict
from clusterkit.demo import DEMO
from clusterkit.formats.known_images import clusters_fingerprint
from clusterkit.formats.reviews import FURTHER_COLUMNS, REVIEW_COLUMNS
from clusterkit.sample import UNKNOWN_CLASS, make_sample

LOOKS = 40
# As on the page: so many members are looked at before a name goes for a cluster.
_CHECKED = 10
_PAIRS = ("assigned", "assigned_wrong", "labelled", "labelled_wrong", "right", "right_unseen",
          "held_out")  # fmt: skip
# More images would only take longer: a class has some hundred of them.
_MOST = 700
# Of the sample, with --quick.
_FEW = {"labeled_patients": 9, "unlabeled_patients": 3, "unlabeled_per_class": 6,
        "novel_per_patient": 6}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A data set with a class that nobody labelled.

    Attributes
    ----------
    name, left : str
        The set, and the class.
    seed : int
    labelled, unlabelled : Path
        Manifests.
    truth : Series
        Label by image.
    config : Config
    """

    name: str
    left: str
    seed: int
    labelled: Path
    unlabelled: Path
    truth: pd.Series
    config: Config


def demo_case(root: Path, seed: int, quick: bool = False) -> Case:
    """Draw the demo's sample into a folder; `quick`: a small one."""
    make_sample(root, seed=seed, **(_FEW if quick else {}))
    truth = pd.read_csv(root / "truth.csv", keep_default_na=False).drop_duplicates("image")
    return Case("demo", UNKNOWN_CLASS, seed, root / "labels.csv", root / "unlabeled.csv",
                truth.set_index("image")["label"], config_from_dict(DEMO))  # fmt: skip


def cells_case(root: Path, left: str, k: int, seed: int) -> Case:
    """Draw k labelled images of each class of bccd but one."""
    source, size = SETS["bccd"]
    folder = data_folder() / "bccd"
    rows = read_manifest(folder / source)
    rows = rows[rows["label"].notna()].reset_index(drop=True)
    taken, rest = draw_without(rows, left, k, seed)
    rest = rest.sample(min(_MOST, len(rest)), random_state=seed)
    taken[["image", "label", "group"]].to_csv(root / "labels.csv", index=False)
    rest[["image", "group"]].to_csv(root / "unlabeled.csv", index=False)
    config = {"image": {"size": size}, "data": {"images": str(folder)}}
    return Case("bccd", left, seed, root / "labels.csv", root / "unlabeled.csv",
                rows.set_index("image")["label"], config_from_dict(config))  # fmt: skip


def review(table: pd.DataFrame, truth: pd.Series, looks: int, seed: int) -> pd.DataFrame:
    """Decide on refused images as a person does who sees the truth.

    Parameters
    ----------
    table : DataFrame
        Assignments.
    truth : Series
        Label by image.
    looks : int
        Images that are looked at.
    seed : int
        Of the members that are looked at before a cluster is named.

    Returns
    -------
    DataFrame with the columns of a reviews file that the page exports.
    """
    refused = table[table["status"].isin(["review", "novel"])]
    refused = refused.assign(true=truth.loc[refused["image"]].to_numpy())
    rng, rows, seen = np.random.default_rng(seed), list[dict](), set[str]()
    for number in refused["cluster"].value_counts(sort=True).index:
        members = refused[refused["cluster"] == number]
        wanted = min(_CHECKED, len(members))
        shares = members["true"].value_counts(normalize=True)
        if len(members) < 2 or len(seen) + wanted > looks or shares.iloc[0] <= 0.5:
            continue
        checked = members.iloc[rng.permutation(len(members))[:wanted]]
        rows += _name(int(number), members["image"].iloc[0], str(shares.index[0]), checked)
        seen |= set(checked["image_id"])
    alone = refused[~refused["image_id"].isin(seen)].drop_duplicates("image_id")
    alone = alone.sort_values("order").head(looks - len(seen))
    rows += [_decision(image, image.true) for image in alone.itertuples()]
    columns = [*REVIEW_COLUMNS, *FURTHER_COLUMNS[:1]]
    found = pd.DataFrame(rows, columns=columns, dtype=object).fillna("")
    return found.assign(
        reviewer="truth", time="2026-01-01T00:00:00Z", assignments=clusters_fingerprint(table)
    )


def _name(number: int, image: str, name: str, checked: pd.DataFrame) -> list[dict]:
    """The cluster's row, and one for each member that was looked at."""
    rows = [{"image_id": f"cluster:{number}", "image": image, "label": name, "decision": "relabel"}]
    for member in checked.itertuples():
        same = member.true == name
        rows.append(_decision(member, name, f"checked with cluster {number}") if same else {
            "image_id": member.image_id, "image": member.image, "decision": "reject",
            "note": f"not {name}",
        })  # fmt: skip
    return rows


def _decision(image: Any, label: str, note: str = "") -> dict:
    decision = "accept" if image.predicted_label == label else "relabel"
    return {"image_id": image.image_id, "image": image.image, "label": label,
            "decision": decision, "note": note}  # fmt: skip


def figures(table: pd.DataFrame, run: Run, truth: pd.Series, seen: set[str]) -> dict[str, Any]:
    """Compare assignments with the truth; `seen` are ids of images that were looked at."""
    read = table[table["status"] != "failed"]
    right = (read["predicted_label"] == truth.loc[read["image"]].to_numpy()).to_numpy()
    assigned = (read["status"] == "assigned").to_numpy()
    labelled = assigned | (read["status"] == "duplicate").to_numpy()
    return {
        "assigned": int(assigned.sum()),
        "assigned_wrong": int((assigned & ~right).sum()),
        "labelled": int(labelled.sum()),
        "labelled_wrong": int((labelled & ~right).sum()),
        "right": float(right.mean()),
        "right_unseen": float(right[~read["image_id"].isin(seen).to_numpy()].mean()),
        "held_out": float(run.info["metrics"]["accuracy"]),
    }


def run_case(case: Case, root: Path, looks: int = LOOKS) -> dict[str, Any]:
    """Fit, assign, review, fit again, assign again; returns the figures."""
    run = fit(case.labelled, config=case.config, run=root / "before")
    before = assign(run, case.unlabelled, config=case.config).table
    decided = review(before, case.truth, looks, case.seed)
    reviews = run.path / "reviews.csv"
    decided.to_csv(reviews, index=False)
    again = fit(case.labelled, config=case.config, reviews=[reviews], run=root / "after")
    after = assign(again, case.unlabelled, config=case.config).table
    refused = before[before["status"].isin(["review", "novel"])]
    named = decided["image_id"].str.startswith("cluster:")
    seen = set(decided["image_id"][~named])
    found: dict[str, Any] = {"set": case.name, "left_out": case.left, "seed": case.seed,
                             "images": int((before["status"] != "failed").sum()),
                             "looked_at": len(seen), "named": int(named.sum())}  # fmt: skip
    for when, table, fitted in (("before", before, run), ("after", after, again)):
        values = figures(table, fitted, case.truth, seen)
        found |= {f"{name}_{when}": value for name, value in values.items()}
    true = case.truth.loc[refused["image"]].to_numpy()
    return found | cluster_figures(true, refused["cluster"].to_numpy(int))


def cases(options: argparse.Namespace, root: Path) -> Iterator[tuple[Case, Path]]:
    """Yield the cases that are asked for, each with an empty folder for its runs."""
    unlabelled = list(options.left)
    if "CLUSTERKIT_DATA" not in os.environ and unlabelled:
        print("CLUSTERKIT_DATA is not set: the demo's sample alone", flush=True)
        unlabelled = []
    for seed in range(options.draws):
        for name in ["demo", *([] if options.quick else unlabelled)]:
            folder = root / f"{name}-{seed}"
            (folder / "data").mkdir(parents=True)
            if name == "demo":
                yield demo_case(folder / "data", seed, options.quick), folder
            else:
                yield cells_case(folder / "data", name, options.k, seed), folder


def shown(table: pd.DataFrame) -> str:
    """Return the table in words: before → after."""
    words = table[["set", "left_out", "seed", "images", "looked_at", "named"]].copy()
    for name in _PAIRS:
        pairs = zip(table[f"{name}_before"], table[f"{name}_after"], strict=True)
        words[name] = [f"{before:.4g} → {after:.4g}" for before, after in pairs]
    words[["refused", "clusters"]] = table[["refused", "clusters"]]
    words[["purity", "ami"]] = table[["purity", "ami"]].round(3)
    return words.T.to_string(header=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--left", nargs="*", default=["Platelets", "RBC", "WBC"],
                        help="classes of bccd, each unlabelled in turn")  # fmt: skip
    parser.add_argument("-k", type=int, default=50, help="labelled images of each other class")
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--looks", type=int, default=LOOKS, help="images that are looked at")
    parser.add_argument("--quick", action="store_true", help="a small demo alone")
    parser.add_argument("--out", type=Path, default=Path("review_loop.csv"))
    options = parser.parse_args()
    rows: list[dict] = []
    with tempfile.TemporaryDirectory() as folder:
        for case, own in cases(options, Path(folder)):
            rows.append(run_case(case, own, options.looks))
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(options.out, index=False)
    table.to_json(options.out.with_suffix(".json"), orient="records", indent=1)
    print(shown(table))


if __name__ == "__main__":
    main()
