"""The examples for other programs that start clusterkit: tried as far as can be without those."""

import ast
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from clusterkit.cli import cli

EXAMPLES = Path(__file__).parents[1] / "examples"
SLURM = EXAMPLES / "slurm.sh"

# Takes notes of what it was asked; as srun, it does it.
STAND_IN = """#!/bin/bash
echo "$(basename "$0") $*" >> "$NOTES"
if [ "$(basename "$0")" = srun ]; then
    while [[ $1 == --* ]]; do shift; done
    exec "$@"
fi
if [ "$(basename "$0")" = clusterkit ]; then
    trap 'exit 143' TERM
    [ "${CODE:-}" = wait ] && { touch "$NOTES.waits"; while :; do sleep 0.05; done; }
    exit "${CODE:-0}"
fi
"""


def understood(command: list[str]) -> None:
    """The command line has the command, and all of its options."""
    assert command[0] == "clusterkit"
    name, *rest = command[1:]
    cli.commands[name].make_context(name, rest)


@pytest.fixture
def slurm(tmp_path):
    """Start the script with stand-ins; returns the process, and what these noted."""
    tools, notes = tmp_path / "bin", tmp_path / "notes"
    tools.mkdir()
    for name in ("srun", "scontrol", "clusterkit"):
        (tools / name).write_text(STAND_IN)
        (tools / name).chmod(0o755)

    def call(*arguments, **given):
        names = {"PATH": f"{tools}:{os.environ['PATH']}", "NOTES": str(notes), **given}
        process = subprocess.Popen([SLURM, *map(str, arguments)], text=True, env=names,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
        return process, lambda: notes.read_text().splitlines() if notes.exists() else []

    return call


@pytest.mark.parametrize("code", [0, 1, 2])
def test_slurm_fit_ends_with_the_code_of_the_command(slurm, tmp_path, code):
    process, notes = slurm("fit", "images", tmp_path / "run", CODE=str(code), SLURM_JOB_ID="7",
                           SLURM_CPUS_PER_TASK="4")  # fmt: skip
    said, _ = process.communicate(timeout=30)
    assert process.returncode == code
    assert f"exit code {code}" in said
    started, done = notes()
    assert started.startswith("srun --kill-on-bad-exit=1 --cpus-per-task=4 clusterkit fit images")
    understood(shlex.split(done))


def test_slurm_array_takes_the_line_of_its_number(slurm, tmp_path):
    batches = tmp_path / "batches.txt"
    batches.write_text("a/week one\nb/week one\n")
    process, notes = slurm("assign", "run", batches, tmp_path / "out", SLURM_ARRAY_TASK_ID="1")
    process.communicate(timeout=30)
    assert process.returncode == 0
    # Outside of Slurm without srun.
    (done,) = notes()
    assert done.startswith(f"clusterkit assign b/week one --run run --out {tmp_path}/out/0001-week")
    process, _ = slurm("assign", "run", batches, tmp_path / "out", SLURM_ARRAY_TASK_ID="2")
    assert "has no line 3" in process.communicate(timeout=30)[1]
    assert process.returncode == 2
    process, _ = slurm("assign", "run")
    assert process.communicate(timeout=30)[1].count("usage: sbatch") == 2
    assert process.returncode == 2


@pytest.mark.parametrize(("number", "queued"), [("USR1", True), ("TERM", False)])
def test_slurm_queues_again_when_the_time_is_over_and_not_when_it_is_cancelled(
    slurm, tmp_path, number, queued
):
    process, notes = slurm("fit", "images", tmp_path / "run", CODE="wait", SLURM_JOB_ID="7")
    limit = time.monotonic() + 30
    while not (tmp_path / "notes.waits").exists() and time.monotonic() < limit:
        time.sleep(0.02)
    subprocess.run(["kill", f"-{number}", str(process.pid)], check=True)
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert ("scontrol requeue 7" in notes()) == queued


def test_ray_job_is_one_that_the_pods_agree_on():
    yaml = pytest.importorskip("yaml", reason="no YAML parser is installed")
    job = yaml.safe_load((EXAMPLES / "ray_job.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    command = shlex.split(job["spec"]["entrypoint"])
    understood(command)
    assert command[command.index("--engine") :][:4] == ["--engine", "ray", "--address", "auto"]
    cluster = job["spec"]["rayClusterSpec"]
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    first = pods[0]["template"]["spec"]
    for pod in pods:
        spec = pod["template"]["spec"]
        assert spec["containers"][0]["image"] == first["containers"][0]["image"]
        assert spec["containers"][0]["volumeMounts"] == first["containers"][0]["volumeMounts"]
        assert spec["volumes"] == first["volumes"]
        named = {volume["name"] for volume in spec["volumes"]}
        assert {mount["name"] for mount in spec["containers"][0]["volumeMounts"]} == named
        limits = spec["containers"][0]["resources"]
        assert limits["requests"] == limits["limits"]


class Task:
    """A stand-in for Airflow's operators and its DAG."""

    made: tuple = ()

    def __init__(self, **given):
        self.given = given
        Task.made = (*Task.made, self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __rshift__(self, other):
        return other


def airflow(version):
    names = {"airflow": ["DAG"], "airflow.operators": [],
             "airflow.operators.bash": ["BashOperator"],
             "airflow.operators.python": ["PythonOperator"]}  # fmt: skip
    if version == 3:
        at = "airflow.providers.standard.operators"
        names = {"airflow": [], "airflow.sdk": ["DAG"], "airflow.providers": [],
                 "airflow.providers.standard": [], at: [], f"{at}.bash": ["BashOperator"],
                 f"{at}.python": ["PythonOperator"]}  # fmt: skip
    for name, classes in names.items():
        module = ModuleType(name)
        module.__path__ = []
        for one in classes:
            setattr(module, one, Task)
        yield name, module


@pytest.mark.parametrize("version", [2, 3])
def test_airflow_dag(version, monkeypatch):
    monkeypatch.setattr(Task, "made", ())
    for name, module in airflow(version):
        monkeypatch.setitem(sys.modules, name, module)
    source = (EXAMPLES / "airflow_dag.py").read_text()
    found = {"__name__": "dag"}
    exec(compile(ast.parse(source), "airflow_dag.py", "exec"), found)
    bash = [task.given["bash_command"] for task in Task.made if "bash_command" in task.given]
    assert len(bash) == 3
    for command in bash:
        made, _, rest = command.partition(" && exec ")
        assert made.startswith("mkdir -p ")
        understood(shlex.split(rest.replace("{{ ds }}", "2026-01-05")))
        assert "--json" in rest
    summary = '{"images": 100, "status": {"failed": %d}, "failures": {"broken": 6}}'
    found["few_failed"](summary % 5)
    with pytest.raises(ValueError, match=r"6 of 100 images failed: \{'broken': 6\}"):
        found["few_failed"](summary % 6)
