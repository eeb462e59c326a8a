"""Where reviewers disagree, where times contradict the order of rows, and who gave no label."""

from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pandas as pd

from clusterkit.formats.review_answers import NO_NAME, reviewer_key, reviewer_name
from clusterkit.formats.review_said import Said
from clusterkit.formats.reviews import Reviews

# Disagreements that are listed, and those that a person is shown.
_LISTED, _SHOWN = 100, 3


def summarise_said(said: Said, reviews: list[Reviews], settled: pd.DataFrame) -> dict[str, Any]:
    """Return in plain values who disagrees, and which rows say nothing that holds.

    Parameters
    ----------
    said : Said
    reviews : list of Reviews
        What it is of.
    settled : DataFrame
        `review_settling.settle` of them.

    Returns
    -------
    dict: disagreements (count; settled: those whose answer was given with the others' in sight;
    between: pairs of reviewers and how many; list: at most 100, each
    with image_id, image, said and holds), times (contradict: images and clusters whose times order
    the rows otherwise; changed: those with another answer for it; unread, example: those whose
    rows count as they stand since times cannot be compared), unnamed_clusters (rows about
    clusters that do not say of which assignments), no_label (image_id → skipped or rejected).
    """
    contested = [*said.own_contested, *said.clusters_contested]
    unread = [c.unread for c in contested if c.unread is not None]
    rows = pd.concat([r.rows for r in reviews])
    unsaid = rows["cluster"].notna() & (rows["assignments"] == "") & (rows["image"] == "")
    return {
        "disagreements": _disagreements(said, _names(reviews), settled),
        "times": {
            "contradict": sum(c.out_of_order for c in contested),
            "changed": sum(c.changed for c in contested),
            "unread": len(unread),
            "example": unread[0][:60] if unread else None,
        },
        "unnamed_clusters": int(unsaid.sum()),
        "no_label": _without_label(said, settled),
    }


def describe_said(summary: dict[str, Any]) -> list[str]:
    """Turn `summarise_said`'s dict into lines for a person."""
    lines = []
    found = summary["disagreements"]
    if found["count"]:
        pairs = ", ".join(f"{a} and {b} {n}" for a, b, n in found["between"][:_SHOWN])
        more = f", and {len(found['between']) - _SHOWN} more pairs"
        more *= len(found["between"]) > _SHOWN
        settled = f", {found['settled']} of them settled" * bool(found["settled"])
        lines.append(f"disagree   reviewers on {found['count']} images or clusters{settled}: "
                     f"{pairs}{more}")  # fmt: skip
        for one in found["list"][:_SHOWN]:
            words = ", ".join(f"{s['reviewer']}: {s['label'] or s['decision']}" + s["as"]
                              for s in one["said"])  # fmt: skip
            lines.append(f"           {one['image'] or one['image_id']}: {words}; "
                         f"{one['holds']} holds")  # fmt: skip
    times = summary["times"]
    if times["contradict"]:
        lines.append(f"times      order the rows of {times['contradict']} images or clusters "
                     f"otherwise than the file does: the latest holds, which changes "
                     f"{times['changed']} answers")  # fmt: skip
    if times["unread"]:
        lines.append(f"times      of {times['unread']} images or clusters cannot be compared, e.g. "
                     f"'{times['example']}': the later row holds; write times as "
                     "2026-01-31T12:00:00Z")  # fmt: skip
    if summary["unnamed_clusters"]:
        lines.append(f"note       {summary['unnamed_clusters']} rows about clusters say neither "
                     "their assignments nor an image: the numbers are taken as those of the "
                     "assignments above")  # fmt: skip
    return lines


def _disagreements(said: Said, names: dict[str, str], settled: pd.DataFrame) -> dict[str, Any]:
    holds = {
        identity: label or "reject"
        for identity, label in zip(settled["image_id"], settled["label"], strict=True)
    }
    listed: list[dict[str, Any]] = []
    pairs: Counter[tuple[str, str]] = Counter()
    count = settled_count = 0
    for identity, answers in _answers(said):
        between = {
            tuple(sorted((a["reviewer"], b["reviewer"])))
            for a, b in combinations(answers, 2)
            if (a["decision"] == "reject", a["label"]) != (b["decision"] == "reject", b["label"])
        }
        if not between:
            continue
        count += 1
        settled_count += answers[-1]["settles"]
        pairs.update(between)
        if len(listed) < _LISTED:
            last = answers[-1]
            listed.append({"image_id": identity, "image": names.get(identity, ""),
                           "said": answers,
                           "holds": holds.get(identity, last["label"] or last["decision"])},
                          )  # fmt: skip
    between_all = [[a, b, n] for (a, b), n in sorted(pairs.items(), key=lambda p: (-p[1], p[0]))]
    return {"count": count, "settled": settled_count, "between": between_all[:_LISTED],
            "list": listed}  # fmt: skip


def _answers(said: Said) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield image_id or cluster:<n>, and the answers that stand, each reviewer's last one."""
    for one in said.clusters_contested:
        if len(one.standing) > 1:
            rows = said.clusters.iloc[one.standing]
            yield one.key.partition(" ")[2], [_answer(row) for row in _records(rows)]
    standing = {c.key: c.standing for c in said.own_contested if len(c.standing) > 1}
    held = said.own.iloc[said.own_held]
    both = held.merge(said.by_cluster, on="key", suffixes=("", "_of_cluster"))
    differ = both["label"] != both["label_of_cluster"]
    shown = said.by_cluster["image_id"].isin([*standing, *both["key"][differ]])
    clusters = {row["image_id"]: row for row in _records(said.by_cluster[shown])}
    asked = held[held["key"].isin([*standing, *clusters])]
    needed = sorted({*asked.index, *(row for rows in standing.values() for row in rows)})
    # One by one from a table they would take minutes.
    cells = dict(zip(needed, _records(said.own.iloc[needed]), strict=True))
    for position, key in zip(asked.index.tolist(), asked["key"].tolist(), strict=True):
        answers = [_answer(cells[row]) for row in standing.get(key, [position])]
        cluster, who = clusters.get(key), {reviewer_key(a["reviewer"]) for a in answers}
        # Whoever names a cluster and then an image of it otherwise is of one mind.
        if cluster and reviewer_key(cluster["reviewer"] or NO_NAME) not in who:
            answers.insert(0, _answer(cluster) | {"as": f" (as {cluster['provenance']})"})
        if len(answers) > 1:
            yield key, answers


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in rows.to_dict("records")]


def _answer(row: dict[str, Any]) -> dict[str, Any]:
    reviewer = reviewer_name(row["reviewer"])
    return {"reviewer": reviewer, "decision": row["decision"], "label": row["label"],
            "time": row["time"], "as": "", "settles": row.get("settles") is True}  # fmt: skip


def _names(reviews: list[Reviews]) -> dict[str, str]:
    names: dict[str, str] = {}
    for part in reviews:
        if part.assigned is not None:
            table = part.assigned.table
            names |= dict(zip(table["image_id"], table["image"], strict=True))
        rows = part.rows[part.rows["image"] != ""]
        names = dict(zip(rows["image_id"], rows["image"], strict=True)) | names
    return names


def _without_label(said: Said, settled: pd.DataFrame) -> dict[str, str]:
    """Return the images of which somebody said that there is no label to give."""
    rejected = settled["image_id"][settled["decision"] == "reject"]
    skipped = said.own["image_id"][said.own["decision"] == "skip"]
    found = dict.fromkeys(skipped[~skipped.isin(settled["image_id"])], "skipped")
    return found | dict.fromkeys(rejected, "rejected")
