"""What `export` writes as links is data again, for every command."""

import json
import os

import pytest

from clusterkit import assign, fit
from clusterkit.config import override
from clusterkit.exporting.export import export
from clusterkit.formats.assignment_pair import load_assigned
from clusterkit.formats.run import Run


@pytest.mark.slow
def test_links_are_read_back_and_audited(run, assignment, config, tmp_path, command):
    """What `export` has written is data again: learned from, assigned, audited through links."""
    done = export(run, to="folders", status="all", out=tmp_path / "links")
    root = load_assigned(assignment.path).root
    code, _, err = command("inspect", done.path)
    assert code == 1
    assert f"give --follow-links --link-root {root}" in err
    code, out, err = command("inspect", done.path, "--link-root", root, "--json")
    summary = json.loads(out)
    assert (code, summary["images"]) == (0, sum(done.counts.values()))
    # What was refused has no label.
    assert set(summary["classes"]) == {
        path.name for path in done.path.iterdir() if path.is_dir() and path.name[0] != "_"
    }
    linked = override(config, data__link_roots=[str(root)])
    again = assign(run, done.path, config=linked, out=tmp_path / "again" / "assignments.csv")
    failed = (assignment.table["status"] == "failed").sum()
    assert (again.table["status"] == "failed").sum() == failed
    assert not any(os.path.isabs(folder) for folder in again.record.link_roots)
    code, _, err = command("audit", "--run", run.path, "--assignments", again.path,
                           "--out", tmp_path / "audit")  # fmt: skip
    assert (code, err) == (0, "")
    for to in ("folders", "coco"):
        more = export(run, to=to, status="all", out=tmp_path / to, assignments=again.path)
        assert sum(more.counts.values()) == len(again.table)
    # A run whose images are links finds them as well.
    own = tmp_path / "classes"
    for number, image in enumerate(run.manifest["image"]):
        label = own / run.manifest["label"].iloc[number]
        label.mkdir(parents=True, exist_ok=True)
        (label / f"{number}.png").symlink_to(run.find_image(image))
    fitted = fit(own, config=override(config, data__link_roots=[str(run.data_root)]),
                 run=tmp_path / "run")  # fmt: skip
    loaded = Run.load(fitted.path)
    assert loaded.info.data.images == len(run.manifest)
    assert all(loaded.find_image(image).is_file() for image in loaded.manifest["image"])
    assert not loaded.config.data.link_roots
