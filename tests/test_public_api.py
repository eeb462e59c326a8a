"""What `import clusterkit` offers, and that it costs nothing until it is used."""

import re
import subprocess
import sys
from pathlib import Path

import clusterkit


def test_exports():
    assert clusterkit.__all__ == [
        "ClusterkitError", "Config", "Run", "SimilarityFinder", "__version__", "assign", "audit",
        "evidence", "export", "fit", "load_config", "read_assignments", "read_manifest", "review",
        "similar", "similar_groups",
    ]  # fmt: skip
    for name in clusterkit.__all__:
        assert getattr(clusterkit, name).__doc__ or name == "__version__"
    # Left out of a star import, where it would hide Python's own module.
    assert clusterkit.inspect.__module__ == "clusterkit.inspection.inspect"
    assert "inspect" in dir(clusterkit)


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
