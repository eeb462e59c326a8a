"""Tables that a person opens in a spreadsheet and saves: the same ids and labels, or a question."""

import codecs
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clusterkit import read_assignments
from clusterkit.data.identity import text_id
from clusterkit.data.labels import compose_label, nearest_label, read_label
from clusterkit.errors import DataError
from clusterkit.formats.assignments import NUMBERS, WHOLE
from clusterkit.formats.reviews import FURTHER_COLUMNS, REVIEW_COLUMNS, read_reviews
from clusterkit.reviewing import write_reviews
from tests.spreadsheets import ENGLISH, GERMAN, opened, saved, typed

KINDS = (",", ";", "plain", "unicode")

HOSTILE = (
    "=1+1", "+49 30", "-1.0", "@SUM(A1)", "'tis", "''", "'=1", 'say "a"', 'a","b', "a;b", "a,b",
    "Größe", "細胞", "\u062e\u0644\u064a\u0629", "שלום", "\u0645\u06cc\u200c\u062e\u0648\u0645",
    "🫀", "👩\u200d⚕️", "x" * 5000,
    "=HYPERLINK(\"x\")", "a\u00a0b", "<b>", "%s", "NULL", "nan", "#N/A", "0", "sep=;", "ﬁ",
)  # fmt: skip
# Those of which a spreadsheet makes something else.
READ_ANEW = (
    "01", "007", "1E5", "1e-7", "1.0", "1.10", ".5", "TRUE", "false", "1/2", "10-12", "1.5",
    "March 1", "SEPT2", "MAR-1", "dec 12", "+5", "12345678901234567890", "1119271000168105",
    "0.123456789012",
)  # fmt: skip

labels = st.one_of(
    st.sampled_from(HOSTILE + READ_ANEW),
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="|"), max_size=30),
    st.text("=+-@'\";,\t 019.eE/TRUEé", max_size=8),
)
notes = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=30)
ids = st.one_of(
    st.text("0123456789abcdef", min_size=16, max_size=16),
    st.text("0123456789", min_size=16, max_size=16),
    st.from_regex(r"\A[0-9]{7}e[0-9]{8}\Z"),
).map(text_id)


def table_of(rows: list[tuple[str, str, str]]) -> pd.DataFrame:
    blank = dict.fromkeys([*REVIEW_COLUMNS, *FURTHER_COLUMNS], "")
    return pd.DataFrame(
        [
            blank | {"image_id": identity, "label": label, "note": note,
                     "decision": "relabel" if label else "skip"}
            for identity, label, note in rows
        ],
        dtype=object,
    )  # fmt: skip


def readable(label: str) -> str:
    """Return the label as it is read; "" for one that is refused, which is of other tests."""
    try:
        return read_label(label, "")
    except DataError:
        return ""


def written(rows: list[tuple[str, str, str]], folder: Path) -> bytes:
    path = folder / "written.csv"
    path.unlink(missing_ok=True)
    write_reviews(table_of(rows), path)
    return path.read_bytes()


def read_again(data: bytes, folder: Path) -> pd.DataFrame:
    path = folder / "saved.csv"
    path.write_bytes(data)
    return read_reviews(path)


