"""Labels that a spreadsheet may have changed are told, and others are not."""

import pytest

from clusterkit.data.changed_labels import is_same_cell
from clusterkit.data.labels import near_hint, nearest_label

SAME = [
    ("02. Jan", "1/2"), ("2-Jan", "1/2"), ("2-Jan", "2/1"), ("12-Oct", "10-12"),
    ("10. Dez", "10-12"), ("01. Mai", "1-5"), ("01. Mai", "1.5"), ("1-Mar", "MARCH1"),
    ("01. Mrz", "March 1"), ("1-Mar", "MAR1"), ("2026-03-01 00:00:00", "March 1"),
    ("46082", "3/1"), ("46082", "March 1"), ("01.03.2026", "1/3"), ("Jan 26", "1/26"),
    ("26-Jan", "1/26"), ("1. Mär", "1-3"), ("2026-03-01T00:00:00", "Mar 1"), ("déc-12", "DEC12"),
    ("1/2/2026", "1/2"), ("WAHR", "TRUE"), ("VRAI", "true"), ("FALSCH", "False"),
    ("1.23457E+19", "12345678901234567890"), ("1,23457E+19", "12345678901234567890"),
    ("1119271000168100", "1119271000168105"), ("0.123456789", "0.123456789012"),
]  # fmt: skip
OTHERS = [
    ("1-2", "2-1"), ("1/2", "1.2"), ("marker 1", "1-Mar"), ("2026-03-01", "2025-03-01"),
    ("grade 1", "1"), ("46082", "46083"), ("TRUE", "FALSE"), ("12", "1/2"), ("mar", "march"),
    ("a 1 b", "1-2"), ("HER2", "2-Mar"), ("1234567", "123456"), ("1E+15", "1119271000168105"),
    ("399068003", "399068004"), ("32-Jan", "1/32"), ("13/14", "14/13"), ("", "1/2"), ("0", "0/0"),
    ("9" * 200, "9" * 199),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_one_cell_before_and_after(one, other):
    assert is_same_cell(one, other)
    assert is_same_cell(other, one)
    assert nearest_label(one, ["something else", other]) == other
    assert "spreadsheet" in near_hint(one, other)


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_two_labels_stay_two(one, other):
    assert not is_same_cell(one, other)
    assert not is_same_cell(other, one)


@pytest.mark.parametrize(
    ("label", "near", "blamed"),
    [("1", "01", True), ("100000", "1E5", True), ("GrÃ¶ÃŸe", "Größe", True),
     ("Größe", "GrÃ¶ÃŸe", True), ("rnig", "ring", False), ("wbc", "WBC", False)],
)  # fmt: skip
def test_a_spreadsheet_is_named_where_it_may_have_been_one(label, near, blamed):
    assert nearest_label(label, ["other", near]) == near
    assert near_hint(label, near).startswith(f" (did you mean '{near}'?)")
    assert ("spreadsheet" in near_hint(label, near)) == blamed
