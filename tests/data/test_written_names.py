"""Names that no table takes: written reversibly, no two as one."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.data.written_names import true_name, written_name, written_text

needs_bytes = pytest.mark.skipif(os.name == "nt", reason="names of files are text on Windows")

# What collides: escapes, halves of them, bytes of UTF-8 that are cut off, controls.
PIECES = [b"%", b"%2", b"%25", b"%F6", b"%0D", b"%C3%A4", b"%20", b"\xf6", b"\xc3", b"\xa4", b"\r",
          b"\n", b"\t", b"\x1b", b"\x7f", b"\xc2\x85", b"\xe2\x80\xa8", b"a", b"F6", b"25", b" ",
          b"\\", b"5C", "ä".encode(), b".png", b"/"]  # fmt: skip
NAMES = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map(b"".join),
    st.binary(min_size=1, max_size=20).map(lambda name: name.replace(b"\0", b"x")),
)


@needs_bytes
@given(NAMES)
def test_written_names_are_text_and_come_back(raw):
    name = os.fsdecode(raw)
    written = written_name(name)
    assert true_name(written) == name
    assert written.encode().decode() == written
    assert not any(ord(c) < 32 or ord(c) in range(127, 160) for c in written)
    assert written.count("/") == name.count("/")
    assert written_name(true_name(written)) == written


@needs_bytes
@given(NAMES, NAMES)
def test_no_two_names_become_one(first, second):
    first, second = os.fsdecode(first), os.fsdecode(second)
    assert (written_name(first) == written_name(second)) == (first == second)


@given(st.text(max_size=12), st.text(max_size=12))
def test_no_two_texts_become_one(first, second):
    one, other = written_text(first), written_text(second)
    assert one.isprintable() or not any(ord(c) < 32 for c in one)
    if not any("\ud800" <= c <= "\udfff" for c in first + second):
        assert (one == other) == (first == second)


@pytest.mark.parametrize(
    "name",
    [
        "a.png",
        "Größe.png",
        "a%20b.png",
        "x%C3%A4.png",
        "100%.png",
        "50%25.png",
        "日本.png",
        "a b.png",
    ],
)
def test_names_that_can_be_written_stay(name):
    assert written_name(name) == name
    assert true_name(name) == name


@pytest.mark.parametrize("text", ["%2E%2E%2Fetc", "..%2F..", "%00", "%2e"])
def test_no_escape_leads_elsewhere(text):
    """Points and slashes are never escaped, so that none is made of what a table says."""
    assert true_name(text) == text
