"""What cron, Slurm, Airflow and Kubernetes rely on: SIGTERM, exit codes, and JSON alone."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import click
import pandas as pd
import pytest

from clusterkit.commands.exit_codes import exit_code_of, line_of
from clusterkit.commands.options import print_summary
from clusterkit.config import override
from clusterkit.errors import OutputError, Terminated
from clusterkit.models.networks import choose_device

# The command line, in which each image takes a while to read.
SLOWLY = """
import sys, time
from clusterkit.data import loading
from clusterkit.__main__ import main
read = loading.read_identified
def slowly(*named):
    time.sleep(0.1)
    return read(*named)
loading.read_identified = slowly
main()
"""


def started(run, sample, out):
    config = out.parent / "c.toml"
    config.write_text("[assign]\nbatch_size = 4\nworkers = 2\nmax_error = 0.4\n")
    command = [sys.executable, "-c", SLOWLY, "assign", str(sample / "unlabeled"), "--run",
               str(run.path), "--out", str(out), "--config", str(config), "--json"]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            start_new_session=True)  # fmt: skip


def members(group: int) -> list[int]:
    """Processes of a group that are alive."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(of_group) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
@pytest.mark.parametrize("end", [pytest.param(os.kill, marks=pytest.mark.long),
                                 pytest.param(os.killpg, marks=pytest.mark.slow)])  # fmt: skip
def test_sigterm_ends_assign_as_ctrl_c_does(run, sample, config, tmp_path, end):
    """Kubernetes tells the process alone, Airflow and Slurm its children too."""
    out = tmp_path / "a.csv"
    process = started(run, sample, out)
    done, limit = out.with_name("a.csv.journal") / "batches", time.monotonic() + 60
    while not (done.exists() and done.stat().st_size) and time.monotonic() < limit:
        time.sleep(0.02)
    assert len(members(process.pid)) == 3
    end(process.pid, signal.SIGTERM)
    printed, said = process.communicate(timeout=30)
    assert process.returncode == 143
    assert printed == ""
    assert said.split("\n") == [
        "", "terminated; give the same command again, and assign goes on from what it had done", ""
    ]  # fmt: skip
    limit = time.monotonic() + 5
    while members(process.pid) and time.monotonic() < limit:
        time.sleep(0.02)
    assert members(process.pid) == []
    assert not out.exists()
    # Nobody holds the journal, and what was done is kept.
    from clusterkit import assign

    again = override(config, assign__batch_size=4)
    result = assign(run, sample / "unlabeled", config=again, out=out)
    assert result.record.resumed_batches >= 1


def test_exit_codes_of_what_is_stopped():
    caught = click.exceptions.Abort()
    caught.__cause__ = Terminated()
    for error in (Terminated(), caught):
        assert (exit_code_of(error), line_of(error)) == (143, "terminated")
    for error in (KeyboardInterrupt(), click.exceptions.Abort()):
        assert (exit_code_of(error), line_of(error)) == (130, "interrupted")


def test_the_log_says_what_ended_it(command, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise Terminated

    monkeypatch.setattr("clusterkit.formats.run.Run.load", stop)
    log = tmp_path / "log.jsonl"
    code, out, err = command("assign", ".", "--run", tmp_path, "--json", "--log-json", log)
    assert (code, out) == (143, "")
    assert err.strip().startswith("terminated; give the same command again")
    last = json.loads(log.read_text().splitlines()[-1])
    assert (last["exit_code"], last["error"]) == (143, "terminated")


@pytest.fixture(scope="module")
def commands(run, assignment, sample, tmp_path_factory):
    """Arguments of each command that ends by itself."""
    out, image = tmp_path_factory.mktemp("out"), next((sample / "unlabeled").iterdir())
    reviews = out / "reviews.csv"
    row = assignment.table.iloc[0]
    said = {"image_id": row["image_id"], "image": row["image"], "label": "", "decision": "skip"}
    pd.DataFrame([said]).to_csv(reviews, index=False)
    of_run = ("--run", run.path)
    own = ("--size", 48, "--backbone", "squeezenet1_1", "--weights", "none")
    return {
        "fit": (sample / "labels.csv", *own, "--run", out / "run", "--config", out / "fit.toml"),
        "assign": (sample / "unlabeled.csv", *of_run, "--out", out / "a.csv", "--ask", 3),
        "audit": (*of_run, "--out", out / "audit", "--limit", 2),
        "certify": (*of_run, "--out", out / "certify", "--max-error", 0.2),
        "similar": (image, *of_run),
        "inspect": (sample / "labels.csv", "--out", out / "inspect", "--size", 48),
        "export": (*of_run, "--to", "folders", "--out", out / "export"),
        "embed": (sample / "unlabeled", *own, "--out", out / "f.npz"),
        "review": (reviews, *of_run),
    }, out


def refuse(name):
    raise AssertionError(f"{name} is not JSON")


@pytest.mark.slow
def test_json_is_one_object_and_nothing_else(commands, command, monkeypatch):
    """Also where a network prints while it is loaded, as those of the hub do."""
    arguments, out = commands
    (out / "fit.toml").write_text('[train]\nstrategy = "head"\nsiamese_epochs = 1\nfolds = 3\n')

    def loud(name):
        sys.stdout.write("using a layer as it is\n")
        return choose_device(name)

    for module in ("training.fit", "inference.embed", "inference.engines"):
        monkeypatch.setattr(f"clusterkit.{module}.choose_device", loud)
    for name, given in arguments.items():
        code, printed, said = command(name, *given, "--json")
        assert code == 0, (name, said)
        assert printed.endswith("}\n"), name
        assert printed.count("\n") == 1, name
        assert isinstance(json.loads(printed, parse_constant=refuse), dict), name
        assert "Traceback" not in said, name


def test_json_of_an_error_is_nothing(command, tmp_path):
    for arguments in (
        ("assign", ".", "--run", tmp_path),
        ("fit", tmp_path / "no"),
        ("fit", "--no"),
    ):
        code, printed, said = command(*arguments, "--json")
        assert code in (1, 2)
        assert printed == ""
        assert said


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_json_is_whole_in_every_encoding(encoding, tmp_path, monkeypatch):
    summary = {"image": "gru\N{LATIN SMALL LETTER SHARP S}\N{GRINNING FACE}", "share": math.nan,
               "of": [math.inf, 0.5, (1, -math.inf)]}  # fmt: skip
    with open(tmp_path / "out", "w", encoding=encoding, errors="backslashreplace") as out:
        monkeypatch.setattr(sys, "stdout", out)
        print_summary(summary, True, [])
    found = json.loads((tmp_path / "out").read_text(encoding=encoding), parse_constant=refuse)
    assert found == {"image": summary["image"], "share": None, "of": [None, 0.5, [1, None]]}


@pytest.mark.parametrize("closed", [1, 2])
def test_a_closed_stream_ends_no_command(closed):
    """Under some crons and daemons; no other file takes its place either."""
    command = [sys.executable, "-m", "clusterkit", "--version"]
    closing = f"import os; os.close({closed}); os.execv({command[0]!r}, {command})"
    done = subprocess.run([command[0], "-c", closing], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == ""
    assert ("clusterkit" in done.stdout) == (closed != 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_under_stdout_is_one_line(monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(OutputError, match="to stdout: the disk is full; what it is about is"):
            print_summary({}, True, [])
        monkeypatch.undo()
        with suppress(OSError):
            full.close()
