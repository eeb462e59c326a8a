"""`--log-json`: one event a line, whatever becomes of the command."""

import errno
import json
import logging
from pathlib import Path

import pytest

from clusterkit.commands import event_log
from clusterkit.commands.event_log import EventLog


def events(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_an_assign_says_what_happened(command, run, sample, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "empty.png").write_bytes(b"")
    (tmp_path / "in" / "text.png").write_text("no image")
    (tmp_path / "in" / "other.png").write_text("no image either")
    log, out = tmp_path / "log.jsonl", tmp_path / "o.csv"
    code, printed, _ = command("assign", tmp_path / "in", "--run", run.path, "--out", out,
                               "--json", "--log-json", log)  # fmt: skip
    assert code == 0
    first, *middle, last = events(log)
    assert first["event"] == "start"
    assert first["arguments"][:2] == ["assign", str(tmp_path / "in")]
    assert (last["event"], last["exit_code"]) == ("end", 0)
    assert {line["command"] for line in events(log)} == {"assign"}
    stages = {line["stage"]: line for line in middle if line["event"] == "stage"}
    assert (stages["assign"]["done"], stages["assign"]["total"]) == (3, 3)
    (summary,) = (line["summary"] for line in middle if line["event"] == "summary")
    assert summary == json.loads(printed)
    assert list(summary["failures"].values()) == [2, 1]
    assert sum(summary["failures"].values()) == summary["status"]["failed"]


def test_errors_and_wrong_usage_are_the_last_event(command, tmp_path):
    log = tmp_path / "log.jsonl"
    assert command("assign", tmp_path / "nothing", "--run", tmp_path, "--log-json", log)[0] == 1
    assert (
        command("assign", ".", "--max-error", "much", "--run", tmp_path, "--log-json", log)[0] != 0
    )
    ends = [line for line in events(log) if line["event"] == "end"]
    assert [end["exit_code"] > 0 for end in ends] == [True, True]
    assert "no run.json in it" in ends[0]["error"]


def test_an_interrupt_is_logged(command, monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("clusterkit.formats.run.Run.load", interrupted)
    log = tmp_path / "log.jsonl"
    assert command("assign", ".", "--run", tmp_path, "--log-json", log)[0] == 130
    assert events(log)[-1]["exit_code"] == 130


@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_warnings_are_logged_even_where_the_terminal_is_quiet(
    command, run, monkeypatch, tmp_path, quiet
):
    def load(*_):
        logging.getLogger("clusterkit").warning("something\nodd")
        logging.getLogger("clusterkit").info("for whoever wants to know")
        return run

    monkeypatch.setattr("clusterkit.formats.run.Run.load", load)
    log = tmp_path / "log.jsonl"
    _, _, err = command("assign", tmp_path / "no", "--run", tmp_path, "--log-json", log, *quiet)
    said = [(line["level"], line["text"]) for line in events(log) if line["event"] == "message"]
    assert said == [("warning", "something\nodd"), ("info", "for whoever wants to know")]
    assert ("odd" in err) == (not quiet)
    assert "for whoever" not in err


@pytest.mark.parametrize("text", ["image,label\n", "{}\n", "[1]\n", '"event"\n', "[" * 100_000])
def test_a_file_of_somebody_is_not_added_to(command, tmp_path, text):
    mine = tmp_path / "mine.csv"
    mine.write_text(text)
    code, _, err = command("assign", ".", "--run", tmp_path, "--log-json", mine)
    assert code == 1
    assert "no log of clusterkit" in err
    assert mine.read_text() == text
    code, _, err = command("assign", ".", "--run", tmp_path, "--log-json", tmp_path)
    assert code == 1
    assert err.count("\n") == 1


def test_a_full_disk_ends_the_log_and_not_the_command(tmp_path, caplog, monkeypatch):
    class Full:
        closed, name = False, "log.jsonl"

        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            if not self.closed:
                self.closed = True
                raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(event_log, "open", lambda *_, **__: Full(), raising=False)
    with caplog.at_level(logging.WARNING, logger="clusterkit"):
        log = EventLog(tmp_path / "log.jsonl", "assign", [])
        log.progress("assign", 1, 2)
        log.end(0)
    assert [record.getMessage() for record in caplog.records] == [
        "log.jsonl is not written any more: the disk is full"
    ]


def test_stages_are_said_at_most_every_ten_seconds_and_at_their_end(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("clusterkit.commands.event_log.time.monotonic", lambda: now[0])
    log = EventLog(tmp_path / "log.jsonl", "fit", [])
    for done in range(1, 41):
        now[0] += 1
        log.progress("embed", done, 50)
    log.progress("fit", 0, 3)
    log.end(0)
    said = [
        (e["stage"], e["done"]) for e in events(tmp_path / "log.jsonl") if e["event"] == "stage"
    ]
    assert said == [("embed", 1), ("embed", 12), ("embed", 23), ("embed", 34), ("embed", 40),
                    ("fit", 0)]  # fmt: skip
