"""Tables as people have them: every dialect gives the same cells, and none is guessed wrongly."""

import codecs
import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.config import ConfigError, config_from_dict
from clusterkit.data.tables import SEPARATORS, read_table
from clusterkit.errors import DataError

TEXT = st.text(st.sampled_from("aB7 é,;|\t\"'.:/=-\n"), max_size=8)
WANTED = ("image", "label")


def write(path, rows, ends="\r\n", **dialect):
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=ends, **dialect).writerows(rows)
    path.write_bytes(text.getvalue().encode("utf-8"))
    return path


def read(path, wanted=WANTED, **options):
    return read_table(path, wanted=wanted, option="--separator", **options)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("tables") / "t.csv"


@given(
    rows=st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=5),
    others=st.lists(st.text(st.sampled_from('xyz ,;|\t"'), min_size=1, max_size=4), max_size=2),
    separator=st.sampled_from(SEPARATORS),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    ends=st.sampled_from(["\n", "\r\n", "\r"]),
    mark=st.sampled_from(["", "sep", '"sep"', "sep,,", "BOM"]),
)
def test_every_dialect_gives_the_same_cells(file, rows, others, separator, quoting, ends, mark):
    names = ["image", "label", "score", *others]
    rows = [["a" + row[0], *row[1:], *[""] * len(others)] for row in rows]
    if ends == "\r":
        # The writer takes a line feed for text where lines end otherwise; readers do not.
        quoting = csv.QUOTE_ALL
    write(file, [names, *rows], ends, delimiter=separator, quoting=quoting)
    above = {"sep": f"sep={separator}{ends}", '"sep"': f'"sep={separator}"{ends}',
             "sep,,": f"SEP={separator},,{ends}", "BOM": "\ufeff"}.get(mark, "")  # fmt: skip
    file.write_bytes(above.encode() + file.read_bytes())
    found, lines, _ = read(file)
    assert found == [name.strip() for name in names]
    assert lines == rows


@given(rows=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4),
       separator=st.sampled_from([*SEPARATORS, ":", "^", " "]))  # fmt: skip
def test_a_named_separator_counts(file, rows, separator):
    rows = [["a" + first, second] for first, second in rows]
    write(file, [["image", "label"], *rows], delimiter=separator)
    assert read(file, separator=separator)[1] == rows


def test_decimal_commas_and_semicolons_stay_in_their_cells(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("image;label;score\na,1.png;x, y;0,5\nb.png;z;1,25\n")
    assert read(path)[1] == [["a,1.png", "x, y", "0,5"], ["b.png", "z", "1,25"]]
    path.write_text("image,label\na;1.png,x;y\nb.png,x|z\n")
    assert read(path)[1] == [["a;1.png", "x;y"], ["b.png", "x|z"]]


def test_a_single_column_of_names_is_not_split(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("image\na;b.png\nc|d.png\n")
    assert read(path, ("image",))[1] == [["a;b.png"], ["c|d.png"]]


def test_lines_are_counted_as_an_editor_counts_them(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('\n\nsep=;\n\nimage;label\n"a\nb";x\n\nc;y\n')
    assert read(path)[1:] == ([["a\nb", "x"], ["c", "y"]], [7, 9])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,x;image\na,b;c\n", "separated by ',' or ';'; name it with --separator"),
        ("image;note,label\na;b,c\n", "separated by ',' or ';'; name it with --separator"),
        ("image,label\na.png,x\nb.png;y\n", "line 3: its cells are separated by ';'"),
        ("image;label\na.png;x\nb.png,y\n", "line 3: its cells are separated by ','"),
        ("image,label,score\na.png,x,0,5\n", "line 2: 4 cells for 3 columns"),
        ("sep=\nimage;label\na;b\n", "line 1: 'sep=' names no character"),
        ("sep=ab\nimage;label\na;b\n", "line 1: 'sep=ab' names no character"),
        ("sep=a\nimage;label\na;b\n", "names no character"),
        ('sep="\nimage;label\na;b\n', "names no character"),
        ("sep=" + ";x" * 500_000 + "\nimage;label\na;b\n", "line 1: 'sep=;x;x;x"),
        ("i\0m\0a\0g\0e\0,\0\n\0", "line 1: it holds a NUL character"),
        ("image,label\na.png,x\nb.\0png,y\n", "line 3: it holds a NUL character"),
        ("image,label\n" + "a" * 5_000_000, "line 2: more than 4,194,304 characters without"),
        ("image,label\n" + "a" * 200_000 + ",b\n", "field larger than field limit"),
        ('image,label\n"a,b\nc,d\n', "unexpected end of data"),
        ("sep=;\n", "is empty"),
        ("sep=;\nimage,label\na,b\n", "line 1: it says that ';' separates the cells, but those of"),
        ('image\tlabel\n"Big" lesion.png\tx\n', "line 2: a cell that begins with a double quote"),
        (";;;\n\n", "column names but no rows"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_one_short_line(tmp_path, text, said):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        read(path)
    assert said in str(error.value)
    assert len(str(error.value)) < 300
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["\ufeffsep=;\n", "sep=;\n\ufeff", "\ufeffsep=;\r\n\ufeff"])
def test_a_mark_of_byte_order_is_no_part_of_a_name(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(text + '"image";label\na,b.png;x\n', encoding="utf-8", newline="")
    assert read(path)[:2] == (["image", "label"], [["a,b.png", "x"]])


@pytest.mark.parametrize("encoding", ["utf-32", "cp1252", "utf-16-le"])
def test_other_encodings_are_named(tmp_path, encoding):
    (tmp_path / "t.csv").write_text("image;label\na;gutartig ß\n", encoding=encoding)
    with pytest.raises(DataError, match="save it as CSV in UTF-8"):
        read(tmp_path / "t.csv")


@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("image\tlabel\r\na.png\tgutartig ß 𝄞\r\n", "auto"),
        ("sep=\t\r\nimage\tlabel\r\na.png\tgutartig ß 𝄞\r\n", "auto"),
        ('image;label\n"a.png";gutartig ß 𝄞\n', ";"),
    ],
)
def test_unicode_text_of_a_spreadsheet(tmp_path, mark, text, separator):
    codec = "utf-16-le" if mark == codecs.BOM_UTF16_LE else "utf-16-be"
    path = tmp_path / "t.txt"
    path.write_bytes(mark + text.encode(codec))
    assert read(path, separator=separator)[:2] == (
        ["image", "label"],
        [["a.png", "gutartig ß 𝄞"]],
    )


@pytest.mark.parametrize("data", [b"\xff\xfei", b"\xff\xfe\x00\xd8\x00\x00", b"\xfe\xff\xdc\x00"])
def test_broken_utf_16_is_named(tmp_path, data):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(DataError, match="not UTF-16 text; save it as CSV in UTF-8"):
        read(tmp_path / "t.csv")


@pytest.mark.parametrize("value", ["x", "", "ab", '"', "\n", "\0", "1"])
def test_a_separator_is_one_character_that_separates(value):
    with pytest.raises(ConfigError, match=r"data\.separator"):
        config_from_dict({"data": {"separator": value}})
