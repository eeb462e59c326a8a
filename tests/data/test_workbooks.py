"""Workbooks of spreadsheets: read as tables are, or one line that says what to mend."""

import builtins
import datetime as dt
import zipfile

import pytest

from clusterkit.data.tables import read_table
from clusterkit.data.workbooks import read_workbook, write_workbook
from clusterkit.errors import DataError
from clusterkit.formats.reviews import read_reviews

HEADER = ["image_id", "image", "label", "decision", "time"]
FIRST, SECOND = "0a1b2c3d4e5f6071", "x511302225567e181"


@pytest.fixture
def book(tmp_path):
    """Two reviews on a sheet, with a row left empty; call it with a change to that sheet."""
    openpyxl = pytest.importorskip("openpyxl")

    def make(change=lambda book, sheet: None):
        book = openpyxl.Workbook()
        sheet = book.active
        sheet.append(HEADER)
        sheet.append([FIRST, "a.png", "=ring", "relabel", dt.datetime(2026, 11, 28, 10)])
        sheet["C2"].data_type = "s"
        sheet.append([])
        sheet.append([SECOND, "b.png", 1, "accept", dt.date(2026, 11, 28)])
        change(book, sheet)
        book.save(tmp_path / "reviews.xlsx")
        return tmp_path / "reviews.xlsx"

    return make


def test_reviews_of_a_workbook(book):
    rows = read_reviews(book())
    assert rows["image_id"].tolist() == [FIRST, SECOND]
    assert rows["label"].tolist() == ["=ring", "1"]
    assert rows["time"].tolist() == ["2026-11-28T10:00:00", "2026-11-28"]
    assert rows["line"].tolist() == [2, 4]


def test_empty_sheets_and_what_is_only_drawn_are_left_out(book):
    def change(book, sheet):
        book.create_sheet("Sheet2")
        sheet.auto_filter.ref = "A1:E4"
        sheet.column_dimensions["A"].hidden = True

    assert len(read_reviews(book(change))) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b, s: s.merge_cells("C2:C4"), "the cells C2:C4 are merged"),
        (lambda b, s: s.merge_cells("A1:E1"), "the cells A1:E1 are merged"),
        (lambda b, s: b.create_sheet("old").append(["x"]), "2 sheets that hold something"),
        (lambda b, s: s.__setitem__("C4", "=A1"), "line 4: cell C4 holds a formula ('=A1')"),
        (lambda b, s: s.__setitem__("C4", "#N/A"), "line 4: cell C4 holds an error"),
        (lambda b, s: s.__setitem__("XFD1048576", 1), "16384 cells for 5 columns, e.g. '1'"),
        (lambda b, s: [s.cell(r, 16384, 1) for r in range(5, 130)], "more than 2,000,000 cells"),
        (lambda b, s: s.__setitem__("H2", "x"), "8 cells for 5 columns, e.g. 'x'; name its column"),
        (lambda b, s: s.__setitem__("D2", "acept"), "line 2: decision 'acept' (did you mean"),
        (lambda b, s: s.__setitem__("A1", "id"), "has no column 'image_id'"),
        (lambda b, s: s.delete_rows(2, 9), "column names but no rows"),
        (lambda b, s: s.delete_rows(1, 9), "is empty"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_one_line(book, change, said):
    path = book(change)
    with pytest.raises(DataError) as error:
        read_reviews(path)
    assert said in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"", b"PK", b"\xd0\xcf\x11\xe0" + b"0" * 600, "zip", "large"])
def test_what_is_no_workbook(tmp_path, data):
    pytest.importorskip("openpyxl")
    path = tmp_path / "reviews.xlsx"
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.xml", b" " * (65 << 20 if data == "large" else 1))
    with pytest.raises(DataError, match="save it") as error:
        read_table(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("part", "old", "new", "said"),
    [
        ("worksheets/sheet1", b"</sheetData>", b'</sheetData><mergeCells count="1"><mergeCell '
         b'ref="A1:XFD1048576"/></mergeCells>', "the cells A1:XFD1048576 are merged"),
        ("worksheets/sheet1", b"</sheetData>", b"</sheet", "is damaged"),
        ("worksheets/sheet1", b"<worksheet", b'<!DOCTYPE x [<!ENTITY a "b">' + b"".join(
            b'<!ENTITY %s "%s">' % (b"a" * (i + 2), b"&%s;" % (b"a" * (i + 1)) * 10)
            for i in range(9)) + b"]><worksheet", "is damaged"),
    ],
)  # fmt: skip
def test_a_hostile_workbook_fills_no_memory(book, tmp_path, part, old, new, said):
    path, hostile = book(), tmp_path / "hostile.xlsx"
    with zipfile.ZipFile(path) as given, zipfile.ZipFile(hostile, "w") as out:
        for name in given.namelist():
            data = given.read(name)
            if part in name:
                assert old in data
                # The last of the entities stands where a text was.
                data = data.replace(old, new).replace(b">accept<", b">&%s;<" % (b"a" * 10))
            out.writestr(name, data)
    with pytest.raises(DataError) as error:
        read_table(hostile)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_text_is_written_as_text(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    texts = ["=1+1", "01", "1E5", "TRUE", "1/2", "#N/A", "'x", " a ", "Größe\n2"]
    path = tmp_path / "t.xlsx"
    write_workbook(path, ["label", "number"], [(text, 0.5) for text in texts])
    assert [cells for _, cells in read_workbook(path)][1:] == [[text, "0.5"] for text in texts]
    sheet = openpyxl.load_workbook(path).active
    kinds = {(a.data_type, a.number_format, b.data_type) for a, b in sheet.iter_rows(min_row=2)}
    assert kinds == {("s", "@", "n")}


def test_what_no_cell_holds(tmp_path):
    pytest.importorskip("openpyxl")
    write_workbook(tmp_path / "t.xlsx", ["a"], [("x\x01y",), (None,), ("z",)])
    assert read_workbook(tmp_path / "t.xlsx")[1:] == [(2, ["x\ufffdy"]), (4, ["z"])]
    with pytest.raises(DataError, match="a in row 2 has 32,768 characters"):
        write_workbook(tmp_path / "u.xlsx", ["a"], [("x" * 32768,)])
    assert not (tmp_path / "u.xlsx").exists()


def test_without_the_package(tmp_path, monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest):
        if name.partition(".")[0] == "openpyxl":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    (tmp_path / "reviews.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"pip install 'clusterkit\[xlsx\]', or save the table as"):
        read_reviews(tmp_path / "reviews.xlsx")
