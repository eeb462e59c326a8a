"""`clusterkit doctor` as a user calls it: facts, what would fail, exit codes."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import requires

import pytest

from clusterkit import __version__
from clusterkit.limits import Memory
from clusterkit.machine.trials import Outcome
from tests.packages import make_package

DOCTOR = "from clusterkit.cli import main; main()"


@pytest.fixture
def untried(monkeypatch, tmp_path):
    """Leave out the trials, which take seconds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("clusterkit.machine.examination.try_out", lambda *given: Outcome())
    enough = Memory(16_000_000_000, 8_000_000_000)
    monkeypatch.setattr("clusterkit.machine.examination.usable_memory", lambda: enough)


@pytest.fixture
def child(tmp_path):
    """Run doctor in a process of its own; returns (exit code, stdout, stderr)."""
    stubs, work = tmp_path / "stubs", tmp_path / "work"
    stubs.mkdir()
    work.mkdir()

    def call(*arguments, **environment):
        path = os.pathsep.join([str(stubs), *(p for p in sys.path if p)])
        given = {k: v for k, v in os.environ.items() if k not in environment}
        given |= {k: str(v) for k, v in environment.items() if v is not None}
        done = subprocess.run(
            [sys.executable, "-c", DOCTOR, "doctor", *map(str, arguments)], cwd=work,
            env=given | {"PYTHONPATH": path}, capture_output=True, text=True,
        )  # fmt: skip
        assert list(work.iterdir()) == []
        return done.returncode, done.stdout, done.stderr

    call.stubs, call.work = stubs, work
    return call


def fails(out):
    return [line for line in out.splitlines() if line.startswith("fails ")]


def test_facts(command, untried):
    code, out, err = command("doctor")
    assert (code, err, fails(out)) == (0, "", [])
    said = dict(re.findall(r"^(\S+)\s+(.*)$", out, re.M))
    assert re.fullmatch(r"\d+ of \d+", said["processors"])
    assert re.match(r"[\d,.]+ GB free of [\d,.]+ GB", said["memory"])
    assert f"clusterkit {__version__}, torch " in said["versions"]
    assert "packaged: tf_efficientnet_lite0, 18.8 MB, SHA-256 as it should be" in out
    assert "runs: " in out


def test_json(command, untried, monkeypatch):
    code, out, err = command("doctor", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["ok"]
    assert found["failing"] == []
    assert found["memory"]["free"] > found["memory"]["needed"]
    assert any(one["whole"] for one in found["weights"])
    needed = [re.split(r"[^\w-]", one)[0] for one in requires("clusterkit") if "extra" not in one]
    assert set(found["versions"]) == {"python", "clusterkit", *needed}
    assert "dicom" in found["extras"]
    assert command("doctor", "--quiet") == (0, "", "")


def test_what_would_fail_is_one_line_and_exit_code_1(command, untried, monkeypatch):
    little = Memory(1_000_000_000, 400_000_000, limited=True)
    monkeypatch.setattr("clusterkit.machine.examination.usable_memory", lambda: little)
    code, out, err = command("doctor")
    assert code == 1
    (line,) = fails(out)
    assert "memory: 0.4 GB are free" in line
    assert "docker run --memory" in line
    assert err == (
        "error: 1 thing would fail on this machine (memory); see the lines 'fails' of "
        "clusterkit doctor\n"
    )
    code, out, _ = command("doctor", "--json", "--run", __file__)
    found = json.loads(out)
    assert (code, found["ok"]) == (1, False)
    assert [one["about"] for one in found["failing"]] == ["memory", "disk"]
    code, out, err = command("doctor", "-q")
    assert (code, out) == (1, "")
    assert err.startswith("error: 1 thing")


def test_settings_are_tried(command, untried, tmp_path):
    (tmp_path / "c.toml").write_text('[model]\nweights = "gone.pth"\n')
    code, out, _ = command("doctor", "--config", "c.toml")
    assert code == 1
    assert "gone.pth, which the settings name, does not exist" in fails(out)[0]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ImportError('libtorch_cpu.so: cannot open it')", "ImportError: libtorch_cpu.so: "),
        ("import os; os.abort()", "it ends Python by SIGABRT"),
    ],
)
def test_without_torch_one_line_says_so_and_the_rest_is_told(child, code, said):
    make_package(child.stubs, "clusterkit", __version__, requires=["torch", "click"], code=None)
    make_package(child.stubs, "torch", "9.9", code=code)
    found, out, err = child()
    assert found == 1
    (line,) = fails(out)
    assert "packages: torch 9.9 cannot be imported: " + said in line
    assert err.startswith("error: 1 thing would fail on this machine (packages)")
    assert "Traceback" not in err
    assert "SHA-256 as it should be" in out
    assert "gpu        not known" in out


def test_without_what_versions_are_compared_by(child):
    make_package(child.stubs, "packaging", code="raise ImportError('gone', name='packaging')")
    code, _, err = child()
    assert code == 1
    assert err == "error: packaging cannot be imported (gone); pip install packaging\n"


HOSTILE = {
    "no home": ({"HOME": None}, 0, None),
    "home that is not there": ({"HOME": "/not/there"}, 0, None),
    "temporary folder that is not there": (
        {"TMPDIR": "/not/there"}, 0, r"note .*\$TMPDIR is /not/there, which cannot be written"),
    "letters of no alphabet": (
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, 1,
        r"fails .*locale: names of files are read as ascii .*PYTHONUTF8=1"),
    "locale that is not there": ({"LC_ALL": "xx_YY.KOI8"}, 0, None),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_surroundings(name, child):
    """One line each at most, never a traceback."""
    environment, code, expected = HOSTILE[name]
    make_package(child.stubs, "clusterkit", __version__, requires=["click"], code=None)
    found, out, err = child(**environment)
    assert found == code, (out, err)
    assert "Traceback" not in err
    assert len(err.splitlines()) == code
    if expected:
        assert sum(bool(re.match(expected, line)) for line in out.splitlines()) == 1
    assert len(fails(out)) == code


def test_a_limit_of_what_may_be_mapped_is_a_note(command, untried, monkeypatch):
    monkeypatch.setattr("clusterkit.machine.examination.address_space", lambda: 3_000_000_000)
    code, out, _ = command("doctor")
    assert code == 0
    assert "note       memory: a process may map 3.0 GB" in out


@pytest.mark.skipif(os.name == "nt", reason="Windows deletes no folder that is used")
def test_a_current_folder_that_is_gone(command, untried, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert command("doctor") == (
        1, "", "error: the current folder is not there any more; cd to one that is\n")  # fmt: skip


@pytest.mark.parametrize("kind", ["file", "in a file", "too long"])
def test_runs_that_cannot_be_written(kind, child, tmp_path):
    make_package(child.stubs, "clusterkit", __version__, requires=["click"], code=None)
    (tmp_path / "file").write_text("")
    run = {"file": tmp_path / "file", "in a file": tmp_path / "file" / "run",
           "too long": tmp_path / ("x" * 300)}[kind]  # fmt: skip
    code, out, err = child("--run", run)
    assert code == 1
    (line,) = fails(out)
    assert "--run DIR" in line
    assert str(run) in line
    assert err.startswith("error: 1 thing would fail on this machine (disk)")


@pytest.mark.slow
def test_a_whole_one(child):
    code, out, err = child("--json")
    found = json.loads(out)
    assert (code, err, found["failing"]) == (0, "", [])
    assert found["device"]
    assert found["precision"] in ("float32", "bfloat16")
    assert found["workers"]["processes"] >= 1
