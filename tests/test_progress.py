"""Bars: shown where a person is there, and nowhere else."""

import io
import sys
import types

import pytest

import clusterkit
from clusterkit.progress import Bar, in_notebook, silent, with_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@with_bar
def work(*, progress=None) -> str:
    for done in (1, 2):
        progress("embed", done, 2)
    return "done"


@pytest.fixture
def notebook(monkeypatch):
    """This process as a notebook's kernel; set `widgets` to have them."""
    shell = types.SimpleNamespace(kernel=object())
    ipython = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setitem(sys.modules, "IPython", ipython)


def test_a_person_at_a_terminal_sees_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert work() == "done"
    assert "embed: 100%" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()


def test_nobody_there_no_bar(monkeypatch):
    for stream in (io.StringIO(), None):
        monkeypatch.setattr(sys, "stderr", stream)
        assert work() == "done"
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    work()
    assert sys.stderr.getvalue() == ""


def test_a_callable_of_ones_own_takes_the_place_of_the_bar(monkeypatch):
    terminal, said = Terminal(), []
    monkeypatch.setattr(sys, "stderr", terminal)
    work(progress=lambda *stage: said.append(stage))
    work(progress=silent)
    assert said == [("embed", 1, 2), ("embed", 2, 2)]
    assert terminal.getvalue() == ""


def test_a_notebook_has_a_bar_without_a_warning(notebook, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr("clusterkit.progress.find_spec", lambda name: None)
    assert in_notebook()
    work()
    assert "embed: 100%" in sys.stderr.getvalue()


def test_a_bar_ends_with_its_function(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    closed = []
    monkeypatch.setattr(Bar, "close", lambda self: closed.append(self))

    @with_bar
    def fails(*, progress=None):
        raise ValueError

    with pytest.raises(ValueError):
        fails()
    assert closed


@pytest.mark.parametrize("name", ["fit", "assign", "audit", "embed", "export", "inspect"])
def test_all_long_functions_have_one(name):
    # `functools.wraps` leaves what it wrapped.
    assert hasattr(getattr(clusterkit, name), "__wrapped__")
