"""Damaged files of every kind are a value, a failed row or one line; see benchmarks/fuzz.py."""

import pytest

from benchmarks.fuzz import KINDS, Bench, run_trials, summarise


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("fuzz"))


def escapes(bench, numbers):
    """Try each kind; returns what escaped, with the kind and number that repeat it."""
    trials = list(run_trials(bench, [(kind, n) for kind in KINDS for n in numbers]))
    table = summarise(trials).set_index("kind")
    assert table.loc["all", "trials"] == len(KINDS) * len(numbers)
    # Neither are all files refused for the same reason, nor does damage go unnoticed.
    assert table.loc["all", "refused"] > 0.3 * len(trials)
    assert table.loc["all", "read"] > 0.1 * len(trials)
    return [(trial.kind, trial.number, trial.escape) for trial in trials if trial.escape]


def test_what_is_not_damaged_is_read(bench):
    for kind in KINDS:
        trial = bench.try_one(kind, -1)
        assert not trial.refused, kind
        assert not trial.escape, kind


def test_damaged_files_do_not_escape(bench):
    assert escapes(bench, range(8)) == []


@pytest.mark.long
def test_many_damaged_files_do_not_escape(bench):
    assert escapes(bench, range(1_000_000, 1_000_050)) == []


def test_a_trial_is_repeated_by_its_number(bench, tmp_path):
    again = Bench(tmp_path, ("tiff", "csv"))
    for kind in ("tiff", "csv"):
        assert again.damaged(kind, 5) == bench.damaged(kind, 5)
        assert again.damaged(kind, 5) != bench.damaged(kind, 6)


def test_what_ends_the_process_or_raises_is_an_escape(bench, monkeypatch):
    def read(kind, path):
        if kind == "csv":
            raise SystemExit(3)
        raise LookupError("a\nb")

    monkeypatch.setattr(bench, "read", read)
    trials = list(run_trials(bench, [("csv", 0), ("toml", 0)]))
    assert [trial.escape.split(" (")[0] for trial in trials] == [
        "ends the process", "LookupError: a\nb"]  # fmt: skip
    assert summarise(trials)["escapes"].tolist() == [1, 1, 2]
