"""Groups: the column of a table that looks like the patient, and the patient of a DICOM file."""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote

import pandas as pd

from clusterkit.config import Config, DataConfig
from clusterkit.data.pseudonyms import hash_group, key_path, read_key
from clusterkit.data.remarks import Remarks

log = logging.getLogger("clusterkit")

# `data.group_column` of a table that is to be read without groups.
NO_GROUPS = "none"

# What names a patient, from the widest to the narrowest, and what may stand beside it.
_SURE = ("patient", "pat", "pt", "pid", "ptid", "mrn", "subject", "subj", "participant", "person",
         "proband", "donor", "individual", "animal", "mouse", "patienten", "paciente", "paziente",
         "pseudonym")  # fmt: skip
_LIKELY = ("case", "specimen", "lesion", "accession", "biopsy", "study", "exam", "examination",
           "slide", "wsi", "smear", "block", "series", "fall", "group")  # fmt: skip
_BESIDE = {"id", "ids", "uid", "guid", "no", "nr", "num", "number", "nummer", "code", "key", "hash",
           "name", "instance", "anon", "anonymized", "anonymised", "deidentified", "pseudonym",
           "pseudo", "the", "of", "identifier", "barcode", "source", "orig", "original", "dicom",
           "unique"}  # fmt: skip
# With one of these the noun says enough, whatever else stands there: case_submitter_id.
_IDENTIFIES = {"id", "ids", "uid", "guid", "identifier", "barcode"}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

# Fewest groups of a column that only perhaps names them: "case" may also be yes or no.
_LEAST_LIKELY = 3

# Ids that stand for nobody, as programs that remove names write them: in lower case, letters only.
_NOBODY = {
    "anonymized", "anonymised", "anonymous", "anonym", "anonymouspatient", "anonymizedpatient",
    "anon", "deidentified", "deid", "deidentifiedpatient", "unknown", "unknownpatient", "undefined",
    "unspecified", "none", "null", "nil", "nan", "na", "notavailable", "notapplicable", "noid",
    "nopatientid", "noname", "missing", "empty", "blank", "removed", "deleted", "redacted",
    "hidden", "masked", "private", "confidential", "patient", "patientid", "id", "test", "dummy",
    "default", "x", "xx", "xxx", "xxxx", "xxxxx", "xxxxxx", "xxxxxxxx",
}  # fmt: skip

_PLURAL = {"study": "studies", "series": "series"}

# Studies from which on one PatientID of all files is taken for no patient's. One patient may well
# have been seen a few times.
MANY_STUDIES = 10


def group_column(config: DataConfig) -> str | None:
    """Column of a table that names groups; None: `data.group_column` says that none does."""
    return None if config.group_column == NO_GROUPS else config.group_column


def group_like_column(names: Sequence[str], lines: Sequence[Sequence[str]]) -> str | None:
    """Column of a table that looks like a group, and whose values repeat; None: there is none.

    >>> lines = [["a.png", "p1"], ["b.png", "p1"], ["c.png", "p2"]]
    >>> group_like_column(["image", "PatientID"], lines)
    'PatientID'
    >>> group_like_column(["image", "patient_age"], lines)
    """
    ranked = sorted((_rank(name), place) for place, name in enumerate(names) if _rank(name) >= 0)
    for rank, place in ranked:
        counts = Counter(line[place].strip() for line in lines)
        counts.pop("", None)
        least = 2 if rank < len(_SURE) else _LEAST_LIKELY
        if len(counts) >= least and counts.total() > len(counts):
            return names[place]
    return None


def unused_group_sentence(names: Sequence[str], lines: Sequence[Sequence[str]], used: str) -> str:
    """Sentence on a column that looks like a group and is not read; "" where there is none.

    Parameters
    ----------
    names, lines : sequence
        Of `tables.read_table`.
    used : str
        `data.group_column`. Where the table has it, with a value in it, or it is ``none``, nothing
        is said.
    """
    if used == NO_GROUPS:
        return ""
    if used in names and any(line[names.index(used)].strip() for line in lines):
        return ""
    column = group_like_column(names, lines)
    if column is None:
        return ""
    return (
        f"column {column} looks like a group and is not used: images of one {column} may be on "
        "both sides of a split, and what is measured is then too good; give --group-column "
        f"{quote(column)}, or --group-column none"
    )


def _rank(name: str) -> int:
    """Place of a column's name among those that name groups, small is better; -1: it does not."""
    words = [word.lower() for word in _WORD.findall(name)]
    whole = "".join(words)
    for rank, noun in enumerate((*_SURE, *_LIKELY)):
        forms = {noun, noun + "s"}
        others = [word for word in words if word not in forms]
        named = len(others) < len(words)
        if (named and (_BESIDE.issuperset(others) or not _IDENTIFIES.isdisjoint(others))) or (
            any(whole in (form + beside, beside + form) for form in forms for beside in _BESIDE)
        ):
            return rank
    return -1


@dataclass(frozen=True)
class Origin:
    """What a DICOM header says of where an image is from; "" where it is silent.

    Never written to a file as it is.
    """

    patient: str = ""
    study: str = ""
    series: str = ""


