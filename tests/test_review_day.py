"""A person without Python reviews a folder, a second reader settles, `fit` learns from it."""

import shutil

import pandas as pd
import pytest

from clusterkit import Run, assign, audit
from clusterkit.config import lay_over
from clusterkit.formats.reviews import read_reviews
from clusterkit.sample import make_sample
from tests.pages import data_of

DECIDED = 40


@pytest.fixture
def handed_over(run, config, tmp_path):
    """A run under work/runs, and the folder of its page alone, as it is sent to a doctor."""
    images = tmp_path / "work" / "images"
    make_sample(images, seed=5, size=48, labeled_patients=9, unlabeled_patients=9,
                labeled_per_class=1, unlabeled_per_class=2, novel_per_patient=2)  # fmt: skip
    own = shutil.copytree(run.path, tmp_path / "work" / "runs" / "one",
                          ignore=shutil.ignore_patterns("audit", "assignments*"))  # fmt: skip
    # Whatever confidence those have: none is sure enough, so that there is a day's work.
    strict = lay_over(config, {"assign": {"max_error": 0.001}})
    assign(Run.load(own), images / "unlabeled.csv", config=strict)
    audit(own, config=lay_over(config, {"audit": {"limit": 200}}))
    sent = shutil.copytree(own / "audit", tmp_path / "memory stick" / "for Dr A")
    return own, sent


def decide(tab, keys) -> int:
    """Press keys in the large view, each when the image is there; returns how many were pressed."""
    for key in keys:
        # A key decides nothing while its picture is on its way.
        tab.tab.wait_for_function("() => large.ready")
        before = tab.text("#progress")
        tab.press(key)
        tab.tab.wait_for_function("(old) => document.getElementById('progress').innerText !== old",
                                  arg=before)  # fmt: skip
    return len(keys)


def settle(tab, left: int) -> None:
    """Answer the image at hand, so that so many still differ."""
    open_ = tab.tab.locator(".card", has_text="Dr A: ")
    for _ in range(5):
        # Where a picture that came has moved the card off the screen, the first key shows it.
        tab.press("2")
        tab.tab.wait_for_timeout(300)
        if open_.count() == left:
            return
    raise AssertionError(f"{open_.count()} differ, not {left}")


def read_half(tab, name: str, keys: str) -> int:
    tab.tab.fill("#reviewer", name)
    tab.tab.locator("#reviewer").blur()
    tab.tab.click("#start")
    return decide(tab, keys)


def first_reader(tab, folder) -> pd.DataFrame:
    """Review 40 images on two days, and export them."""
    url = tab.tab.url
    presses = read_half(tab, "Dr A", "123a" * 5)
    tab.tab.close()
    tab = tab.again(url)
    assert "Welcome back: 20 done" in tab.text("#said")
    assert tab.text("#start").startswith("Continue: ")
    tab.tab.click("#start")
    presses += decide(tab, "312x" * 5)
    assert presses <= 1.1 * DECIDED
    tab.press("Escape")
    tab.tab.click("#end")
    assert "Dr A: 40" in tab.text("#finish")
    with tab.tab.expect_download() as download:
        tab.tab.click("#finish-export")
    download.value.save_as(folder / "reviews.csv")
    tab.check("file:")
    return read_reviews(folder / "reviews.csv")


@pytest.mark.slow
def test_from_a_folder_on_a_stick_to_the_next_run(handed_over, visit, command, sample, monkeypatch,
                                                  tmp_path):  # fmt: skip
    own, sent = handed_over
    refused = [c for c in data_of(sent / "index.html")["cards"]
               if c["status"] in ("review", "novel")]  # fmt: skip
    assert len(refused) > DECIDED
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    first = first_reader(visit((sent / "index.html").as_uri()), downloads)
    assert len(first) == DECIDED
    assert set(first["reviewer"]) == {"Dr A"}

    # The second reader has a copy of the folder on another machine.
    copy = shutil.copytree(sent, tmp_path / "other machine" / "page")
    tab = visit((copy / "index.html").as_uri())
    read_half(tab, "Dr B", ("123a" * 5 + "312x" * 4 + "1111"))
    tab.press("Escape")
    tab.tab.set_input_files("#file", downloads / "reviews.csv")
    tab.tab.click("#compare-settle")
    differ = tab.tab.locator(".card").count()
    assert 0 < differ <= 4
    shown = tab.tab.locator(".card").all_inner_texts()
    assert all("Dr A: " in text for text in shown)
    for left in range(differ - 1, -1, -1):
        settle(tab, left)
    tab.export(downloads / "reviews (1).csv")
    settled = read_reviews(downloads / "reviews (1).csv")
    assert len(settled) == DECIDED
    assert (settled["note"] == "settled").sum() == differ

    # From a folder that holds neither the file nor the page; both readers' files are heard.
    monkeypatch.chdir(tmp_path / "work")
    both = [downloads / "reviews.csv", downloads / "reviews (1).csv"]
    code, out, err = command("review", both[1])
    assert code == 0, err
    assert "40" in out
    config = tmp_path / "c.toml"
    config.write_text('[image]\nsize = 48\n[model]\nbackbone = "squeezenet1_1"\nweights = "none"\n'
                      '[train]\nstrategy = "head"\nsiamese_epochs = 4\nfolds = 3\n')  # fmt: skip
    code, out, err = command("fit", sample / "labels.csv", "--reviews", both[0], "--reviews",
                             both[1], "--run", "runs/two", "--config", config)  # fmt: skip
    assert code == 0, err
    assert "Dr A and Dr B" in out + err
    manifest = Run.load(tmp_path / "work" / "runs" / "two").manifest.set_index("image_id")
    labels = settled[settled["decision"].isin(["accept", "relabel"])].set_index("image_id")["label"]
    known = Run.load(own).manifest["image_id"]
    for identity, label in labels.items():
        if identity not in set(known):
            assert manifest.loc[identity, "label"] == label
    # The settled answers are those that hold.
    assert (manifest.loc[labels.index, "provenance"] == "reviewed").all()
