"""The Ray engine, on a real cluster of several nodes on this machine."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from clusterkit import assign, embed
from clusterkit.config import override
from clusterkit.data.guarded_path import GuardedPath
from clusterkit.errors import ClusterkitError
from tests.stores import make_mixed, upload

pytestmark = [
    # Of Ray's own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

# Of a node, as little as Ray allows.
STORE = 80 << 20


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray", reason="ray is not installed: pip install 'clusterkit[ray]'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    found = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False},
    )
    for _ in range(2):
        found.add_node(num_cpus=1, object_store_memory=STORE)
    yield found
    found.shutdown()


@pytest.fixture
def small(config):
    """Many batches of few images."""
    return override(config, assign__batch_size=2)


@pytest.fixture(scope="module")
def expected(run, sample, config, tmp_path_factory):
    out = tmp_path_factory.mktemp("local") / "a.csv"
    small = override(config, assign__batch_size=2)
    return assign(run, sample / "unlabeled", config=small, out=out)


def actors() -> list[int]:
    """Processes that compute for Ray."""
    import psutil

    found = [(p.pid, p.info["cmdline"]) for p in psutil.process_iter(["cmdline"])]
    return [pid for pid, line in found if line and "MapWorker" in line[0]]


class Steps:
    """The progress of a call, at whose first images and later something is done."""

    def __init__(self, *actions) -> None:
        self.actions, self.said = list(actions), []

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != "assign":
            return
        self.said.append(done)
        if self.actions and len(self.said) % 6 == 1:
            self.actions.pop(0)()


@pytest.mark.slow
def test_an_actor_and_a_node_die_and_the_bytes_are_the_same(
    cluster, run, sample, small, expected, tmp_path, capsys
):
    def kill_actor() -> None:
        os.kill(actors()[0], signal.SIGKILL)

    def kill_node() -> None:
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        cluster.add_node(num_cpus=1, object_store_memory=STORE)

    progress, out = Steps(kill_actor, kill_node), tmp_path / "a.csv"
    found = assign(run, sample / "unlabeled", config=small, out=out, engine="ray",
                   address=cluster.address, progress=progress)  # fmt: skip
    assert not progress.actions
    assert out.read_bytes() == expected.path.read_bytes()
    # None is lost, and none comes twice.
    assert len(progress.said) == -(-len(expected.table) // 2)
    assert progress.said[-1] == len(expected.table)
    # With --json one object is there, whatever Ray says of what has died.
    assert capsys.readouterr().out == ""
    # What one engine has computed is known to the other, and batches by name lie side by side.
    again = assign(run, sample / "unlabeled", config=small, out=out)
    assert again.record.growth.kept == len(found.table)
    assert again.record.resumed_batches == 0


@pytest.mark.long
def test_a_driver_that_is_killed_goes_on(cluster, run, sample, small, expected, tmp_path):
    script = tmp_path / "drive.py"
    script.write_text(
        textwrap.dedent("""
        import os, sys
        from clusterkit import Run, assign
        from clusterkit.config import override

        def stop(stage, done, total):
            if stage == "assign" and done > total // 3:
                os.kill(os.getpid(), 9)

        run = Run.load(sys.argv[1])
        config = override(run.config, assign__batch_size=2)
        assign(run, sys.argv[2], config=config, out=sys.argv[3], engine="ray",
               address=sys.argv[4], progress=stop)
    """)
    )
    out = tmp_path / "a.csv"
    arguments = [script, run.path, sample / "unlabeled", out, cluster.address]
    killed = subprocess.run([sys.executable, *map(str, arguments)], timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    found = assign(run, sample / "unlabeled", config=small, out=out, engine="ray",
                   address=cluster.address)  # fmt: skip
    assert found.record.resumed_batches > 0
    assert out.read_bytes() == expected.path.read_bytes()


@pytest.mark.long
def test_embed_gives_the_same_vectors(cluster, run, sample, small, tmp_path):
    for name, more in {
        "local": {},
        "ray": {"engine": "ray", "address": cluster.address},
    }.items():
        embed(sample / "unlabeled", tmp_path / f"{name}.npz", config=small, run=run, **more)
    here, there = (np.load(tmp_path / f"{name}.npz") for name in ("local", "ray"))
    assert all(np.array_equal(here[key], there[key]) for key in here)


class DeadlyPath(GuardedPath):
    """A path that ends each process that opens it, but the one it has its name of."""

    @property
    def reason(self) -> str:
        if os.getpid() != int(Path(self).stem):
            os.kill(os.getpid(), signal.SIGKILL)
        return ""

    @reason.setter
    def reason(self, value: str) -> None:
        pass


@pytest.mark.long
def test_an_image_that_ends_its_process_fails_alone(cluster, run, sample, tmp_path):
    from clusterkit.inference.engines import open_engine
    from clusterkit.inference.predictor import Predictor

    images = sorted((sample / "unlabeled").rglob("*.png"))[:9]
    deadly = DeadlyPath(str(shutil.copy(images[0], tmp_path / f"{os.getpid()}.png")))
    refs = [(path, None) for path in [*images[:4], deadly, *images[4:]]]
    make = partial(Predictor, run, run.config)
    with open_engine("ray", cluster.address, run.config) as engine:
        found = dict(engine.compute(make, run.config.image, refs, 2))
    errors = [error for number in sorted(found) for error in found[number]["errors"]]
    assert [i for i, error in enumerate(errors) if error] == [4]
    assert errors[4].startswith("ends the process that reads it (signal 9)")


@pytest.mark.slow
def test_a_node_that_would_compute_otherwise_is_named(
    cluster, run, sample, small, tmp_path, monkeypatch
):
    def said(**more) -> str:
        with pytest.raises(ClusterkitError) as error:
            assign(run, sample / "unlabeled", config=small, out=tmp_path / "a.csv",
                   engine="ray", address=cluster.address, **more)  # fmt: skip
        assert not (tmp_path / "a.csv").exists()
        return str(error.value)

    version, host = metadata.version, socket.gethostname()

    def other(name: str) -> str:
        if name != "pillow":
            return version(name)
        if not there:
            raise metadata.PackageNotFoundError(name)
        return there

    # Of this process alone: the nodes have processes of their own.
    monkeypatch.setattr(metadata, "version", other)
    there = "9.9"
    assert "and this machine 9.9: it would compute otherwise; pip install 'pillow==9.9'" in said()
    there = ""
    message = said()
    assert message.startswith(f"node {host} (")
    assert "and this machine has none: it would read other images; pip install" in message
    monkeypatch.undo()
    size = os.path.getsize
    monkeypatch.setattr("os.path.getsize", lambda path: size(path) + 1)
    assert re.match(rf"node {host} .* does not see '.*png' as this machine does; give a", said())
    monkeypatch.undo()
    assert "the Ray cluster has no GPU; give auto or cpu" in said(device="cuda")


@pytest.mark.long
def test_where_there_are_gpus_processors_read_for_them(
    cluster, run, sample, small, expected, tmp_path
):
    """A node says that it has a GPU: who looks for it there finds none, and computes as before."""
    node = cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=STORE)
    try:
        found = assign(run, sample / "unlabeled", config=small, out=tmp_path / "a.csv",
                       engine="ray", address=cluster.address)  # fmt: skip
    finally:
        cluster.remove_node(node)
    assert found.record.device == "cuda"
    assert found.path.read_bytes() == expected.path.read_bytes()


class Unloadable:
    """A model that no process but the one that named it can make."""

    def __init__(self, here: int) -> None:
        self.here = here

    def __call__(self):
        if os.getpid() != self.here:
            raise ModuleNotFoundError("No module named 'encoders_of_ours'")


@pytest.mark.long
def test_a_node_without_the_encoder_is_named(cluster, run, sample):
    from clusterkit.data.inputs import read_inputs
    from clusterkit.data.loading import image_refs
    from clusterkit.inference.engines import open_engine

    refs = image_refs(read_inputs(sample / "unlabeled"))
    with (
        open_engine("ray", cluster.address, run.config) as engine,
        pytest.raises(ClusterkitError, match="cannot load the run: ModuleNotFoundError: No module"),
    ):
        list(engine.compute(Unloadable(os.getpid()), run.config.image, refs, 2))


@pytest.mark.slow
def test_an_address_without_a_cluster_is_one_line(run, sample, tmp_path, command):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'clusterkit[ray]'")
    given = ("assign", sample / "unlabeled", "--run", run.path, "--out", tmp_path / "a.csv")
    code, _, said = command(*given, "--engine", "ray", "--address", "127.0.0.1:1")
    assert code == 1
    assert said.startswith("error: no Ray cluster can be used at 127.0.0.1:1: ")
    assert said.endswith("start one by `ray start --head` and give --address HOST:PORT or auto\n")
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.handle_request, daemon=True).start()
        there = f"127.0.0.1:{other.server_port}"
        code, _, said = command(*given, "--engine", "ray", "--address", there)
    assert code == 1
    assert "what answers there is no Ray cluster; start one by" in said
    code, _, said = command(*given, "--engine", "ray", "--address", "ray://127.0.0.1:1")
    assert code == 1
    assert "this is neither auto nor HOST:PORT" in said
    code, _, said = command(*given, "--address", "auto")
    assert (code, said) == (1, "error: --address auto is of a Ray cluster; give --engine ray too\n")


# From here on other clusters than the first: after one of them Ray does not go back to that one.
@pytest.mark.long
def test_without_an_address_a_cluster_of_its_own_begins(
    cluster, run, sample, small, expected, tmp_path
):
    """Though another one is on this machine."""
    found = assign(run, sample / "unlabeled", config=small, out=tmp_path / "a.csv", engine="ray")
    assert found.path.read_bytes() == expected.path.read_bytes()


@pytest.fixture
def s3(monkeypatch):
    """A server that speaks as S3 does, on this machine alone."""
    pytest.importorskip("ray", reason="ray is not installed: pip install 'clusterkit[ray]'")
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed: clusterkit[s3]")
    server = pytest.importorskip("moto.server", reason="no moto: see CONTRIBUTING.md")
    running = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{running.get_host_and_port()[1]}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    s3fs.S3FileSystem.clear_instance_cache()
    yield s3fs.S3FileSystem()
    s3fs.S3FileSystem.clear_instance_cache()
    running.stop()


@pytest.mark.long
def test_images_of_a_store_and_a_node_without_rights(s3, run, config, tmp_path, monkeypatch):
    """A node has the credentials that its `ray start` had, not the driver's."""
    from ray.cluster_utils import Cluster

    config, folder = override(config, assign__batch_size=4), make_mixed(tmp_path / "img", 12)
    here = assign(run, folder, config=config, out=tmp_path / "here" / "a.csv")
    s3.mkdir("on-ray")
    url = upload(folder, "s3://on-ray/img")
    nodes = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False},
    )

    def there(**more):
        return assign(run, url, config=config, out=tmp_path / "a.csv", engine="ray",
                      address=nodes.address, **more)  # fmt: skip

    try:
        assert there().path.read_bytes() == here.path.read_bytes()
        with monkeypatch.context() as patch:
            patch.delenv("AWS_ACCESS_KEY_ID")
            patch.delenv("AWS_SECRET_ACCESS_KEY")
            nodes.add_node(num_cpus=1, object_store_memory=STORE)
        with pytest.raises(ClusterkitError, match=r"^node .* cannot read 's3://on-ray/img/.*refus"):
            there(fresh=True)
    finally:
        nodes.shutdown()
