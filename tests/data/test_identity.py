"""Ids of images: no program reads one as a number, and those of before are still understood."""

import hashlib
import re

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clusterkit.data.identity import image_id_of, is_image_id, text_id
from clusterkit.formats.csv_text import restore_csv_text, safe_csv_text

hex_ids = st.text("0123456789abcdef", min_size=16, max_size=16)
# Random digits are hardly ever a number, so these are made as numbers are.
number_ids = st.from_regex(r"[0-9]{3,12}[de][0-9]{3,12}|[0-9]{16}|[0-9]{15}[df]", fullmatch=True)
frames = st.sampled_from(["", "#0", "#12"])


@given(st.one_of(hex_ids, number_ids.map(lambda t: t[:16].ljust(16, "7"))), frames)
@example("511302225567e181", "")
@example("0123456789012345", "#3")
@example("123456789012345f", "")
def test_no_id_reads_as_a_number(digits, frame):
    identity = text_id(digits + frame)
    assert is_image_id(identity)
    assert text_id(identity) == identity
    assert identity.endswith(digits + frame)
    for spelling in (identity, identity.replace("d", "e"), identity.rstrip("df")):
        with pytest.raises(ValueError):
            float(spelling.split("#")[0])
    assert pd.to_numeric(pd.Series([identity]), errors="coerce").isna().all()


@given(st.binary(max_size=40))
def test_an_id_is_the_beginning_of_the_checksum(data):
    digits = hashlib.sha256(data).hexdigest()[:16]
    assert image_id_of(data) in (digits, "x" + digits)
    assert (image_id_of(data) == digits) == (not re.fullmatch(r"\d+([de]\d+)?[df]?", digits))


@given(st.text("+-=@0123456789.eE|'ab", max_size=8))
@example("-1.0")
@example("-1.0|0.0|1.0")
@example("+1-1")
@example("-1|=2")
def test_numbers_are_written_as_they_are_and_formulas_are_not(text):
    written = safe_csv_text(text)
    assert restore_csv_text(written) == text
    if written[:1] in ("=", "+", "-", "@"):
        for part in written.split("|"):
            float(part)
