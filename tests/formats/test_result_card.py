"""What a notebook shows of a result."""

from dataclasses import replace

import pandas as pd

from clusterkit import Run, assign, inspect
from clusterkit.formats.certificate_record import CertificateRecord
from clusterkit.formats.result_card import ResultCard
from clusterkit.progress import silent


def test_text_in_a_card_is_text():
    table = pd.DataFrame({"label": ["<img src=x onerror=alert(1)>"]})
    html = ResultCard("a & b", {"promise": "p < 5%"}, table).to_html()
    assert "<img" not in html
    assert "a &amp; b" in html
    assert "p &lt; 5%" in html


def test_a_card_is_short_however_long_its_table():
    long = ResultCard("t", {}, pd.DataFrame({"image": [f"{i:05}.png" for i in range(10_000)]}))
    assert len(long.to_html()) < 2000
    assert "9,995 rows more" in long.to_html()


def test_results_show_what_they_are(run, assignment, sample):
    loaded = Run.load(run.path)
    assert len(repr(loaded)) < 1000
    assert all(label in loaded._repr_html_() for label in loaded.classes)
    shown = assignment._repr_html_()
    assert assignment.record.promise_text.split(":")[0] in shown
    assert assignment.table["image"].iloc[0] in shown
    assert len(repr(assignment)) < 2000
    inspection = inspect(sample / "labels.csv")
    assert f"{inspection.problems} problems" in inspection._repr_html_()


def test_a_certificate_stands_before_the_promise(assignment):
    for certified, said in ((True, "At most 5"), (False, "Not certified. At most 5")):
        found = CertificateRecord(certified, "At most 5 of 100 are wrong.")
        checked = replace(assignment, record=replace(assignment.record, certificate=found))
        lines = repr(checked).splitlines()
        (at,) = (i for i, line in enumerate(lines) if line.startswith("  certificate"))
        assert said in lines[at]
        assert lines[at + 1].startswith("  promise")
    assert "certificate" not in repr(assignment)


def test_settings_can_be_given_to_a_function_by_name(run, sample, tmp_path):
    out = tmp_path / "a.csv"
    result = assign(run, sample / "unlabeled", out=out, max_error="none", progress=silent)
    assert result.record.status["review"] == 0
    assert result.record.status["assigned"] > 0
