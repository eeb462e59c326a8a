"""Layouts of tables of images: labels in columns, names of files, splits and frames."""

import shlex
import unicodedata

import numpy as np
import pytest
from PIL import Image

from clusterkit.config import DataConfig
from clusterkit.data.inputs import read_inputs
from clusterkit.data.manifest import read_manifest
from clusterkit.data.one_hot import one_hot_labels
from clusterkit.data.several_labels import several_labels
from clusterkit.errors import DataError


def picture(path, number=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), number, dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    for number in range(4):
        picture(tmp_path / "data" / "img" / f"{number}.png", number)
    return tmp_path / "data"


def table(folder, *rows):
    (folder / "l.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "l.csv"


def test_columns_of_zeros_and_ones_are_labels(folder):
    rows = ["img/0.png;1,0;0,0;", "img/1.png;0;True;FALSE", "img/2.png;;;1", "img/3.png;;;"]
    path = table(folder, "image;MEL;NV;B C", *rows)
    manifest = read_manifest(path, DataConfig(label_columns=["MEL", "NV", "B C"]))
    assert manifest["label"].tolist() == ["MEL", "NV", "B C", None]
    with pytest.raises(DataError, match="look like one column a class: give --label-columns "
                       "'MEL,NV,B C'"):  # fmt: skip
        read_manifest(path)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1 0 1", r"line 7: 2 ones: A, C; an image has one label"),
        ("0 2 0", r"line 7: '2' in column 'B'"),
        ("0 0 0.5", r"line 7: '0\.5' in column 'C'"),
        ("0 0 nan", r"line 7: 'nan' in column 'C'"),
        ("1 -1 0", r"line 7: '-1' in column 'B'"),
        ("0 0 0", r"line 7: no 1 in the label columns"),
    ],
)
def test_a_row_with_anything_but_one_1_is_named(row, said):
    columns = [[cell] for cell in row.split()]
    with pytest.raises(DataError, match=said):
        one_hot_labels(["A", "B", "C"], columns, "t.csv", [7])


def test_label_columns_have_to_be_there_and_alone(folder, command):
    path = table(folder, "image,MEL,NV", "img/0.png,1,0", "img/1.png,0,1")
    code, _, said = command("inspect", path, "--label-columns", "MEL,BCC")
    assert (code, "no column 'BCC'" in said) == (1, True)
    code, out, _ = command("inspect", path, "--label-columns", "MEL, NV")
    assert (code, "2: 1 MEL, 1 NV" in out) == (0, True)
    with pytest.raises(DataError, match="leave out --label-column or --label-columns"):
        read_manifest(path, DataConfig(label_column="dx", label_columns=["MEL", "NV"]))


def test_names_without_an_ending(folder):
    path = table(folder, "image,label", "img/0,a", "img/1,b")
    assert read_manifest(path)["image"].tolist() == ["img/0.png", "img/1.png"]
    picture(folder / "img" / "1.jpg", 9)
    with pytest.raises(DataError, match=r"line 3: '1' may be '1\.jpg' or '1\.png'; .*--image-end"):
        read_manifest(path)
    for ending in (".png", "png"):
        manifest = read_manifest(path, DataConfig(image_ending=ending))
        assert manifest["image"].tolist() == ["img/0.png", "img/1.png"]


@pytest.mark.parametrize("name", ["Präparat Å 1", "한국어", "ÄÖÜ"])
@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_another_form_or_case_are_found(folder, name, forms):
    written, called = (unicodedata.normalize(form, name) for form in forms)
    picture(folder / called / (called + ".png"), 7)
    path = table(folder, "image,label", f"{written}/{written}.PNG,a", "IMG/0.Png,b")
    images = set(read_manifest(path)["image"])
    assert images == {f"{called}/{called}.png", "img/0.png"}


def test_two_files_that_may_be_meant_are_an_error(folder):
    picture(folder / "img" / "A.png", 7)
    picture(folder / "img" / "a.PNG", 8)
    with pytest.raises(DataError, match=r"'a\.png' may be 'A\.png' or 'a\.PNG'"):
        read_inputs(table(folder, "image", "img/a.png"))


def test_another_file_that_may_be_meant_is_named_and_not_taken(folder, caplog):
    rows = read_inputs(table(folder, "image", "img/0.jpg", "img/1.png"))
    assert rows["image"].tolist() == ["img/0.jpg", "img/1.png"]
    assert "'img/0.jpg': there is '0.png'" in caplog.text