# Rows of three hostile cells each: a thousand of them and more in each test.
MANY = settings(max_examples=60, deadline=None,
                suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip


@MANY
@given(st.lists(st.tuples(ids, labels, notes), min_size=10, max_size=20), st.sampled_from(KINDS),
       st.integers(1, 2))  # fmt: skip
@example([("0a1b2c3d4e5f6071", '"', "\n;\t,\n")], ";", 2)
def test_what_is_saved_as_text_comes_back_the_same(tmp_path, rows, kind, times):
    rows = [(identity, readable(label), note) for identity, label, note in rows]
    data = written(rows, tmp_path)
    assert data.startswith(codecs.BOM_UTF8)
    cells = opened(data)
    for _ in range(times):
        data = saved(cells, kind)
        letters = "utf-16" if kind == "unicode" else "utf-8-sig"
        cells = opened(codecs.BOM_UTF8 + data.decode(letters).encode(),
                       {"unicode": "\t", ";": ";"}.get(kind, ","))  # fmt: skip
    found = read_again(data, tmp_path)
    assert found["image_id"].tolist() == [row[0] for row in rows]
    assert found["label"].tolist() == [row[1] for row in rows]
    assert found["note"].tolist() == [row[2].strip() for row in rows]


@MANY
@given(st.lists(st.tuples(ids, labels), min_size=10, max_size=20),
       st.sampled_from([ENGLISH, GERMAN]), st.sampled_from(KINDS))  # fmt: skip
def test_a_label_that_is_read_anew_is_asked_about(tmp_path, rows, country, kind):
    rows = [(identity, readable(label), "") for identity, label in rows]
    data = written(rows, tmp_path)
    found = read_again(saved(typed(opened(data), country), kind), tmp_path)
    # No program reads an id as anything.
    assert found["image_id"].tolist() == [row[0] for row in rows]
    for back, (_, label, _) in zip(found["label"], rows, strict=True):
        assert back == label or nearest_label(back, ["something else", label]) == label


@pytest.mark.parametrize("country", [ENGLISH, GERMAN])
@pytest.mark.parametrize("label", READ_ANEW)
def test_each_label_that_a_spreadsheet_reads_anew(tmp_path, label, country):
    data = written([("0a1b2c3d4e5f6071", label, "")], tmp_path)
    back = read_again(saved(typed(opened(data), country), ";"), tmp_path)["label"][0]
    assert back == label or nearest_label(back, ["ring", label]) == label


@pytest.mark.parametrize("label", ["Größe", "a\u00a0b", "50 µm"])
def test_letters_of_a_country_alone_are_refused(tmp_path, label):
    data = written([("0a1b2c3d4e5f6071", label, "")], tmp_path)
    data = saved(opened(data), "cp1252")
    with pytest.raises(DataError, match=r"saved\.csv is not UTF-8 text; save it as CSV in UTF-8"):
        read_again(data, tmp_path)


def test_without_the_mark_it_would_be_misread(tmp_path):
    """The reason for it: this fails where the mark is left out."""
    data = written([("0a1b2c3d4e5f6071", "Größe", "")], tmp_path)
    assert opened(data)[1][2] == "Größe"
    assert opened(data.removeprefix(codecs.BOM_UTF8))[1][2] == "GrÃ¶ÃŸe"


@pytest.mark.parametrize("old", ["8.63E+020", "8,63E+20", "123456789012345", "8630000000000000"])
def test_an_id_that_became_a_number_is_named(run, assignment, tmp_path, command, old):
    shutil.copy(assignment.path, tmp_path)
    shutil.copy(assignment.path.with_suffix(".json"), tmp_path)
    text = f"image_id;label;decision\n{old};ring;relabel\n"
    (tmp_path / "reviews.csv").write_text(text)
    code, out, err = command("review", tmp_path / "reviews.csv", "--run", tmp_path)
    assert code == 1
    assert out == ""
    assert err.count("\n") == 1
    assert "reviews.csv, line 2: image_id" in err
    assert "copy it" in err


@pytest.mark.parametrize(("country", "kind"), [(ENGLISH, ","), (GERMAN, ";"), (GERMAN, "unicode")])
def test_assignments_that_a_spreadsheet_saved(assignment, tmp_path, country, kind):
    path = tmp_path / "assignments.csv"
    rows = opened(assignment.path.read_bytes())
    if country is GERMAN:
        # As its import reads a table whose numbers have points.
        comma = [rows[0].index(name) for name in NUMBERS]
        rows = [rows[0], *([c.replace(".", ",") if i in comma else c for i, c in enumerate(row)]
                           for row in rows[1:])]  # fmt: skip
    path.write_bytes(saved(typed(rows, country), kind))
    found, given = read_assignments(path), read_assignments(assignment.path)
    assert found["image_id"].tolist() == given["image_id"].tolist()
    assert found["predicted_label"].tolist() == given["predicted_label"].tolist()
    for column in (*NUMBERS, *WHOLE):
        pd.testing.assert_series_equal(found[column], given[column], atol=1e-5)


@pytest.mark.parametrize("label", HOSTILE)
def test_all_in_one_column(tmp_path, label):
    """A spreadsheet whose country separates by semicolons opens the lines of ours as one cell."""
    data = written([("0a1b2c3d4e5f6071", label, ""), ("0a1b2c3d4e5f6072", "b", "x")], tmp_path)
    data = saved(opened(data, ";"), ";")
    # The writer put quotes around it, or doubled them.
    if set(label) & {'"', ","}:
        with pytest.raises(DataError, match=r"saved\.csv, line 2: the whole line is in double quo"):
            read_again(data, tmp_path)
    else:
        assert read_again(data, tmp_path)["label"].tolist() == [compose_label(label), "b"]


def test_assignments_that_were_saved_are_told(assignment, tmp_path, caplog):
    read_assignments(assignment.path)
    assert not caplog.messages
    path = tmp_path / "assignments.csv"
    path.write_bytes(saved(opened(assignment.path.read_bytes()), ","))
    read_assignments(path)
    assert "assignments.csv was saved by another program" in caplog.text


@pytest.mark.parametrize("marks", [0, 2, 3])
def test_marks_that_were_left_out_or_put_before(assignment, tmp_path, marks):
    data = assignment.path.read_bytes().removeprefix(codecs.BOM_UTF8)
    path = tmp_path / "assignments.csv"
    path.write_bytes(codecs.BOM_UTF8 * marks + data)
    pd.testing.assert_frame_equal(read_assignments(path), read_assignments(assignment.path))
    reviews = written([("0a1b2c3d4e5f6071", "Größe", "")], tmp_path)
    found = read_again(codecs.BOM_UTF8 * marks + reviews.removeprefix(codecs.BOM_UTF8), tmp_path)
    assert found["label"].tolist() == ["Größe"]


def test_every_table_begins_with_the_mark(run, assignment, sample):
    own = [run.path / name for name in ("manifest.csv", "history.csv", "assignments.csv")]
    of_sample = [sample / name for name in ("labels.csv", "unlabeled.csv", "truth.csv")]
    for path in own + of_sample:
        assert path.read_bytes().startswith(codecs.BOM_UTF8), path
        first = path.read_text(encoding="utf-8-sig").partition(",")[0]
        assert pd.read_csv(path).columns[0] == first


OFFICE = shutil.which("soffice") or shutil.which("libreoffice")
CSV = "Text - txt - csv (StarCalc)"
# Separator, quotation mark, letters (76: UTF-8), first line, formats of columns, language (1031:
# German), all text in quotes, cells as they are shown.
KEPT = {
    "english": "44,34,76,1,,1033,true,true",
    "german": "59,34,76,1,,1031,true,true",
    "german without quotes": "59,34,76,1,,1031,false,true",
    "tabs": "9,34,76,1,,1031,false,true",
}


@pytest.mark.slow
@pytest.mark.skipif(OFFICE is None, reason="LibreOffice is not installed: no soffice in the PATH")
@pytest.mark.parametrize("name", KEPT)
def test_libreoffice_opens_and_saves_it(tmp_path, name):
    """By way of a workbook, so that every cell was what LibreOffice takes it for."""
    first = 0xA1B2C3D4E5F60710
    digits = [f"{first + i:016x}" for i in range(40)]
    digits += ["1234567890123456", "0000123456789012", "1234567e12345678"]
    every = [label for label in (*HOSTILE, *READ_ANEW) if compose_label(label) == label]
    rows = [(text_id(digits[i % len(digits)]), label, "a\nb") for i, label in enumerate(every)]
    path = tmp_path / "reviews.csv"
    path.write_bytes(written(rows, tmp_path))
    # As its own dialogue does it by default, and with special numbers (days, 1E5) looked for.
    convert(path, "ods", f"--infilter={CSV}:44,34,76,1,,1033,false,true")
    path.unlink()
    convert(path.with_suffix(".ods"), f"csv:{CSV}:{KEPT[name]}")
    found = read_reviews(path)
    assert found["image_id"].tolist() == [row[0] for row in rows]
    assert found["decision"].tolist() == ["relabel"] * len(rows)
    for back, (_, label, _) in zip(found["label"], rows, strict=True):
        assert back == label or nearest_label(back, ["ring", label]) == label


def convert(path: Path, kind: str, *options: str) -> None:
    # A profile of its own: it would join a program that is open.
    profile = f"-env:UserInstallation={(path.parent / 'profile').as_uri()}"
    subprocess.run(
        [str(OFFICE), profile, "--headless", *options, "--convert-to", kind,
         "--outdir", str(path.parent), str(path)],
        check=True, timeout=180, capture_output=True,
    )  # fmt: skip
