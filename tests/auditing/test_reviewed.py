"""Labels that a person gave in a check, and their certificate, on the page and on the sheet."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from clusterkit import audit, read_manifest
from clusterkit.auditing.batch import choose_rows, clusters_of, read_batch, typical_rows
from clusterkit.auditing.card_words import ShownRecord, card_words
from clusterkit.auditing.page import Cluster
from clusterkit.auditing.paper import Paper
from clusterkit.auditing.sheet import draw_sheet
from clusterkit.auditing.sheet_contents import gather
from clusterkit.config import override
from clusterkit.formats.known_images import OPEN, clusters_fingerprint
from clusterkit.formats.reviews import read_reviews
from clusterkit.inference.predictor import Predictor
from clusterkit.reviewing import apply_reviews
from tests.certified import STATEMENT, certified_run
from tests.pages import card, data_of, write_page

ANSWERED = {"status": "reviewed", "confidence": 1.0, "order": None}


@pytest.fixture(scope="module")
def checked(run, assignment, sample, tmp_path_factory):
    """A certified copy of the run, and its page."""
    copy, table = certified_run(run.path, sample, tmp_path_factory.mktemp("checked"))
    page = audit(copy, config=override(run.config, audit__limit=8))
    return copy, table, page


def test_a_card_says_who_said_so_and_no_percentage():
    one = card(0, **ANSWERED, reason="The model said ring.", matches=[])
    words = card_words(one, ShownRecord(40))
    assert (words.status, words.title) == ("Labelled by a person", "dots")
    assert (words.sure, words.why) == ("A person answered: dots.", "The model said ring.")
    assert words.candidates == ["dots"]
    # What was measured for the model's label is not about this one.
    assert not {"similarity to the label", "to look at"} & {name for name, _ in words.evidence}
    numbers = replace(one, reason="Confidence 0.54 is below 0.93.")
    assert "%" not in " ".join([card_words(numbers, ShownRecord(40)).sure, words.why])
    assert card_words(numbers, ShownRecord(40)).why == ""
    back = card(0, reason="not certified: less sure than 61.0%", cluster=None)
    words = card_words(back, ShownRecord(40))
    assert words.sure == "Not among the certified labels (50%): dots?"
    assert words.why == ""


def test_the_finding_stands_first_and_leads_to_the_certificate(checked):
    copy, table, page = checked
    text = page.read_text()
    promise = re.search(r'<p class="promise">(.*?)</p>', text, re.DOTALL)[1]
    assert promise.startswith(STATEMENT)
    assert re.findall(r'href="(.*?)"', promise) == ["../certify/certificate.html"]
    before = json.loads((copy / "assignments.json").read_text())["promise_text"]
    assert f"What was said before this check: {before}" in text
    data = data_of(page)
    assert data["counts"] == {s: int((table["status"] == s).sum()) for s in data["counts"]}
    assert data["counts"]["reviewed"] > 3
    # A label that only a person gave is offered as the others are, and is no mistake of a hand.
    assert data["classes"][-1] == "rosette"
    assert "has not learned" not in text
    counted = re.search(r"labelled now: .*?</figcaption>", text)[0]
    given = table["status"].isin(["assigned", "reviewed", "duplicate"])
    for name in data["classes"][:-1]:
        assert f" and {int((given & (table['predicted_label'] == name)).sum())}" in counted


def test_what_was_not_certified_says_so_and_no_other_place_is_led_to(run, checked, tmp_path):
    copy, _, _ = checked
    batch = read_batch(run, copy / "assignments.csv")
    found = replace(batch.certificate, certified=False)
    assert found.words == f"Not certified. {STATEMENT}"
    assert replace(found, statement=found.words).words == found.words
    assert batch.certificate_page == copy / "certify" / "certificate.html"
    (tmp_path / "certificate.html").touch()
    for folder in ("", "nowhere", str(tmp_path), "certify\x00", "certify\n"):
        other = replace(batch.record, certificate=replace(found, folder=folder))
        assert replace(batch, record=other).certificate_page is None


def test_a_new_version_of_the_certificate_is_shown(run, checked):
    copy, _, page = checked
    path, how = copy / "assignments.json", override(run.config, audit__limit=8)
    old_page, old = page.read_bytes(), path.read_bytes()
    audit(copy, config=how, keep=True)
    assert page.read_bytes() == old_page
    record = json.loads(old)
    record["certificate"] |= {"certified": False, "version": 2, "folder": "nowhere"}
    path.write_text(json.dumps(record))
    try:
        text = audit(copy, config=how, keep=True).read_text()
    finally:
        path.write_bytes(old)
        page.write_bytes(old_page)
    assert f'<p class="promise">Not certified. {STATEMENT}</p>' in text


def test_clusters_are_what_still_needs_a_person(run, checked):
    copy, table, page = checked
    batch = read_batch(run, copy / "assignments.csv")
    data = data_of(page)
    open_ = table[table["status"].isin(["review", "novel"])]
    found = clusters_of(batch, np.arange(len(table)))
    assert {c.cluster: c.size for c in found} == open_["cluster"].value_counts().to_dict()
    for one in found:
        members = table[table["cluster"] == one.cluster]
        assert one.size + one.labelled == len(members)
        assert one.shown == one.size
        assert one.medoid_id in set(open_["image_id"])
    assert sum(one.labelled for one in found) > 0
    assert set(typical_rows(batch)) <= set(open_.index)
    assert data["fingerprint_before"] == clusters_fingerprint(table)
    assert data["fingerprint"] == clusters_fingerprint(table) + OPEN
    # None has a tile either.
    tiles = [tile for cluster in data["clusters"] for tile in cluster["tiles"]]
    assert {tile["status"] for tile in tiles} <= {"review", "novel"}
    assert len(tiles) > 0
    assert "reviewed" in set(table["status"].iloc[choose_rows(table, len(table) // 2, 0)])


def test_the_answers_are_labels_of_the_next_fit_each_once(checked, sample, config):
    copy, table, _ = checked
    path = copy / "reviews.csv"
    own = pd.read_csv(path, dtype=str)
    # Answers may be written without their label: the table has it.
    own["label"] = own["label"].where(own["decision"] == "relabel")
    cluster = table["cluster"].dropna().iloc[0]
    named = pd.DataFrame([[f"cluster:{cluster}", "odd", "relabel", clusters_fingerprint(table)]],
                         columns=[*own.columns[:3], "assignments"])  # fmt: skip
    pd.concat([own, own[:2], named]).to_csv(copy / "more.csv", index=False)
    manifest = read_manifest(sample / "labels.csv", config)
    for file, others in ((path, set()), (copy / "more.csv", {f"cluster:{cluster}"})):
        after = apply_reviews(manifest, [file], sample).manifest
        assert not after["image_id"].duplicated().any()
        added = after[after["provenance"] == "reviewed"].set_index("image_id")
        answered = table[table["status"] == "reviewed"].set_index("image_id")
        assert added["label"].to_dict() == answered["predicted_label"].to_dict()
        assert len(added) == len(own)
        assert set(after["provenance"]) - {"given", "reviewed"} == others


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A page of a cluster of which one image was answered and one labelled by the certificate."""
    cards = [card(n, cluster=4) for n in range(4)]
    cards += [card(4, cluster=4, **ANSWERED, reason="The model said ring."),
              card(5, cluster=4, status="assigned", order=None), card(6, cluster=None)]  # fmt: skip
    cluster = Cluster(4, 4, 4, 0, cards[0].image, cards[0].image_id, {"dots": 4}, labelled=2)
    return write_page(
        tmp_path_factory.mktemp("made"), cards, clusters=[cluster], certificate=STATEMENT,
        certificate_page="../certify/certificate.html", fingerprint="xnow",
        fingerprint_before="xbefore", counts={"assigned": 1, "reviewed": 1, "review": 5},
    )  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_counts_filters_and_shows_it(visit, made, scheme):
    tab = visit(made.as_uri(), color_scheme=scheme)
    assert tab.text(".promise") == f"{STATEMENT} Certificate"
    assert "1 Labelled by a person" in tab.text(".counts")
    assert tab.text("#start") == "Start: 5 images to decide"
    tab.tab.click("#filters summary")
    tab.tab.click("[data-tab=reviewed]")
    tab.press("Escape")
    assert tab.text("#count") == "1 image"
    shown = tab.text("#cards .card")
    assert "A person answered: dots." in shown
    assert "answered in the check" in shown
    assert "%" not in tab.text(".sure")
    assert tab.tab.locator(".card .meter").count() == 0
    tab.check_access()
    tab.tab.click("#filters summary")
    tab.tab.select_option("#done", "open")
    assert tab.text("#count") == "No image matches these filters."


