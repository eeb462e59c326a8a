"""What `import clusterkit` offers, and that it costs nothing until it is used."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import clusterkit


def test_exports():
    assert clusterkit.__all__ == [
        "ClusterkitError", "Config", "Run", "SimilarityFinder", "__version__", "assign", "audit",
        "certify", "embed", "evidence", "export", "fit", "load_config", "read_assignments",
        "read_manifest", "review", "similar", "similar_groups", "verify",
    ]  # fmt: skip
    for name in clusterkit.__all__:
        assert getattr(clusterkit, name).__doc__ or name == "__version__"
    # Left out of a star import, where it would hide Python's own module.
    assert clusterkit.inspect.__module__ == "clusterkit.inspection.inspect"
    assert "inspect" in dir(clusterkit)


def test_type_checkers_are_shown_the_same_names():
    package = Path(clusterkit.__file__).parent
    assert (package / "py.typed").is_file()
    stub = ast.parse((package / "__init__.pyi").read_text(encoding="utf-8"))
    shown = {
        # `import … as` the same name: only that passes a name on from a stub.
        alias.name: (node.module, alias.asname)
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert shown.keys() == {*clusterkit.__all__, "inspect"} - {"__version__"}
    for name, (where, shown_as) in shown.items():
        assert shown_as == name
        assert getattr(import_module(where), name) is getattr(clusterkit, name)


@pytest.mark.long
def test_mypy_knows_the_types_of_a_call(tmp_path, monkeypatch):
    api = pytest.importorskip("mypy.api", reason="mypy is not installed")
    user = tmp_path / "user.py"
    user.write_text(
        "import clusterkit\n"
        "reveal_type(clusterkit.fit('labels.csv'))\n"
        "reveal_type(clusterkit.assign('run', 'images').table)\n"
        "clusterkit.fit(3)\n"
    )
    # With the project's settings and cache: `make static` has read torch's types already.
    monkeypatch.chdir(Path(__file__).parents[1])
    out, _, _ = api.run([str(user)])
    said = [line for line in out.splitlines() if "user.py:" in line]
    assert 'user.py:2: note: Revealed type is "clusterkit.formats.run.Run"' in said[0]
    assert "user.py:3: note: Revealed type is" in said[1]
    assert "DataFrame" in said[1]
    assert "user.py:4: error" in said[2]


def test_functions_stay_functions_after_their_modules_are_imported(run, assignment, tmp_path):
    import clusterkit.auditing.cam
    import clusterkit.inference.assign

    assert callable(clusterkit.assign)
    assert clusterkit.audit(run, out=tmp_path / "a").name == "index.html"


def test_importing_the_package_is_free():
    code = "import sys, clusterkit; print([m for m in ('torch', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version_is_in_the_changelog():
    root = Path(__file__).parents[1]
    assert f"## {clusterkit.__version__}" in (root / "CHANGELOG.md").read_text()
    assert re.search(
        rf'^version = "{clusterkit.__version__}"', (root / "pyproject.toml").read_text(), re.M
    )
