"""Processors and memory in containers: files of control groups as Linux writes them."""

import os

import pytest

from clusterkit.data.processes import reading_processes
from clusterkit.limits import Memory, usable_memory, usable_processors

MEMINFO = "MemTotal:        8000 kB\nMemFree:         1000 kB\nMemAvailable:    5000 kB\n"


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Write files of /proc and of control groups; returns both folders."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)

    def call(cgroup, **files):
        proc, groups = tmp_path / "proc", tmp_path / "cgroup"
        (proc / "self").mkdir(parents=True)
        (proc / "self" / "cgroup").write_text(cgroup)
        (proc / "meminfo").write_text(MEMINFO)
        for name, text in files.items():
            path = groups / name.replace("__", "/").replace("_max", ".max")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return proc, groups

    return call


def test_a_machine_without_limits(system):
    where = system("0::/user\n", cpu_max="max 100000\n", memory_max="max\n")
    assert usable_processors(*where) == 6
    assert usable_memory(*where) == Memory(8000 * 1024, 5000 * 1024)


def test_the_least_of_nested_groups_counts(system):
    where = system(
        "0::/pod/box\n",
        **{
            "pod__box__cpu_max": "400000 100000\n",
            "pod__cpu_max": "150000 100000\n",
            "pod__box__memory_max": "max\n",
            "pod__memory_max": "3000000\n",
            "pod__memory.current": "2500000\n",
            "pod__memory.stat": "anon 5\ninactive_file 1000000\n",
        },
    )
    # One and a half processors' time keeps two busy some of the time.
    assert usable_processors(*where) == 2
    assert usable_memory(*where) == Memory(3000000, 1500000, limited=True)


def test_groups_of_version_1(system):
    where = system(
        "5:cpu,cpuacct:/box\n4:memory:/box\n0::/\n",
        **{
            "cpu,cpuacct__box__cpu.cfs_quota_us": "300000\n",
            "cpu,cpuacct__box__cpu.cfs_period_us": "100000\n",
            "cpu,cpuacct__cpu.cfs_quota_us": "-1\n",
            "cpu,cpuacct__cpu.cfs_period_us": "100000\n",
            "memory__box__memory.limit_in_bytes": "4000000\n",
            "memory__box__memory.usage_in_bytes": "3500000\n",
            "memory__box__memory.stat": "inactive_file 1\ntotal_inactive_file 500000\n",
            "memory__memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    assert usable_processors(*where) == 3
    assert usable_memory(*where) == Memory(4000000, 1000000, limited=True)


def test_a_container_whose_path_is_the_hosts(system):
    """Version 1 tells the path outside of the container, and only the root is mounted inside."""
    where = system("4:memory:/docker/0123\n", **{"memory__memory.limit_in_bytes": "4000000\n"})
    assert usable_memory(*where).total == 4000000


@pytest.mark.parametrize("cgroup", ["", "nonsense", "0::/../../etc\n", "::::\n"])
def test_without_the_files_nothing_is_limited(cgroup, system, tmp_path):
    assert usable_processors(tmp_path / "no", tmp_path / "no") == 6
    assert usable_memory(tmp_path / "no", tmp_path / "no").free is None
    where = system(cgroup, cpu_max="garbage\n", memory_max="-5 \n")
    assert usable_processors(*where) == 6
    assert usable_memory(*where).total == 8000 * 1024


def test_reading_takes_no_more_processes_than_may_run(monkeypatch):
    monkeypatch.setattr("clusterkit.data.processes.usable_processors", lambda: 3)
    assert reading_processes() == 3
    monkeypatch.setattr("clusterkit.data.processes.usable_processors", lambda: 64)
    assert reading_processes() == 8
    assert reading_processes(5) == 5