def test_a_name_is_for_what_still_needs_one(visit, made, tmp_path):
    tab = visit(made.as_uri())
    tab.tab.click("[data-tab=clusters]")
    assert "2 more images of it have labels since the check" in tab.text(".cluster")
    assert tab.tab.locator(".members .tile").count() == 4
    tab.tab.fill(".naming input", "rosette")
    tab.press("Enter")
    assert tab.text("#check-name") == "Name 4 images “rosette”"
    tab.press("Enter")
    tab.tab.click("[data-tab=all]")
    for number, said in (
        (0, "labelled: rosette"),
        (4, "answered in the check"),
        (5, "not decided"),
    ):
        own = tab.tab.locator(".card", has_text=f"{number:04d}.png")
        assert own.locator(".decided").inner_text().startswith(said)
    tab.export(tmp_path / "out.csv")
    rows = read_reviews(tmp_path / "out.csv").set_index("image_id")
    assert rows["assignments"]["cluster:4"] == "xnow"
    assert {card(4).image_id, card(5).image_id}.isdisjoint(rows.index)


def test_what_was_said_of_the_whole_cluster_stays_so(visit, made, tmp_path):
    lines = ["image_id,image,label,decision,assignments",
             # Its most typical image was answered since.
             f"cluster:4,{card(4).image},rosette,relabel,xbefore"]  # fmt: skip
    (tmp_path / "in.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "foreign.csv").write_text("\n".join(lines).replace("xbefore", "xother") + "\n")
    tab = visit(made.as_uri())
    tab.tab.set_input_files("#file", tmp_path / "foreign.csv")
    tab.wait("#said", "is of the assignments xother")
    tab.tab.set_input_files("#file", tmp_path / "in.csv")
    tab.wait("#said", "1 decision read")
    assert tab.text("#progress") == "4 of 5 decided"
    tab.export(tmp_path / "out.csv")
    (row,) = read_reviews(tmp_path / "out.csv").itertuples()
    assert (row.image_id, row.label, row.assignments) == ("cluster:4", "rosette", "xbefore")


def test_where_all_was_answered_nothing_is_asked(visit, tmp_path):
    cards = [card(n, cluster=None, **ANSWERED) for n in range(3)]
    tab = visit(write_page(tmp_path, cards, counts={"reviewed": 3}).as_uri())
    assert tab.text("#start") == "Look at the images"
    assert tab.text("#count") == "3 images"
    tab.tab.click("#end")
    assert tab.text("#finish-title") == "Nothing on this page needs an answer"


def test_the_sheet_says_who_said_so(run, checked, monkeypatch):
    copy, table, _ = checked
    batch = read_batch(run, copy / "assignments.csv")
    said, write = [], Paper.text

    def listen(paper, place, text, *rest, **style):
        said.append(text)
        return write(paper, place, text, *rest, **style)

    monkeypatch.setattr(Paper, "text", listen)
    predictor = Predictor(run, run.config)
    for status in ("reviewed", "assigned"):
        row = table[(table["status"] == status) & table["cluster"].notna()].iloc[[0]]
        draw_sheet(gather(predictor, batch, row))
    text = "\n".join(said)
    assert "A person answered: rosette. The model said" in text
    assert "Who says so" in text
    assert text.count("labels are set from the mark on") == 1
    assert "nothing was promised" not in text
    assert text.count(STATEMENT) == 2
