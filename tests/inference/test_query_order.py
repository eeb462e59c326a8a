"""The query order in assignments and on the command line."""

import json
import shutil

import pandas as pd

from clusterkit import assign, read_assignments


def test_order_in_assignments(assignment, run, config, sample, tmp_path):
    table = read_assignments(assignment.path)
    assert table.columns[-1] == "order"
    asked = table[table["order"].notna()]
    assert len(asked) > 5
    assert set(asked["status"]) <= {"review", "novel"}
    assert sorted(asked["order"]) == list(range(1, len(asked) + 1))
    assert not asked["image_id"].duplicated().any()
    summary = json.loads(assignment.path.with_suffix(".json").read_text())
    sizes = table["cluster"].value_counts()
    assert {c["cluster"]: c["size"] for c in summary["cluster_summaries"]} == {
        int(n): int(size) for n, size in sizes.items() if size >= 2
    }
    # Everything is assigned: there is nothing to ask.
    from clusterkit.config import override

    all_of_it = override(config, assign__max_error="none")
    result = assign(run, sample / "unlabeled.csv", config=all_of_it, out=tmp_path / "a.csv")
    assert result.table["order"].isna().all()


def test_an_older_file_without_order_is_read(assignment, tmp_path):
    old = pd.read_csv(assignment.path, dtype=str, keep_default_na=False).drop(columns="order")
    old.to_csv(tmp_path / "old.csv", index=False)
    table = read_assignments(tmp_path / "old.csv")
    assert table["order"].isna().all()
    assert len(table) == len(assignment.table)


def test_ask_prints_the_first_questions(command, run, sample, assignment, tmp_path):
    arguments = ["assign", str(sample / "unlabeled.csv"), "--run", str(run.path), "--ask", "3",
                 "--out", str(tmp_path / "a.csv")]  # fmt: skip
    code, out, _ = command(*arguments, "--json")
    assert code == 0
    asked = json.loads(out)["ask"]
    table = read_assignments(tmp_path / "a.csv").set_index("order")
    assert [q["image"] for q in asked] == [table.loc[n, "image"] for n in (1, 2, 3)]
    assert list(asked[0]) == ["order", "image", "image_id", "predicted_label", "confidence",
                              "label_set"]  # fmt: skip
    code, out, _ = command(*arguments)
    assert code == 0
    lines = [x for x in out.splitlines() if x.startswith("ask ")]
    assert [line.split()[2] for line in lines] == [q["image"] for q in asked]
    code, out, _ = command(*arguments[:4], *arguments[6:], "--json")
    assert code == 0
    assert "ask" not in json.loads(out)


def test_what_was_skipped_or_rejected_is_not_asked_again(
    command, run, sample, assignment, tmp_path
):
    """As `fit --reviews` notes it in the run: refused still, but without an order."""
    table = assignment.table
    first = table[table["order"].notna()].sort_values("order")["image_id"].tolist()
    folder = tmp_path / "run"
    shutil.copytree(run.path, folder, ignore=shutil.ignore_patterns("assignments*", "audit"))
    info = json.loads((folder / "run.json").read_text())
    info["reviews"] = {"no_label": {first[0]: "skipped", first[1]: "rejected", first[2]: ["x"]}}
    (folder / "run.json").write_text(json.dumps(info))
    code, out, _ = command("assign", sample / "unlabeled.csv", "--run", folder, "--ask", "3",
                           "--out", tmp_path / "a.csv")  # fmt: skip
    assert code == 0
    assert "2 refused images again, which reviewers gave no label: 1 rejected, 1 skipped" in out
    again = read_assignments(tmp_path / "a.csv").set_index("image_id")
    assert again.loc[first[:2], "order"].isna().all()
    assert again.loc[first[0], "reason"].startswith("A reviewer skipped it before, not asked again")
    assert again.loc[first[1], "reason"].startswith("A reviewer rejected it before")
    same = table.set_index("image_id")
    assert (again["status"] == same["status"]).all()
    asked = again["order"].dropna().astype(int)
    assert sorted(asked) == list(range(1, len(asked) + 1))
    assert first[2] in asked.index
