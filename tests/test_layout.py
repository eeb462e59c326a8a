"""Rules of the house that no linter keeps: names, sizes, and what tests may rest on."""

import ast
import re
import subprocess
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST_MODULE, LONGEST_FUNCTION = 350, 60

MODULES = sorted((ROOT / "clusterkit").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def place(path: Path, node: ast.AST | None = None) -> str:
    return f"{path.relative_to(ROOT)}" + (f":{node.lineno}" if node is not None else "")


def repeated(places_of: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: places for name, places in places_of.items() if len(places) > 1}


def test_no_module_name_twice():
    places_of = defaultdict(list)
    for path in MODULES:
        if path.name != "__init__.py":
            places_of[path.name].append(place(path))
    assert len(places_of) > 100
    assert repeated(places_of) == {}


def test_no_class_name_twice():
    places_of = defaultdict(list)
    for path in MODULES:
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.ClassDef):
                places_of[node.name].append(place(path, node))
    assert len(places_of) > 50
    assert repeated(places_of) == {}


def test_modules_are_short():
    lengths = {place(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: n for name, n in lengths.items() if n > LONGEST_MODULE} == {}


def test_functions_are_short():
    """From `def` to the last line, with the docstring; a command's options stand above."""
    too_long = {}
    for path in MODULES:
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    too_long[f"{place(path, node)} {node.name}"] = length
    assert too_long == {}


def test_every_folder_says_what_it_is_for():
    folders = {path.parent for path in MODULES}
    silent = []
    for folder in sorted(folders):
        init = folder / "__init__.py"
        doc = ast.get_docstring(parse(init)) if init.is_file() else None
        if not doc or not doc.splitlines()[0].strip():
            silent.append(place(folder))
    assert silent == []


def test_no_star_imports_and_no_bare_except():
    found = []
    for path in MODULES + TESTS:
        for node in ast.walk(parse(path)):
            star = isinstance(node, ast.ImportFrom) and any(a.name == "*" for a in node.names)
            bare = isinstance(node, ast.ExceptHandler) and node.type is None
            if star or bare:
                found.append(place(path, node))
    assert found == []


def tracked_files() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name]


def test_no_reference_to_a_design_that_is_not_there():
    # Put together, so that a search for the word does not end here.
    found, word = [], "design".upper()
    for path in tracked_files():
        inside = path.relative_to(ROOT)
        if inside.parts[0] == "docs" or not path.is_file():
            continue
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [f"{inside}:{n}" for n, line in enumerate(lines, 1) if word in line]
    assert found == []


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def names_of_the_package(tree: ast.Module) -> set[str]:
    """Names in a test that stand for a module, class or function of the package."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "clusterkit":
                    names.add(alias.asname or "clusterkit")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "clusterkit":
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def root_of(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def private_uses(path: Path) -> list[str]:
    """Where a test imports, reads or replaces a private name of the package."""
    tree = parse(path)
    known, found = names_of_the_package(tree), []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "clusterkit":
            parts = [*node.module.split("."), *(alias.name for alias in node.names)]
            used = any(map(private, parts))
        elif isinstance(node, ast.Attribute):
            used = private(node.attr) and root_of(node.value) in known
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # A path that monkeypatch is given, or code for another process.
            used = re.search(r"clusterkit(\.\w+)*( import)?[ .]_[a-z]", node.value, re.I)
        elif isinstance(node, ast.Call):
            used = replaces_private(node, known)
        else:
            used = False
        if used:
            found.append(place(path, node))
    return found


def replaces_private(call: ast.Call, known: set[str]) -> bool:
    """Whether a call is `monkeypatch.setattr(module, "_name", …)`, or the like by getattr."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else root_of(call.func)
    if function not in ("setattr", "getattr", "delattr", "hasattr") or len(call.args) < 2:
        return False
    of, name = call.args[:2]
    return (
        root_of(of) in known
        and isinstance(name, ast.Constant)
        and isinstance(name.value, str)
        and private(name.value)
    )


def test_tests_use_no_private_names():
    """A test that knows the inside breaks when only the inside changes."""
    others = [path for path in TESTS if path != Path(__file__)]
    assert sorted(use for path in others for use in private_uses(path)) == []


@pytest.mark.parametrize(
    ("code", "uses"),
    [
        ("from clusterkit.cli import _x", 1),
        ("import clusterkit.cli as module\nmodule._x", 1),
        ("from clusterkit import cli\nmonkeypatch.setattr(cli, '_X', 1)", 1),
        ("monkeypatch.setattr('clusterkit.auditing.audit._X', 1)", 1),
        ("code = 'from clusterkit.cli import _x'", 1),
        ("from clusterkit import __version__, cli\ncli.__doc__\ncli.x\nother._x", 0),
        ("from torch import cpu\nmonkeypatch.setattr(cpu, '_x', 1)", 0),
    ],
)
def test_uses_of_private_names_are_seen(code, uses, tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "test_a.py").write_text(code)
    assert len(private_uses(tmp_path / "test_a.py")) == uses
