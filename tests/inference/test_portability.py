"""`assign` on systems that start processes otherwise, or lack what only POSIX has."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from clusterkit import assign
from clusterkit.config import override
from clusterkit.data.loading import load_batches
from clusterkit.data.processes import start_method
from clusterkit.errors import RunError
from clusterkit.inference.journal import Journal

# What a user's script holds, run in a process of its own: the choice of spawn is for good.
SPAWN = """
    import multiprocessing, sys

    if __name__ == "__main__":
        multiprocessing.set_start_method("spawn")
        import clusterkit
        from clusterkit.config import override
        from clusterkit.formats.run import Run
        from clusterkit.inference import workers

        each_alone, used = workers._each_alone, []
        workers._each_alone = lambda work, n: (used.append(n), each_alone(work, n))[1]
        run = Run.load(sys.argv[1])
        config = override(run.config, assign__workers=int(sys.argv[4]), assign__batch_size=5)
        clusterkit.assign(run, sys.argv[2], config=config, out=sys.argv[3])
        print(used, multiprocessing.get_start_method())
"""

BARE = """
    import os, sys, warnings

    sys.modules["fcntl"] = None
    del os.nice
    # filelock says that its lock is a softer one.
    warnings.simplefilter("ignore")
    import clusterkit, clusterkit.auditing.serve, clusterkit.inference.assign
    from clusterkit.data.processes import give_way

    give_way()
    clusterkit.assign(sys.argv[1], sys.argv[2], out=sys.argv[3])
"""

HOLD = """
    import os, sys, time
    from pathlib import Path
    from clusterkit.inference.journal import Journal

    journal = Journal(Path(sys.argv[1]), {"run": 1}, fresh=False)
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    time.sleep(60)
"""


def script(folder: Path, text: str, *arguments: object) -> str:
    path = folder / "script.py"
    path.write_text(textwrap.dedent(text))
    done = subprocess.run([sys.executable, path, *map(str, arguments)], capture_output=True,
                          text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_spawned_workers_give_the_same_csv(run, sample, config, tmp_path):
    alone = override(config, assign__workers=0, assign__batch_size=5)
    assign(run, sample / "unlabeled.csv", config=alone, out=tmp_path / "a.csv")
    said = script(tmp_path, SPAWN, run.path, sample / "unlabeled.csv", tmp_path / "b.csv", 2)
    assert said.split("\n")[-2] == "[2] spawn"
    assert (tmp_path / "b.csv").read_bytes() == (tmp_path / "a.csv").read_bytes()


@pytest.mark.long
def test_spawned_readers_read_the_same(sample, config, tmp_path, monkeypatch):
    refs = [(str(p), None) for p in sorted((sample / "unlabeled").rglob("*.png"))][:12]
    refs.append((str(tmp_path / "none.png"), None))
    here = list(load_batches(refs, config.image, 4, 0, {1}))
    monkeypatch.setattr("clusterkit.data.loading.start_method", lambda: "spawn")
    there = list(load_batches(refs, config.image, 4, 2, {1}))
    assert [batch.number for batch in there] == [0, 2, 3]
    for one, other in zip(here, there, strict=True):
        for name in ("images", "ids", "errors", "signatures", "appearance", "states"):
            assert (getattr(one, name) == getattr(other, name)).all()


@pytest.mark.parametrize(
    ("platform", "chosen", "method"),
    [("linux", None, "fork"), ("linux", "fork", "fork"), ("linux", "spawn", "spawn"),
     ("darwin", None, "spawn"), ("darwin", "fork", "spawn"), ("win32", None, "spawn")],
)  # fmt: skip
def test_processes_are_forked_on_linux_alone(monkeypatch, platform, chosen, method):
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("multiprocessing.get_start_method", lambda allow_none: chosen)
    assert start_method() == method


@pytest.mark.long
def test_assign_needs_neither_fcntl_nor_nice(run, sample, assignment, tmp_path):
    script(tmp_path, BARE, run.path, sample / "unlabeled.csv", tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_bytes() == assignment.path.read_bytes()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_lock_ends_with_its_process_though_what_it_forked_lives(tmp_path):
    path = tmp_path / "hold.py"
    path.write_text(textwrap.dedent(HOLD))
    holder = subprocess.Popen([sys.executable, path, tmp_path / "a.csv"], stdout=subprocess.PIPE)
    child = int(holder.stdout.readline())
    try:
        with pytest.raises(RunError, match="another clusterkit is writing"):
            Journal(tmp_path / "a.csv", {"run": 1}, fresh=False)
        holder.kill()
        holder.wait()
        os.kill(child, 0)
        Journal(tmp_path / "a.csv", {"run": 1}, fresh=False).close()
    finally:
        holder.kill()
        holder.stdout.close()
        os.kill(child, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("nameless", [True, False])
def test_one_of_many_gets_the_lock_while_others_come_and_go(tmp_path, nameless):
    """A folder that is being removed is neither in the way nor locked twice.

    Some drives have no files without a name: what filelock tries out has one there.
    """
    turns = """
        import os, sys, time
        from pathlib import Path
        from clusterkit.formats.locking import lock_folder, remove_folder

        if sys.argv[2] == "False":
            vars(os).pop("O_TMPFILE", None)
        out, got, end = Path(sys.argv[1]), 0, time.monotonic() + 3
        while time.monotonic() < end:
            folder = out.with_name("a.csv.journal")
            lock = lock_folder(folder, lambda path: False, "assign", "--out")
            if lock is None:
                continue
            # Two that hold it at a time would find each other's file.
            with open(out, "x"):
                pass
            os.unlink(out)
            remove_folder(folder, lock, lambda: None)
            got += 1
        print(got)
    """
    path = tmp_path / "turns.py"
    path.write_text(textwrap.dedent(turns))
    processes = [
        subprocess.Popen([sys.executable, path, tmp_path / "a.csv", str(nameless)],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]  # fmt: skip
    ended = [(*process.communicate(timeout=120), process.returncode) for process in processes]
    for out, err, code in ended:
        assert code == 0, err
        assert int(out) > 0
    assert os.listdir(tmp_path) == ["turns.py"]
