"""Trials in a process of their own: what ends it, or hangs, is one line, and the rest goes on."""

import pytest

from clusterkit.config import config_from_dict
from clusterkit.machine.installation import Installation
from clusterkit.machine.trials import try_out
from tests.packages import make_package


@pytest.fixture
def tried(tmp_path, monkeypatch):
    """Try modules with the given code; returns the outcome."""
    monkeypatch.syspath_prepend(tmp_path)

    def call(patience=60.0, **code):
        for name, text in code.items():
            make_package(tmp_path, name, code=text)
        of_torch = {name for name in code if name in ("torch", "torchvision", "ck_vision")}
        versions = dict.fromkeys(code, "1.0")
        installation = Installation(versions, {}, {n: n for n in code}, of_torch, [])
        return try_out(installation, config_from_dict({}), patience=patience)

    return call


def test_one_that_raises(tried):
    outcome = tried(ck_bad="print('noise')\nraise OSError('lib.so:\\n no such file')", ck_good="")
    (trouble,) = outcome.troubles
    assert trouble.fails
    assert "ck_bad 1.0 cannot be imported: OSError: lib.so: no such file; " in trouble.text
    assert "import ck_good" in outcome.facts


def test_those_that_end_the_process(tried):
    outcome = tried(ck_ends="import os; os.abort()", ck_good="", ck_exits="raise SystemExit(3)",
                    ck_gone="import os, sys; print('why', file=sys.stderr, flush=True)\n"
                    "os._exit(9)", ck_last="")  # fmt: skip
    ends, exits, gone = (trouble.text for trouble in outcome.troubles)
    assert "ck_ends 1.0 cannot be imported: it ends Python by SIGABRT" in ends
    assert "SystemExit: 3" in exits
    assert "it ends Python with exit code 9 (why)" in gone
    assert {"import ck_good", "import ck_last"} <= outcome.facts.keys()


def test_one_that_never_comes_back(tried):
    outcome = tried(3.0, ck_hangs="import time; time.sleep(600)", ck_good="")
    (trouble,) = outcome.troubles
    assert "ck_hangs 1.0 cannot be imported: it has not come to an end in 3 seconds" in trouble.text
    assert "import ck_good" in outcome.facts


@pytest.mark.parametrize("code", ["raise ImportError('no libtorch')", "import os; os.abort()"])
def test_without_torch_one_line_and_the_rest(tried, code):
    outcome = tried(torch=code, ck_vision="import torch", ck_good="")
    (trouble,) = outcome.troubles
    assert "torch 1.0 cannot be imported: " in trouble.text
    assert "import ck_good" in outcome.facts


def test_all_that_import_a_broken_one_are_one_line(tried):
    outcome = tried(torch="", torchvision="raise RuntimeError('operator nms does not exist')",
                    ck_vision="import torchvision")  # fmt: skip
    trouble = outcome.troubles[0].text
    assert trouble.startswith("torchvision 1.0 cannot be imported, nor can ck_vision: RuntimeError")
    assert "one release and one build" in trouble
    assert "(torch is 1.0)" in trouble
    assert all("imported" not in other.text for other in outcome.troubles[1:])


def test_python_that_cannot_be_started(tried, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    (trouble,) = tried(ck_good="").troubles
    assert "cannot be started" in trouble.text
    assert "No such file" in trouble.text


@pytest.mark.slow
def test_shared_memory_that_a_container_lacks(tmp_path, monkeypatch):
    # Read when the other process starts.
    (tmp_path / "sitecustomize.py").write_text(
        "import shutil\nfrom types import SimpleNamespace\n"
        "shutil.disk_usage = lambda path: SimpleNamespace(free=16_000_000)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    torch = Installation({}, {}, {"torch": "torch"}, {"torch"}, [])
    outcome = try_out(torch, config_from_dict({"image": {"size": 512}}))
    (trouble,) = outcome.troubles
    assert trouble.about == "shared memory"
    assert not trouble.fails
    assert "has 16 MB free" in trouble.text
    assert outcome.facts["workers"]["shared_memory"] > 60_000_000
    assert outcome.facts["device"]["precision"] in ("float32", "bfloat16")


@pytest.mark.slow
def test_a_run_that_was_carried_here(run, tmp_path):
    torch = Installation({}, {}, {"torch": "torch"}, {"torch"}, [])
    outcome = try_out(torch, run.config, run.path)
    assert outcome.facts["run"] == {
        "wrong": None,
        "id": run.info["id"],
        "backbone": "squeezenet1_1",
    }
    assert [trouble.text for trouble in outcome.troubles if trouble.fails] == []
    (tmp_path / "run.json").write_text("{")
    (trouble,) = (t for t in try_out(torch, run.config, tmp_path).troubles if t.fails)
    assert trouble.about == "run"
    assert "run.json" in trouble.text
