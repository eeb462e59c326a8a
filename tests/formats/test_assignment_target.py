"""Assignments replace those of the same input, and nothing else."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.data.written_names import relative_folder
from clusterkit.errors import RunError
from clusterkit.formats.assignment_target import check_target
from clusterkit.formats.csv_text import safe_csv_text


def write(out: Path, images: list[str], root: str) -> None:
    rows = [f"{safe_csv_text(image)},,review" for image in images]
    out.write_text("\n".join(["image,image_id,status,x", *rows]) + "\n")
    record = {"input_root": root, "promise_text": ""}
    out.with_suffix(".json").write_text(json.dumps(record))


@given(old=st.sets(st.sampled_from("abcdef"), min_size=1), new=st.sets(st.sampled_from("abcdef")))
def test_replaced_only_where_every_image_is_there_again(tmp_path_factory, old, new):
    folder = tmp_path_factory.mktemp("t")
    write(folder / "a.csv", sorted(old), "in")
    target = (folder / "a.csv", sorted(new), folder / "in", folder / "in")
    if old <= new:
        check_target(*target)
        return
    with pytest.raises(RunError, match=f"{len(old - new)} of its {len(old)} images") as error:
        check_target(*target)
    assert "batches/in/assignments.csv" in str(error.value)
    check_target(*target, overwrite=True)


def test_the_same_names_in_another_folder_are_another_input(tmp_path):
    write(tmp_path / "a.csv", ["1.png"], "week1")
    check_target(tmp_path / "a.csv", ["1.png"], tmp_path / "week1", tmp_path / "week1")
    with pytest.raises(RunError, match="another input"):
        check_target(tmp_path / "a.csv", ["1.png"], tmp_path / "week2", tmp_path / "week2")


@pytest.mark.parametrize("certified", [True, False])
def test_a_certificate_is_not_replaced_unasked(tmp_path, certified):
    write(tmp_path / "a.csv", ["1.png"], "week 1")
    target = (tmp_path / "a.csv", ["1.png"], tmp_path / "week 1", tmp_path / "week 1")
    check_target(*target)
    record = json.loads((tmp_path / "a.json").read_text()) | {"certificate": None}
    (tmp_path / "a.json").write_text(json.dumps(record))
    check_target(*target)
    record["certificate"] = {"certified": certified}
    (tmp_path / "a.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="that a person has checked, and their certificate") as found:
        check_target(*target)
    # What it says to do works.
    free = tmp_path / "batches" / "week 1" / "assignments.csv"
    assert f"--out '{free}'" in str(found.value)
    check_target(free, *target[1:])
    check_target(*target, overwrite=True)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "image;image_id;status\nx;;review\n"),
        ("a.csv", "name,age\nme,3\n"),
        ("a.csv", "\x89PNG"),
        ("a.json", '{"mine": 1}'),
        ("a.json", "[1, 2]"),
        ("a.json", "no JSON"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_somebody_s_file_is_never_replaced(tmp_path, name, content, overwrite):
    (tmp_path / name).write_text(content)
    with pytest.raises(RunError, match=r"is not (from assign|replaced)|give another --out"):
        check_target(tmp_path / "a.csv", ["x"], tmp_path, tmp_path, overwrite)
    assert (tmp_path / name).read_text() == content


@pytest.mark.parametrize("name", ["scan.png", "a.json", "assignments", "a.tsv"])
def test_the_name_of_a_table_ends_in_csv(tmp_path, name):
    with pytest.raises(RunError, match=r"does not end in \.csv"):
        check_target(tmp_path / name, ["x"], tmp_path, tmp_path)


def test_a_folder_whose_name_is_written_otherwise_is_the_same_input(tmp_path):
    folder = tmp_path / "gr\udcf6sse"
    write(tmp_path / "a.csv", ["1.png"], relative_folder(folder, tmp_path))
    check_target(tmp_path / "a.csv", ["1.png"], folder, folder)
