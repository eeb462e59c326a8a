"""A small sample and a run fitted to it, made once for all tests; what was not run, and why."""

import logging
import os
from collections import Counter
from pathlib import Path

# Before anything imports torch: the processes of pytest-xdist share the processors.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

from clusterkit.config import config_from_dict
from clusterkit.sample import make_sample
from tests.browser import Watched, open_browser

# A small network, random weights and heads only: seconds, and every step of the path is taken.
SETTINGS = {
    "image": {"size": 48},
    "model": {"backbone": "squeezenet1_1", "weights": "none"},
    "train": {"strategy": "head", "siamese_epochs": 1, "folds": 3},
    "assign": {"max_error": 0.4, "batch_size": 16, "workers": 0},
    "audit": {"limit": 12},
}


# What takes long on a busy machine is not wrong.
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")

# How many tests were left out as slow.
SLOW = pytest.StashKey[int]()
# A test that uses one of these needs what the marker stands for.
NEEDS = {"real_data": "data", "cuda": "gpu", "browser": "browser"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        for fixture, marker in NEEDS.items():
            if fixture in item.fixturenames:
                item.add_marker(marker)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    # More than processors: a test of the page, or of a process, waits for it half of its time.
    return (os.cpu_count() or 1) + 2


def pytest_deselected(items):
    slow = [
        item for item in items if item.get_closest_marker("slow") or item.get_closest_marker("long")
    ]
    if slow:
        config = slow[0].config
        config.stash[SLOW] = config.stash.get(SLOW, 0) + len(slow)


def pytest_sessionfinish(session):
    # A worker of pytest-xdist tells the process that writes the summary.
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["slow"] = session.config.stash.get(SLOW, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    # Each worker has left out the same ones.
    node.config.stash[SLOW] = getattr(node, "workeroutput", {}).get("slow", 0)


def pytest_terminal_summary(terminalreporter):
    """Count what was skipped by marker and reason: a green run may have tested little."""
    markers = {*NEEDS.values(), "slow", "long"}
    skipped = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        own = sorted(markers & set(getattr(report, "keywords", ())))
        skipped[", ".join(own) or "no marker", reason.removeprefix("Skipped: ")] += 1
    slow = terminalreporter.config.stash.get(SLOW, 0)
    if not skipped and not slow:
        return
    terminalreporter.section("not run")
    for (marker, reason), count in sorted(skipped.items()):
        terminalreporter.line(f"{count} skipped ({marker}): {reason}")
    if slow:
        terminalreporter.line(f"{slow} left out (slow): pytest -m 'slow or long' runs them")


@pytest.fixture(autouse=True)
def _plain_logging():
    """The command line replaces the logger's handlers; give them back."""
    yield
    logger = logging.getLogger("clusterkit")
    logger.handlers, logger.propagate = [], True
    logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="session", autouse=True)
def own_key(tmp_path_factory):
    """No test makes a key for patient ids in the home of whoever runs it."""
    path = tmp_path_factory.mktemp("key") / "patient.key"
    path.write_text("a key that only tests know\n")
    before = os.environ.get("CLUSTERKIT_KEY_FILE")
    os.environ["CLUSTERKIT_KEY_FILE"] = str(path)
    yield path
    os.environ.pop("CLUSTERKIT_KEY_FILE")
    if before is not None:
        os.environ["CLUSTERKIT_KEY_FILE"] = before


@pytest.fixture(scope="session", autouse=True)
def _few_cams_checked():
    """Audits of the tests check a handful of CAMs; the checks have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clusterkit.auditing.audit.CHECKED_CARDS", 4)
        yield


@pytest.fixture(scope="session")
def config():
    return config_from_dict(SETTINGS)


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sample") / "data"
    make_sample(root, seed=3, size=48, labeled_patients=9, unlabeled_patients=3,
                labeled_per_class=2, unlabeled_per_class=3, novel_per_patient=2)  # fmt: skip
    return root


@pytest.fixture(scope="session")
def run(sample, config, tmp_path_factory):
    from clusterkit import fit

    return fit(sample / "labels.csv", config=config, run=tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="session")
def assignment(run, sample, config):
    from clusterkit import assign

    return assign(run, sample / "unlabeled.csv", config=config)


@pytest.fixture
def command(capsys):
    """Run a command in this process; returns (exit code, stdout, stderr)."""
    from clusterkit.cli import run_command

    def call(*arguments):
        code = run_command([str(a) for a in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = os.environ.get("CLUSTERKIT_DATA")
    if not folder:
        pytest.skip("CLUSTERKIT_DATA is not set: no real data")
    return Path(folder)


@pytest.fixture(scope="session")
def cuda() -> str:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return "cuda"


# Not for the session: while Playwright is open its event loop runs in this thread, and tests that
# have one of their own, as the notebook's, fail.
@pytest.fixture(scope="session")
def browser():
    with open_browser() as found:
        yield found


@pytest.fixture
def visit(browser):
    """Open a page in a tab of its own profile; what the console says fails the test."""
    contexts, tabs = [], []

    def call(url: str, scheme: str = "file:", **settings) -> Watched:
        contexts.append(browser.new_context(**settings))
        tabs.append((Watched(contexts[-1], url), scheme))
        return tabs[-1][0]

    yield call
    for tab, scheme in tabs:
        tab.check(scheme)
    for context in contexts:
        context.close()