def take_patients(
    rows: pd.DataFrame, origins: Sequence[Origin | None], config: Config, remarks: Remarks
) -> None:
    """Make patients the groups of images without one, so that a patient's images stay together.

    The patient is PatientID. A word that programs write instead of a name (``ANONYMIZED``) is
    nobody's; so is the one PatientID of all files where they are of `MANY_STUDIES` studies or
    more, or where it is all zeros. Where there is no PatientID, the group is the patient whom the
    study's other files name, else the study, else the series.

    Parameters
    ----------
    rows : DataFrame
        Changed in place.
    origins : sequence of Origin or None
        One a row; None: no DICOM file.
    """
    without = [o is not None and not g for o, g in zip(origins, rows["group"], strict=True)]
    if not any(without):
        return
    # A table may have named some of the patients already.
    named = {g for g in rows["group"] if isinstance(g, str)}
    kinds = _kinds([o for o, w in zip(origins, without, strict=True) if o and w], remarks)
    key = b""
    hashed: dict[tuple[str, str], str] = {}
    plain = {"patient": "PatientID" in config.data.keep_tags,
             "study": "StudyInstanceUID" in config.data.keep_tags,
             "series": "SeriesInstanceUID" in config.data.keep_tags}  # fmt: skip
    groups = []
    for origin, missing, given in zip(origins, without, rows["group"], strict=True):
        kind, identity = kinds[origin] if missing and origin else ("", "")
        if not identity:
            groups.append(given)
        elif plain[kind] or identity in named:
            # One patient under two names would be on both sides of a split.
            groups.append(identity)
        else:
            key = key or read_key(key_path(config.data.key_file))
            if (kind, identity) not in hashed:
                hashed[kind, identity] = hash_group(kind, identity, key)
            groups.append(hashed[kind, identity])
    rows["group"] = groups
    if not plain["patient"]:
        _warn_of_paths(rows["image"], [o.patient if o else "" for o in origins])


def _kinds(origins: list[Origin], remarks: Remarks) -> dict[Origin, tuple[str, str]]:
    """What names the group of each origin: patient, study or series; ("", ""): nothing does."""
    ids = {o.patient for o in origins if o.patient}
    studies = len({o.study for o in origins if o.study})
    all_one = len(ids) == 1 and all(o.patient for o in origins)
    shared = next(iter(ids)) if all_one and len(origins) > 1 else ""
    many = studies >= MANY_STUDIES or (studies > 1 and not shared.strip("0"))
    nobody = {i for i in ids if not _plain(i) or _plain(i) in _NOBODY}
    if shared and many:
        nobody.add(shared)
    known: dict[str, set[str]] = defaultdict(set)
    for o in origins:
        if o.study and o.patient and o.patient not in nobody:
            known[o.study].add(o.patient)
    found = {}
    for o in set(origins):
        of_study = known.get(o.study, set())
        if o.patient and o.patient not in nobody:
            found[o] = ("patient", o.patient)
        elif len(of_study) == 1:
            found[o] = ("patient", next(iter(of_study)))
        else:
            found[o] = ("study", o.study) if o.study else ("series", o.series)
            found[o] = found[o] if found[o][1] else ("", "")
    _remark(origins, found, nobody, remarks)
    if shared and studies > 1 and shared not in nobody:
        remarks.add(
            f"all {len(origins)} DICOM files have one PatientID, in {studies} studies: they are "
            "taken for one patient; if they are of several, name these in a CSV with a group column"
        )
    return found


def _remark(
    origins: list[Origin],
    found: dict[Origin, tuple[str, str]],
    nobody: set[str],
    remarks: Remarks,
) -> None:
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in ("study", "series", "")}
    for o in origins:
        kind, identity = found[o]
        if kind in counts:
            counts[kind][identity] += 1
    # Other ids are personal, even where they are no patient's.
    words = sorted(i for i in nobody if _plain(i) in _NOBODY)
    why = "no PatientID" if not nobody else "no PatientID that tells patients apart"
    if words:
        why += f" ('{words[0]}')"
    for kind, element in (("study", "StudyInstanceUID"), ("series", "SeriesInstanceUID")):
        if counts[kind]:
            remarks.add(
                f"{counts[kind].total()} DICOM files have {why}: their {element} is the group, "
                f"{len(counts[kind])} in all; a patient of several {_PLURAL[kind]} is split: name "
                "patients in a CSV with a group column if you know them"
            )
    if counts[""]:
        remarks.add(
            f"{counts[''].total()} DICOM files have {why}, StudyInstanceUID or SeriesInstanceUID: "
            "each image counts as a patient of its own; name patients in a CSV with a group column"
        )


def _plain(identity: str) -> str:
    return "".join(c for c in identity.casefold() if c.isalnum())


def _warn_of_paths(images: pd.Series, ids: list[str]) -> None:
    inside = sum(
        len(patient) > 3 and patient in image for image, patient in zip(images, ids, strict=True)
    )
    if inside:
        log.warning("%d paths hold the patient's id, and paths are written as they are: rename the "
                    "files if runs and tables are to be passed on", inside)  # fmt: skip
