"""Labels: read at one place, asked about where two may be one, renamed by a map."""

import logging
import re
import unicodedata
from contextlib import suppress

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from PIL import Image

from clusterkit import inspect, read_manifest
from clusterkit.config import DataConfig
from clusterkit.data.label_map import LabelMap, read_label_map
from clusterkit.data.labels import (
    compose_label,
    near_key,
    near_labels,
    nearest_label,
    read_label,
    read_labels,
)
from clusterkit.errors import DataError


def pictures(folder, count, first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        Image.new("RGB", (8, 8), (number, 7, 9)).save(folder / f"{number}.png")


def table(folder, *labels):
    pictures(folder, len(labels))
    rows = [f'{number}.png,"{label}"\n' for number, label in enumerate(labels)]
    (folder / "labels.csv").write_text("image,label\n" + "".join(rows), encoding="utf-8")
    return folder / "labels.csv"


def readable(text):
    try:
        return read_label(text, "here")
    except DataError:
        return None


@given(st.text())
def test_reading_again_changes_nothing(text):
    label = readable(text)
    assume(label is not None)
    assert read_label(label, "here") == label == label.strip()
    assert label == unicodedata.normalize("NFC", label)


@given(st.text(min_size=1), st.sampled_from([" ", "\u00a0", "\u2003", "\t", "\r\n", "\u3000"]))
def test_encodings_and_blanks_make_no_second_class(text, blank):
    label = readable(text)
    assume(label is not None)
    assert readable(blank + unicodedata.normalize("NFD", text) + blank) == label
    assert readable(f"{label} b") == readable(f"{label}\u00a0b")


@given(st.text(), st.text())
def test_near_labels_are_near_each_other(one, other):
    assert near_key(one) == near_key(one.swapcase()) or one.casefold() != one.swapcase().casefold()
    near = [sorted({one, other})] if one != other and near_key(one) == near_key(other) else []
    assert near_labels([one, other]) == near_labels([other, one]) == near


@pytest.mark.parametrize("character", [
    "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u200e", "\u202e", "\u2066",
    "\u061c",
    "\u034f", "\ufe0f", "\U000e0100", "\u115f", "\u3164", "\u180e", "\u2800",
    "\n", "\r", "\t", "\0", "\x1b",
    "\x7f", "\u0085", "\u2028", "\u2029", "\U000e0061", "\ud800",
])  # fmt: skip
def test_what_cannot_be_seen_is_refused(character):
    number = f"U+{ord(character):04X}"
    with pytest.raises(DataError, match=re.escape(number)) as error:
        read_label(f"mali{character}gnant", "labels.csv, line 7")
    assert str(error.value).startswith("labels.csv, line 7: label 'mali<U+")
    assert str(error.value).isprintable()


@pytest.mark.parametrize("word", [
    "می‌خواهم", "क्‍ष", "ശ്‌", "ශ්‍රී", "👩‍⚕️", "❤️", "ᠠ᠋", "T²", "β-Zelle", "細胞", "؀١٢", "CD4+",
])  # fmt: skip
def test_words_and_emoji_keep_their_joiners(word):
    if word.endswith("\u200c"):
        word += "ക"
    assert read_label(word, "here") == unicodedata.normalize("NFC", word)


@pytest.mark.parametrize(("one", "other"), [
    ("WBC", "wbc"), ("STRASSE", "straße"), ("01", "1"), ("1", "1.0"), ("1e0", "1"), ("1,50", "1.5"),
    ("-1.0", "-1"), ("'-1.0", "-1.0"), ("+1", "1"), ("1e5", "100000"), ("007", "7"),
    ("grade 01", "Grade 1"), ("white_blood-cell", "White Blood Cell"), ("non small", "nonsmall"),
    ("a  b", "a b"), ("\uff37\uff22\uff23", "WBC"), ("µm", "μm"), ("\u04211", "C1"),
    ("naïve", "nai\u0308ve"),
    ("a\u2013b", "a-b"), ("_benign", "benign"),
    ("می‌خواهم", "میخواهم"), ("-0", "0"), ("\uff10\uff11", "1"),
])  # fmt: skip
def test_labels_that_may_be_one_class(one, other):
    assert near_key(one) == near_key(other)
    assert nearest_label(one, ["something else", other]) == other


@given(st.text(st.characters(min_codepoint=0xA1, max_codepoint=0x2FF), min_size=1, max_size=8),
       st.sampled_from(["cp1250", "cp1252", "cp1253", "cp1257", "latin-1", "mac_roman"])
       )  # fmt: skip
@example("Größe", "cp1252")
@example("細胞", "cp1252")
def test_utf8_in_the_letters_of_a_country_is_told(word, letters):
    with suppress(UnicodeError):
        misread = word.encode().decode(letters)
        assert nearest_label(misread, ["7", word]) == word
        assert nearest_label(f"x {word} 7", ["y", f"x {misread} 7"]) == f"x {misread} 7"


def test_letters_that_were_read_wrongly_twice_are_told():
    twice = "Größe".encode().decode("cp1252").encode().decode("cp1252")
    assert nearest_label(twice, ["Große", "Größe"]) == "Größe"


@pytest.mark.parametrize(("one", "other"), [
    ("1", "-1"), ("HER2+", "HER2-"), ("HER2-", "HER2"), ("1-2", "12"), ("1.05", "1.5"), ("1", "10"),
    ("benign", "malignant"), ("NA", "N+"), ("1e5", "1e6"), ("nan", "inf"), ("1_000", "1000"),
    ("stage 1", "stage 11"), ("9" * 100, "9" * 101),
])  # fmt: skip
def test_labels_that_are_two_classes(one, other):
    assert near_key(one) != near_key(other)


def test_every_way_of_labelling_is_read_the_same(tmp_path):
    for number, name in enumerate(("Gro\u0308ße", "Größe ", "klein")):
        pictures(tmp_path / "folders" / name, 1, first=number)
    assert set(read_manifest(tmp_path / "folders")["label"].dropna()) == {"Größe", "klein"}
    pictures(tmp_path / "names", 2)
    for number, name in enumerate(("Gro\u0308ße", "Größe")):
        (tmp_path / "names" / f"{number}.png").rename(tmp_path / "names" / f"{name}_{number}.png")
    found = read_manifest(tmp_path / "names", DataConfig(label_pattern=r"(.+)_\d"))
    assert found["label"].tolist() == ["Größe", "Größe"]
    source = table(tmp_path / "csv", "Gro\u0308ße", "\u00a0Größe", "sehr\u00a0klein", "sehr  klein")
    assert read_manifest(source)["label"].tolist() == ["Größe", "Größe", "sehr klein", "sehr klein"]


def test_a_refused_label_names_its_row_and_inspect_shows_all(tmp_path):
    source = table(tmp_path, "a", "A", "b\u200b", "b", "c\x07")
    with pytest.raises(DataError, match=r"labels\.csv, line 4: .*U\+200B ZERO WIDTH SPACE"):
        read_manifest(source)
    result = inspect(source)
    kinds = result.findings.groupby("kind")["image"].agg(set)
    assert kinds["label_unreadable"] == {"2.png", "4.png"}
    assert kinds["label_spellings"] == {"0.png", "1.png"}
    assert "b<U+200B>" in result.summary["classes"]
    details = result.findings["detail"].tolist()
    assert "'A' (1) and 'a' (1): one class?" in details
    assert any("line 6" in detail for detail in details)
    (tmp_path / "c\u200bd").mkdir()
    (tmp_path / "0.png").rename(tmp_path / "c\u200bd" / "0.png")
    with pytest.raises(DataError, match=r"U\+200B ZERO WIDTH SPACE"):
        read_manifest(tmp_path)


def map_file(folder, text):
    (folder / "map.csv").write_text(text, encoding="utf-8")
    return folder / "map.csv"


def test_a_map_merges_and_mends_labels(tmp_path, caplog):
    source = table(tmp_path, "wbc", "WBC", "w\u200bbc", "x", "y", "z", "keep")
    names = map_file(
        tmp_path, "old,new,why\nwbc,WBC,\nw\u200bbc,WBC,\nx,y,\ny,z,\nkeep,keep,\nKeeq,z,\n"
    )
    with caplog.at_level(logging.WARNING):
        manifest = read_manifest(source, DataConfig(label_map=str(names)))
    assert manifest["label"].tolist() == ["WBC", "WBC", "WBC", "z", "z", "z", "keep"]
    assert "'Keeq' (did you mean 'keep'?), and nothing has that label" in caplog.text
    assert caplog.text.count("label map") == 1
    assert "label_spellings" in set(inspect(source).findings["kind"])


@pytest.mark.parametrize(("text", "message"), [
    ("old,new\na,b\nb,a\n", "circle, a → b → a"),
    ("old,new\na,b\nb,c\nc,d\nd,b\n", "circle, b → c → d → b"),
    ("old,new\na,b\na,c\n", "line 3: 'a' becomes 'c', and 'b' in an earlier line"),
    ("old,new\na,\n", "line 2: no new label for 'a'"),
    ("old,new\n,b\n", "line 2: no old label"),
    ("old,new\na,b|c\n", "holds '|'"),
    ("old,new\na,b\u200b\n", "U+200B"),
    ("old,neu\na,b\n", "no column 'new' (did you mean 'neu'?)"),
    ("old,new,new\na,b,c\n", "2 columns 'new'"),
    ("old,new\n", "no rows"),
    ("", "is empty"),
])  # fmt: skip
def test_bad_maps_are_one_line(tmp_path, text, message):
    with pytest.raises(DataError, match=re.escape(message)) as error:
        read_label_map(map_file(tmp_path, text))
    assert "\n" not in str(error.value)


def test_a_map_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_label_map(tmp_path / "none.csv")
    assert read_label_map(None).names == {}


@given(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("abcdefg")), st.text("abcdefg"))
def test_a_map_may_be_used_twice(tmp_path_factory, direct, labels):
    assume(direct)
    rows = "".join(f"{old},{new}\n" for old, new in direct.items())
    try:
        names = read_label_map(map_file(tmp_path_factory.mktemp("m"), "old,new\n" + rows))
    except DataError:
        return
    once = names.renamed(labels)
    assert names.renamed(once) == once
    assert read_labels(labels, str, names) == once


def test_no_map_leaves_labels_as_they_are():
    assert LabelMap().renamed(["a", None, "", " b"]) == ["a", None, "", "b"]
    assert compose_label("\u00a0a\u00a0\u00a0b ") == "a b"