def test_paths_that_end_inside_the_root_are_relative_to_it(folder, tmp_path):
    base = folder.resolve()
    (tmp_path / "link").symlink_to(folder)
    cells = [f"{base}/img/0.png", f"file://{base}/img/../img/1.png", "img/../img//2.png",
             f"{tmp_path}/link/img/3.png"]  # fmt: skip
    path = table(folder, "image,label", *(f"{cell},x" for cell in cells))
    manifest = read_manifest(path, DataConfig(images=str(folder)))
    assert manifest["image"].tolist() == [f"img/{n}.png" for n in range(4)]
    assert [p.count("..") for p in manifest["path"]] == [0] * 4


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("https://pacs.example.org/0.png", "an address, and addresses are not read; download"),
        ("s3://bucket/img/0.png", "is an address"),
        ("gs://bucket/img/0.png", "is an address"),
        ("wadouri:https://pacs.example.org/0", "is an address"),
        ("C:\\data\\img\\0.png", "relative to it: 'img/0.png' is there"),
        ("\\\\server\\share\\img\\0.png", "relative to it: 'img/0.png' is there"),
        ("/mnt/other/img/0.png", "relative to it: 'img/0.png' is there"),
        ("file:///mnt/other/x.png", "name that folder with --images"),
        ("img/../../secret.png", "leaves the data root"),
        ("..", "leaves the data root"),
    ],
)
def test_what_is_outside_says_what_helps(folder, cell, said):
    picture(folder.parent / "secret.png")
    with pytest.raises(DataError) as error:
        read_inputs(table(folder, "image", cell))
    assert said in str(error.value)
    assert "l.csv, line 2: " in str(error.value)


def test_the_root_that_an_error_names_works(folder, tmp_path):
    picture(tmp_path / "else" / "x" / "1.png")
    picture(tmp_path / "else" / "y" / "2.png")
    cells = [f"{tmp_path}/else/x/1.png", f"{tmp_path}/else/y/2.png"]
    path = table(folder, "image", *cells)
    with pytest.raises(DataError, match=r"e\.g\. --images ") as error:
        read_inputs(path)
    root = str(error.value).rsplit("--images ", 1)[1]
    assert read_inputs(path, DataConfig(images=root))["image"].tolist() == ["x/1.png", "y/2.png"]


def test_the_root_of_names_that_go_up_works(folder, tmp_path):
    lists = tmp_path / "my lists"
    lists.mkdir()
    path = table(lists, "image", "../data/img/0.png", "../data/img/1.png")
    with pytest.raises(DataError, match="leaves the data root") as error:
        read_inputs(path)
    (root,) = shlex.split(str(error.value).rsplit("--images ", 1)[1])
    assert read_inputs(path, DataConfig(images=root))["image"].tolist() == [
        "img/0.png",
        "img/1.png",
    ]


def test_no_root_is_named_where_none_would_do(folder, tmp_path):
    picture(tmp_path / "else" / "1.png")
    cells = ["../data/img/0.png", "../else/1.png"]
    (tmp_path / "lists").mkdir()
    with pytest.raises(DataError, match=r"name that folder with --images$"):
        read_inputs(table(tmp_path / "lists", "image", *cells))


def test_a_link_that_leaves_the_root_stays_refused(folder, tmp_path):
    picture(tmp_path / "secret.png")
    (folder / "img" / "link.png").symlink_to(tmp_path / "secret.png")
    for cell in ("img/link.png", "img/LINK.png", "img/link", f"{folder}/img/link.png"):
        with pytest.raises(DataError, match="leaves the data root"):
            read_inputs(table(folder, "image", cell))


def test_splits_by_any_name(folder):
    names = ["Training", "VAL", "hold_out", ""]
    path = table(folder, "image,label,split", *(f"img/{n}.png,x,{s}" for n, s in enumerate(names)))
    assert read_manifest(path)["split"].tolist() == ["train", "valid", "test", None]


@pytest.mark.parametrize(("one", "other"), [("train", "test"), ("dev", "testing")])
def test_a_patient_is_on_one_side_only(folder, one, other):
    path = table(
        folder, "image,label,group,split", f"img/0.png,x,p,{one}", f"img/1.png,y,p,{other}"
    )
    with pytest.raises(DataError, match=r"group 'p' is in both .* and test"):
        read_manifest(path)


@pytest.mark.parametrize("frames", [("100", "101"), ("0", "1"), ("00:00:00", "00:00:01")])
def test_a_films_frame_numbers_are_no_frames_of_files(folder, frames, caplog):
    rows = [f"img/{n}.png,{frame}" for n, frame in enumerate(frames)]
    assert read_inputs(table(folder, "image,frame", *rows))["frame"].tolist() == [None, None]
    assert "column frame" in caplog.text


def test_a_stack_beside_files_of_one_image_keeps_its_frames(folder):
    pages = [Image.fromarray(np.full((4, 4), n, dtype=np.uint8)) for n in range(3)]
    pages[0].save(folder / "img" / "s.tif", save_all=True, append_images=pages[1:])
    path = table(folder, "image,frame", "img/0.png,7", "img/s.tif,2")
    assert read_inputs(path)["frame"].tolist() == ["7", "2"]


@pytest.mark.parametrize(
    "labels",
    [
        ["a|b"],
        ["a", "b", "a;b"],
        ["a", "b", "B, A"],
        ["a;b", "b;c"],
        ["['a']", "['b']", "['a', 'b']"],
    ],
)
def test_several_labels_in_a_cell_are_named(labels):
    said = several_labels(labels)
    assert "clusterkit does not do several" in said
    assert not any(word in said for word in ("another character", "class"))


@pytest.mark.parametrize(
    "labels",
    [
        ["grade 1, left", "grade 2, left", "grade 1, right"],
        ["a", "b", "a/b", "a+b"],
        ["tumor; benign", "tumor; malign"],
        [";", ",", "a;", "a"],
        [],
    ],
)
def test_names_of_classes_with_separators_stay(labels):
    assert several_labels(labels) == ""
