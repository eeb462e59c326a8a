"""What a card says: plain words, whole percents, and nothing that contradicts anything else."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from clusterkit.auditing.card_words import (
    STATUS_WORDS,
    CardWords,
    ShownRecord,
    card_words,
)
from clusterkit.auditing.page import Match
from clusterkit.formats.assignments import STATUSES
from tests.pages import card, data_of, write_page

KINDS = ["dots", "ring", "rod", "rosette"]
PARTS = st.floats(0, 1)
CARDS = st.builds(
    card,
    st.integers(0, 3),
    status=st.sampled_from(STATUSES),
    predicted_label=st.sampled_from(KINDS),
    confidence=st.none() | PARTS,
    label_set=st.lists(st.sampled_from(KINDS), unique=True),
    classifier_label=st.sampled_from([*KINDS, ""]),
    classifier_probability=st.none() | PARTS,
    similarity=st.none() | PARTS,
    nearest_label=st.sampled_from([*KINDS, ""]),
    novelty_p=st.none() | PARTS,
    duplicate_of=st.sampled_from(["", "l0.png"]),
    reason=st.sampled_from(["Confidence 0.9931 is below the threshold 0.9999; classifier and "
                            "nearest labelled image agree.",
                            "Near duplicate (0.93) of l0.png, labelled dots, which differs. "
                            "Confidence 0.9931 for ring: one of the two is wrong.",
                            "Unlike every labelled image (p = 0.010)."]),
    matches=st.lists(st.builds(Match, st.just("l0.png"), st.sampled_from(KINDS), PARTS),
                     max_size=3),
)  # fmt: skip
RECORDS = st.builds(ShownRecord, st.none() | st.integers(0, 10_000), st.floats(0.8, 0.99))


def texts(words: CardWords) -> list[str]:
    return [words.status, words.title, words.sure, words.why, *words.captions,
            *(value for name, value in words.evidence if name != "image id")]  # fmt: skip


def contradictions(one, words: CardWords, record: ShownRecord) -> list[str]:
    """Everything on a card that another part of it denies."""
    found = []
    question = words.title.endswith("?")
    if question != (one.status == "review"):
        found.append("a question where a label is set, or none where a person is asked")
    both = {one.classifier_label, one.nearest_label} - {""}
    if one.status == "review" and not both <= set(words.candidates):
        found.append("a winner where classifier and nearest image disagree")
    if one.predicted_label and words.candidates and words.candidates[0] != one.predicted_label:
        found.append("the label that is accepted is not the first that is named")
    sure = [int(p) for p in re.findall(r"(\d+)%", words.sure)]
    from_set = set(words.candidates) - {one.predicted_label, one.classifier_label,
                                        one.nearest_label}  # fmt: skip
    if from_set and sure and sure[0] >= 100 * record.level:
        found.append("a set of several labels beside a confidence above the set's level")
    if re.search(r"label set", " ".join(texts(words))):
        found.append("a label set by itself")
    if one.status in ("novel", "duplicate") and "%" in " ".join([*words.captions, words.sure]):
        found.append("a likeness where there is none, or where it means nothing")
    return found


@given(CARDS, RECORDS)
def test_no_card_contradicts_itself(one, record):
    words = card_words(one, record)
    assert contradictions(one, words, record) == []
    assert len(words.captions) == len(one.matches)


@given(CARDS, st.integers(0, 10_000))
def test_no_percentage_is_finer_than_the_record(one, held_out):
    words = card_words(one, ShownRecord(held_out))
    best = math.floor(100 * 0.05 ** (1 / held_out)) if held_out else 0
    said = " ".join(texts(words))
    if one.status != "failed":  # Its reason is the reader's error.
        assert "threshold" not in said
        assert not re.search(r"\d\.\d+", said), said
    for value in re.findall(r"(\d+)%", said):
        assert 100 - best <= int(value) <= best


@pytest.mark.parametrize("held_out", [5, 20, 38, 190, 1000])
def test_the_finest_percentage_is_the_exact_bound_of_all_right(held_out):
    exact = binomtest(held_out, held_out).proportion_ci(0.9, "exact").low
    assert ShownRecord(held_out).finest == math.floor(100 * exact)


@pytest.mark.parametrize(
    ("values", "title", "sure"),
    [
        ({}, "dots?", "Not sure enough (54%): dots?"),
        ({"nearest_label": "ring"}, "dots or ring?", "Not sure enough (54%): dots or ring?"),
        ({"label_set": ["ring", "dots", "rod"]}, "dots, ring or rod?",
         "Not sure enough (54%): dots, ring or rod?"),
        ({"confidence": 0.9999, "label_set": ["ring", "dots"]}, "dots?",
         "Not sure enough (at least 92%): dots?"),
        ({"reason": "Confidence 0.54, but nothing can be promised for dots yet; classifier and "
                    "nearest labelled image agree."}, "dots?",
         "Nothing can be promised yet (54%): dots?"),
        ({"status": "assigned", "confidence": 0.9999}, "dots", "At least 92% sure"),
        ({"status": "novel"}, "Unlike everything labelled", ""),
        ({"status": "duplicate", "confidence": 1.0}, "dots",
         "The same file as a labelled image: it has the label that a person gave."),
        ({"status": "failed", "predicted_label": "", "confidence": None}, "No picture", ""),
    ],
)  # fmt: skip
def test_words_of_each_case(values, title, sure):
    words = card_words(card(0, **{"confidence": 0.537, "reason": "Confidence 0.5370."} | values),
                       ShownRecord(40))  # fmt: skip
    assert (words.title, words.sure) == (title, sure)


def test_captions_of_what_is_beside_it():
    beside = [Match("l0.png", "dots", 0.94), Match("l1.png", "ring", 0.2)]
    record = ShownRecord(40)
    assert card_words(card(0, matches=beside), record).captions == [
        "labelled dots, at least 92% similar", "labelled ring, 20% similar"
    ]  # fmt: skip
    assert card_words(card(0, matches=beside, status="novel"), record).captions == [
        "the nearest labelled image, unlike it (dots)", "another labelled image, unlike it (ring)"
    ]  # fmt: skip
    copy = card(0, status="duplicate", duplicate_of="l0.png", matches=beside[:1])
    assert card_words(copy, record).captions == ["the labelled image that it is a copy of: dots"]


def test_why_keeps_what_is_no_number():
    near = card(0, reason="Near duplicate (0.93) of l0.png, labelled ring, which differs. "
                          "Confidence 0.9912 for dots: one of the two is wrong.")  # fmt: skip
    assert card_words(near, ShownRecord(40)).why == (
        "Almost the same picture as l0.png, labelled ring, which differs."
    )
    failed = card(0, status="failed", reason="damaged or truncated image")
    assert card_words(failed, ShownRecord(40)).why == "damaged or truncated image"
    differs = card(0, status="assigned", nearest_label="ring", reason="Confidence 0.99 reaches …")
    assert "nearest labelled image is labelled ring" in card_words(differs, ShownRecord(40)).why


def test_the_page_shows_the_words_and_keeps_the_statuses(visit, tmp_path):
    cards = [card(n, status=status, nearest_label="ring") for n, status in enumerate(STATUSES)]
    page = write_page(tmp_path / "audit", cards, record=ShownRecord(40),
                      counts=dict.fromkeys(STATUSES, 1))  # fmt: skip
    assert [row["status"] for row in data_of(page)["cards"]] == list(STATUSES)
    tab = visit(page.as_uri())
    tab.tab.click("#filters > summary")
    for status in STATUSES:
        assert STATUS_WORDS[status] in tab.text("header .counts")
        tab.tab.click(f"[data-tab={status}]")
        assert tab.tab.locator(".card").count() == 1
        assert tab.text(".card .tag") == STATUS_WORDS[status]
        shown = tab.text(".card")
        assert "label set" not in shown
        assert "0.9" not in shown
    tab.tab.click("[data-tab=review]")
    assert tab.text(".card h3").startswith("dots or ring?")
    assert tab.text(".card .sure").startswith("Not sure enough (52%): dots or ring?")
    tab.tab.click("[data-tab=novel]")
    assert "similar" not in tab.text(".card")
