"""The findings: each rule is one small function from a scan to the images that it is about."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from clusterkit.data.duplicates.signature import SAME
from clusterkit.data.frames import name_of
from clusterkit.data.labels import count_labels, near_labels, near_question
from clusterkit.inspection.same_pictures import SamePictures
from clusterkit.inspection.scan import Scan
from clusterkit.inspection.text import LEAST_GLYPHS

COLUMNS = ["finding", "kind", "severity", "image", "image_id", "label", "group", "split", "score",
           "detail"]  # fmt: skip

# Grey level that 99 of 100 pixels of a nearly black image do not exceed.
_BLACK = 10

# So few grey levels are no photograph's: most of the 256 were lost on the way, or never there.
_LEVELS = 32

# How far a side and an aspect ratio may be off the median's, and how many images make a median.
_SIDE, _ASPECT, _FEW = 4, 2, 10


@dataclass(frozen=True)
class FindingKind:
    """Rule that finds one kind of thing.

    Attributes
    ----------
    name : str
    severity : {"problem", "note"}
        A problem makes `--strict` fail; a note is for a person to decide.
    title, rule : str
        For a person: its name, and exactly when it applies.
    find : callable
        From (Scan, SamePictures) to findings.
    """

    name: str
    severity: str
    title: str
    rule: str
    find: Callable[[Scan, SamePictures], Iterator["Finding"]]


@dataclass(frozen=True)
class Finding:
    """One finding: positions of its images in the scan, and a detail per image.

    Not `sure`: it rests on appearance alone, and is a note whatever its kind. `said` is one
    sentence for all its images, "" where the details say it; `labels` are those of which one may
    be right, where a person should say which.
    """

    rows: list[int]
    details: list[str]
    scores: Sequence[float | None] = field(default_factory=list)
    sure: bool = True
    said: str = ""
    labels: Sequence[str] = ()


def severity_of(kind: FindingKind, one: Finding) -> str:
    """Return ``problem`` or ``note``."""
    return kind.severity if one.sure else "note"


def find_all(
    scan: Scan, same: SamePictures, suspects: list[Finding], twice: list[Finding]
) -> list[tuple[FindingKind, Finding]]:
    """Return every finding in the order of `KINDS`, problems first.

    Parameters
    ----------
    suspects, twice : list of Finding
        Likely label errors, and images that are listed with two labels: findings that need the
        run, or the rows before they were merged.
    """
    given = {"label_suspect": suspects, "label_twice": twice}
    return [(kind, found) for kind in KINDS
            for found in given.get(kind.name) or kind.find(scan, same)]  # fmt: skip


def to_table(scan: Scan, found: list[tuple[FindingKind, Finding]]) -> pd.DataFrame:
    """Return one row per image and finding, with `COLUMNS`; score is NaN where there is none."""
    places = [place for _, one in found for place in one.rows]
    table = scan.rows[["image", "image_id", "label", "group", "split"]].iloc[places]
    table = table.where(table.notna(), "").reset_index(drop=True)
    sizes = [len(one.rows) for _, one in found]
    table["finding"] = np.repeat(np.arange(1, len(found) + 1), sizes)
    for column in ("kind", "severity"):
        names = [kind.name if column == "kind" else severity_of(kind, one)
                 for kind, one in found]  # fmt: skip
        table[column] = np.repeat(np.array(names, dtype=object), sizes)
    table["score"] = [s for _, one in found for s in one.scores or [np.nan] * len(one.rows)]
    table["detail"] = [d for _, one in found for d in one.details]
    return table.astype({"finding": int, "score": float})[COLUMNS]


def _unreadable(scan: Scan, _: SamePictures) -> Iterator[Finding]:
    for place in np.flatnonzero(scan.rows["error"] != ""):
        yield Finding([int(place)], [scan.rows["error"].iloc[place]])


def _transparent(scan: Scan, _: SamePictures) -> Iterator[Finding]:
    for place in np.flatnonzero(scan.rows["transparent"]):
        yield Finding([int(place)], ["over its background, all its pixels are the same"])


def _few_levels(scan: Scan, _: SamePictures) -> Iterator[Finding]:
    rows = scan.rows
    # Fewer than three are a mask or a drawing, whose levels are all there.
    few = (rows["levels"] > 2) & (rows["levels"] <= _LEVELS) & (rows["bright"] > _BLACK)
    for place in np.flatnonzero(few & _readable(rows)):
        levels = int(rows["levels"].iloc[place])
        yield Finding([int(place)], [f"{levels} of 256 grey levels are used"], [levels])


def _constant(scan: Scan, _: SamePictures) -> Iterator[Finding]:
    rows = scan.rows
    for place in np.flatnonzero(rows["constant"] & ~rows["transparent"] & _readable(rows)):
        yield Finding([int(place)], ["all its pixels are the same"])


def _nearly_black(scan: Scan, _: SamePictures) -> Iterator[Finding]:
    rows = scan.rows
    dark = (rows["bright"] <= _BLACK) & ~rows["constant"] & _readable(rows)
    for place in np.flatnonzero(dark):
        level = rows["bright"].iloc[place]
        yield Finding([int(place)], [f"99% of its pixels are at most {level:.0f} of 255"], [level])


def _odd_size(scan: Scan, _: SamePictures) -> Iterator[Finding]:
    rows = scan.rows[_readable(scan.rows)]
    if len(rows) < _FEW:
        return
    width, height = rows["width"].median(), rows["height"].median()
    shape = np.log2((rows["width"] / rows["height"]).to_numpy(float))
    wide = 2 ** abs(shape - np.median(shape))
    off = np.maximum(2 ** abs(np.log2(rows["width"] / width)),
                     2 ** abs(np.log2(rows["height"] / height)))  # fmt: skip
    for place in np.flatnonzero((off > _SIDE) | (wide > _ASPECT)):
        row = rows.iloc[place]
        what = f"{row['width']} x {row['height']} pixels; half of all images have at least "
        yield Finding([int(row["place"])], [f"{what}{width:.0f} x {height:.0f}"])


def _burned_in_text(scan: Scan, _: SamePictures) -> Iterator[Finding]:
    glyphs, in_header = scan.rows["glyphs"], scan.rows["burned_in"]
    for place in np.flatnonzero(in_header):
        yield Finding([int(place)], ["its header says so (BurnedInAnnotation)"])
    for place in np.flatnonzero((glyphs >= LEAST_GLYPHS) & ~in_header):
        count = int(glyphs.iloc[place])
        yield Finding([int(place)], [f"{count} marks in a line look like letters"], [count])


def _exact(scan: Scan, same: SamePictures) -> Iterator[Finding]:
    for rows in same.exact:
        yield Finding(rows, [f"byte for byte the file {_other(scan, rows, r)}" for r in rows],
                    [1.0] * len(rows), said=f"{len(rows)} files are the same, byte for byte.",
                    )  # fmt: skip


def _near(scan: Scan, same: SamePictures) -> Iterator[Finding]:
    for rows, scores in same.near:
        details = [f"almost the same picture as {_other(scan, rows, r)}" for r in rows]
        yield Finding(rows, details, scores, said=f"{len(rows)} images look almost the same.")


def _conflicting_labels(scan: Scan, same: SamePictures) -> Iterator[Finding]:
    return _differing(scan, same, "label", "labelled")


def _across_splits(scan: Scan, same: SamePictures) -> Iterator[Finding]:
    return _differing(scan, same, "split", "in split")


def _across_groups(scan: Scan, same: SamePictures) -> Iterator[Finding]:
    return _differing(scan, same, "group", "of group")


def _differing(scan: Scan, same: SamePictures, column: str, verb: str) -> Iterator[Finding]:
    """Return the copies of one picture that have several values of a column, the sure ones first.

    Bytes prove it; appearance, however similar, is for a person to confirm.
    """
    values, ids = scan.rows[column], scan.rows["image_id"]
    present = values.notna().to_numpy()
    proven, alike = [], []
    for rows in same.pictures:
        rows = [r for r in rows if present[r]]
        by_bytes: dict[str, list[int]] = {}
        for r in rows:
            by_bytes.setdefault(ids.iloc[r], []).append(r)
        values_of = [{values.iloc[r] for r in own} for own in by_bytes.values()]
        proven += [_difference(scan, own, column, verb, True)
                   for own, found in zip(by_bytes.values(), values_of, strict=True)
                   if len(found) > 1]  # fmt: skip
        every = {values.iloc[r] for r in rows}
        if len(every) > 1 and every not in values_of:
            alike.append(_difference(scan, rows, column, verb, False))
    return iter(proven + alike)


def _difference(scan: Scan, rows: list[int], column: str, verb: str, sure: bool) -> Finding:
    values, ids = scan.rows[column], scan.rows["image_id"]
    firsts = {values.iloc[r]: r for r in reversed(rows)}
    details = []
    for r in rows:
        own = values.iloc[r]
        value, other = next((v, o) for v, o in sorted(firsts.items()) if v != own)
        how = "the same bytes" if ids.iloc[other] == ids.iloc[r] else "almost the same"
        details.append(f"{verb} '{own}', but {_name(scan, other)} ({how}) is "
                       f"{verb} '{value}'")  # fmt: skip
    every = sorted(firsts)
    named = " and ".join(f"'{value}'" for value in every[:3]) + " and more" * (len(every) > 3)
    what = "The same bytes are" if sure else "These look almost the same and are"
    wrong = "; at least one is wrong" * (sure and column != "split")
    labels = every if column == "label" else ()
    return Finding(rows, details, sure=sure, labels=labels,
                   said=f"{what} {verb} {named}{wrong}.")  # fmt: skip


def _group_labels(scan: Scan, _: SamePictures) -> Iterator[Finding]:
    return _group_differs(scan, "label", "images of several labels")


def _group_splits(scan: Scan, _: SamePictures) -> Iterator[Finding]:
    return _group_differs(scan, "split", "images in several splits")


def _group_differs(scan: Scan, column: str, what: str) -> Iterator[Finding]:
    """Yield the groups whose images have several values of a column."""
    rows = scan.rows.dropna(subset=["group", column])
    counts = rows.groupby("group")[column].nunique()
    rows = rows[rows["group"].isin(counts.index[counts > 1])]
    for group, own in rows.groupby("group"):
        shares = own[column].value_counts().sort_index()
        shown = ", ".join(f"{n} '{value}'" for value, n in shares.items())
        yield Finding(own["place"].tolist(), [f"group '{group}' has {what}: {shown}"] * len(own))


def _unreadable_labels(scan: Scan, _: SamePictures) -> Iterator[Finding]:
    refused = scan.rows["refused"]
    for place in np.flatnonzero(refused != ""):
        yield Finding([int(place)], [refused.iloc[place]])


def _label_spellings(scan: Scan, _: SamePictures) -> Iterator[Finding]:
    labels = scan.rows["label"]
    counts = count_labels(labels)
    for found in near_labels(counts):
        places = np.flatnonzero(labels.isin(found)).tolist()
        yield Finding(places, [near_question(found, counts)] * len(places))


def _nothing(scan: Scan, same: SamePictures) -> Iterator[Finding]:
    return iter(())


def _readable(rows: pd.DataFrame) -> pd.Series:
    return rows["error"] == ""


def _other(scan: Scan, rows: list[int], own: int) -> str:
    other = rows[1] if rows[0] == own else rows[0]
    more = f" and {len(rows) - 2} more" if len(rows) > 2 else ""
    return f"{_name(scan, other)}{more}"


def _name(scan: Scan, place: int) -> str:
    return name_of(scan.rows["image"].iloc[place], scan.rows["frame"].iloc[place])


KINDS = (
    FindingKind("unreadable", "problem", "Unreadable files",
         "The file is missing, empty, truncated, too large or no image.", _unreadable),
    FindingKind("label_twice", "problem", "Images listed twice",
         "The table lists an image more than once, with different labels, groups or splits.",
         _nothing),
    FindingKind("label_unreadable", "problem", "Labels with invisible characters",
         "A label holds a character that nobody can see, by its number in <>; fit refuses it.",
         _unreadable_labels),
    FindingKind("conflicting_labels", "problem", "The same picture under different labels",
         "Files of the same bytes have different labels; at least one of them is wrong.",
         _conflicting_labels),
    FindingKind("group_across_splits", "problem", "Groups in several splits",
         "A group (patient) has images in more than one split: what is measured on the one was "
         "learned from the other.", _group_splits),
    FindingKind("duplicate_across_splits", "problem", "The same picture in several splits",
         "Files of the same bytes are in different splits.", _across_splits),
    FindingKind("duplicate_across_groups", "problem", "The same picture under several groups",
         "Files of the same bytes belong to different groups (patients): one of them is wrong, "
         "and a split by group would not keep them together.", _across_groups),
    FindingKind("exact_duplicate", "problem", "Exact duplicates",
         "The files have the same bytes (SHA-256).", _exact),
    FindingKind("constant", "problem", "Images of one colour",
         "All pixels have one and the same value.", _constant),
    FindingKind("nearly_black", "problem", "Nearly black images",
         f"At least 99% of the pixels have a grey value of at most {_BLACK} of 255.",
         _nearly_black),
    FindingKind("near_duplicate", "note", "Near duplicates",
         "Images that show almost the same: saved anew, resized, brightened, turned, mirrored. "
         "Each was compared with the most central image of its group and found alike, by texture "
         f"(likeness of at least {SAME}); smooth pictures of one outline may be taken for each "
         "other. Frames of one file are not compared with each other alone. Score: likeness to "
         "the most alike, 1 is the same.", _near),
    FindingKind("label_spellings", "note", "One label in several spellings",
         "Labels are equal as numbers, or but for case, blanks, dashes and underscores between "
         "words, width or letters that look the same; fit makes a class of each. Merge them with "
         "--label-map.", _label_spellings),
    FindingKind("label_suspect", "note", "Labels that may be wrong",
         "A model that had not seen the image disagrees with its label more than its own rate of "
         "errors explains (confident learning; Northcutt et al. 2021, by cleanlab). Score: the "
         "probability of the given label, low is suspect.", _nothing),
    FindingKind("group_several_labels", "note", "Groups with several labels",
         "A group (patient) has images of more than one label. This may be right.",
         _group_labels),
    FindingKind("odd_size", "note", "Odd sizes",
         f"Width or height is more than {_SIDE} times larger or smaller than the median, or the "
         f"aspect ratio is more than {_ASPECT} times off the median aspect ratio; not looked for "
         f"among fewer than {_FEW} images.", _odd_size),
    FindingKind("burned_in_text", "note", "Suspicion of burned-in text",
         f"At least {LEAST_GLYPHS} small, thin, light (or dark) marks of similar "
         "height stand in a line, or a DICOM header says so. A heuristic: it misses faint or "
         "touching letters and may take "
         "other marks for text. Text may be a patient's name, and a model may read it. Score: "
         "marks in the line.", _burned_in_text),
    FindingKind("transparent", "problem", "Nothing but transparency",
         "The picture has transparent pixels, and over the background all its pixels are the "
         "same: it is empty, or drawn in the background's colour ([image] background = 'white' "
         "shows what is black).", _transparent),
    FindingKind("few_levels", "note", "Few grey levels used",
         f"A picture that is not nearly black uses 3 to {_LEVELS} of 256 grey levels: it was "
         "saved with few colours, or a few odd values stretch its range ([image] window or "
         "percentiles cut them off). Score: the levels.", _few_levels),
)  # fmt: skip
