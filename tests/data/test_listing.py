"""Listing of folders: every file is an image or is counted; links are followed as the rules say."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clusterkit.config import DataConfig
from clusterkit.data.files import ImageFolder, find_images
from clusterkit.data.identity import read_identified
from clusterkit.data.inputs import not_read, read_inputs
from clusterkit.data.left_out import (
    AGAIN,
    CLOSED_FILE,
    DEAD,
    LINKED,
    MISNAMED,
    NO_IMAGE,
    OUTSIDE,
    RUNS,
    SYSTEM,
    TEXT_LINKS,
    UNREAD,
    LeftOut,
)
from clusterkit.data.link_rules import LinkRules
from clusterkit.data.listing import list_images
from clusterkit.data.manifest import read_manifest, read_rows
from clusterkit.data.manifest_rows import whole_config
from clusterkit.errors import DataError, ImageError

NOT_READ = ("scan.nii.gz", "b/slide.svs", "b/SLIDE.NDPI", "c.czi", "d.lif", "e.nrrd", "f.mha",
            "g.mp4", "h.jxl", "i.nii", "j.dcm.gz")  # fmt: skip
OTHERS = ("labels.csv", "notes.txt", "b/x.json", "y.npy", "z.zip", "no ending", "w.xyz", "t.tar.gz")


def picture(path: Path, grey: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), grey, dtype=np.uint8)).save(path)
    return path


def put(root: Path, names, content: bytes = b"nothing that is known") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


@pytest.fixture
def data(tmp_path) -> Path:
    for i in range(4):
        picture(tmp_path / "data" / "ab"[i % 2] / f"{i}.png", i)
    return tmp_path / "data"


def test_every_file_is_an_image_or_is_counted(data):
    put(data, NOT_READ + OTHERS)
    left_out = LeftOut()
    images = find_images(data, left_out)
    assert len(images) == 4
    files = sum(len(names) for _, _, names in os.walk(data))
    assert len(images) + left_out.total == files
    assert left_out.counts[UNREAD].total() == len(NOT_READ)
    assert left_out.counts[NO_IMAGE].total() == len(OTHERS)
    assert left_out.counts[UNREAD][".nii.gz"] == 1
    assert left_out.counts[NO_IMAGE]["no ending"[:0]] == 1


def test_a_folder_is_in_the_order_of_a_table_of_the_same_images(data, tmp_path):
    """A folder's rows are not sorted anew; a table's are."""
    for name in ("B.png", "b/ä.png", "a-b.png", "a/#1.png", "a.png"):
        picture(data / name, len(name))
    rows = read_inputs(data)
    names = rows["image"].sample(frac=1, random_state=0)
    (tmp_path / "t.csv").write_text("\n".join(["image", *names]), encoding="utf-8")
    table = read_inputs(tmp_path / "t.csv", DataConfig(images=str(data)))
    assert rows[["image", "group", "frame"]].equals(table[["image", "group", "frame"]])
    assert rows.index.equals(table.index)
    assert list(rows.dtypes) == [object] * 4


def test_a_run_among_the_images_is_left_out_whole(data):
    for name in ("run.json", "gallery.safetensors", "a.txt"):
        (data / "r").mkdir(exist_ok=True)
        (data / "r" / name).touch()
    picture(data / "r" / "audit" / "x.png", 1)
    picture(data / "r" / "y.png", 2)
    left_out = LeftOut()
    assert len(find_images(data, left_out)) == 4
    assert left_out.total == 1


def test_images_to_assign_are_rows_whatever_their_type(data):
    put(data, NOT_READ + OTHERS)
    left_out = LeftOut()
    rows = read_inputs(data, None, None, left_out)
    assert len(rows) == 4 + len(NOT_READ)
    assert left_out.total == len(OTHERS)
    assert not_read(rows).total == len(NOT_READ)
    paths = dict(zip(rows["image"], rows["path"], strict=True))
    for name, words in [("b/slide.svs", r"whole-slide image \(\.svs\)"), ("scan.nii.gz", "NIfTI"),
                        ("g.mp4", "film")]:  # fmt: skip
        with pytest.raises(ImageError, match=f"{words}.*does not read"):
            read_identified(paths[name])
    # Learned from they are not.
    rows = read_rows(data, whole_config(DataConfig(unlabeled=str(data))))
    assert set(rows["image"].str[-4:]) == {".png"}


def test_a_table_may_name_any_file_and_learns_why_it_is_not_read(data):
    put(data, ["b/slide.svs", "gone/x.svs"][:1])
    shutil.copy(data / "a" / "0.png", data / "png-inside.svs")
    (data / "new.csv").write_text("image\nb/slide.svs\npng-inside.svs\ngone.svs\n")
    paths = read_inputs(data / "new.csv").set_index("image")["path"]
    read_identified(paths["png-inside.svs"])
    with pytest.raises(ImageError, match="whole-slide"):
        read_identified(paths["b/slide.svs"])
    with pytest.raises(ImageError, match="does not exist"):
        read_identified(paths["gone.svs"])


@pytest.mark.parametrize("names", [NOT_READ, OTHERS, ["only/slide.svs"]])
def test_a_folder_without_images_says_what_is_there(tmp_path, names):
    put(tmp_path, names)
    with pytest.raises(DataError, match=rf"no image in .*{len(names)} files? (are|is) no image"):
        find_images(tmp_path)


def test_what_systems_put_beside_images_is_no_class(data):
    for folder in ("@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", "__MACOSX", "a/@EADIR",
                   "System Volume Information", ".git", ".ipynb_checkpoints"):  # fmt: skip
        picture(data / folder / "thumb.png")
    put(data, [".DS_Store", "a/Thumbs.db", "desktop.ini", "._0.png", ".gitignore"])
    (data / "runs" / "one").mkdir(parents=True)
    put(data, ["runs/one/run.json", "runs/one/gallery.safetensors"])
    picture(data / "runs" / "one" / "audit" / "thumbs" / "x.png")
    left_out = LeftOut()
    assert [i[0] for i in find_images(data, left_out)] == ["a", "a", "b", "b"]
    assert left_out.counts[SYSTEM].total() == 7
    assert set(left_out.counts) == {SYSTEM, RUNS}


def test_images_that_are_not_called_so(data):
    shutil.copy(data / "a" / "0.png", data / "IMG0001")
    left_out = LeftOut()
    assert len(find_images(data, left_out)) == 4
    assert left_out.sentences() == [
        "1 file is an image but has no such ending (.png, .jpg): no ending 1"
    ]
    assert left_out.counts[MISNAMED].total() == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read(data):
    put(data, ["locked"])
    (data / "locked").chmod(0)
    left_out = LeftOut()
    find_images(data, left_out)
    assert left_out.counts[CLOSED_FILE].total() == 1


def test_counts_survive_their_record(data):
    put(data, NOT_READ + OTHERS)
    left_out = LeftOut()
    find_images(data, left_out)
    assert LeftOut.of_record(left_out.to_dict()).sentences() == left_out.sentences()


# --- links ---


def test_links_to_folders_are_named_and_not_followed(data, caplog):
    picture(data.parent / "store" / "c" / "9.png")
    (data / "c").symlink_to(Path("..") / "store" / "c")
    (data / "d").symlink_to("a")
    left_out = LeftOut()
    assert len(find_images(data, left_out)) == 4
    assert left_out.counts[OUTSIDE] == {"c": 1}
    assert left_out.counts[LINKED] == {"d": 1}
    assert "1 links to folders are not followed, e.g. d: give --follow-links" in caplog.text
    assert f"--link-root {data.parent / 'store' / 'c'}" in caplog.text


def test_links_to_nothing_are_counted_as_such(data):
    """As classes in the store of DVC are that has not been fetched."""
    (data / "c").symlink_to(Path("..") / "store" / "c")
    (data / "gone").symlink_to("nowhere")
    (data / "self").symlink_to("self")
    left_out = LeftOut()
    assert (
        len(list_images(data, left_out, LinkRules(True, (str(data.parent.resolve()),))).images) == 4
    )
    assert left_out.counts == {DEAD: {"c": 1, "gone": 1, "self": 1}}
    assert left_out.sentences()[0].startswith("3 links lead to nothing: what they lead to has been")


def test_links_are_followed_into_folders_that_are_named(data, caplog):
    picture(data.parent / "store" / "c" / "9.png")
    (data / "c").symlink_to(Path("..") / "store" / "c")
    with pytest.raises(DataError, match=r"--link-root does not exist"):
        LinkRules.of(DataConfig(link_roots=[str(data / "none")]))
    store = str(data.parent / "store")
    for config in (DataConfig(link_roots=[store]), DataConfig(follow_links=True, unlabeled=store)):
        rows = read_rows(data, whole_config(config))
        rows = rows[rows["label"] == "c"]
        assert rows["image"].tolist() == ["c/9.png"]
        read_identified(rows["path"].iloc[0])
    assert "c/9.png" not in read_rows(data, whole_config(DataConfig(follow_links=True)))["image"]
    assert "leads out" in caplog.text or "lead out" in caplog.text


def test_circles_of_links_end(data):
    (data / "a" / "up").symlink_to("..")
    (data / "a" / "self").symlink_to("self")
    for i in range(6):
        (data / f"ring{i}").mkdir()
        picture(data / f"ring{i}" / "x.png", i)
        for j in range(6):
            (data / f"ring{i}" / f"to{j}").symlink_to(Path("..") / f"ring{j}")
    left_out = LeftOut()
    found = list_images(data, left_out, LinkRules(True)).images
    assert len([i for i in found if i.endswith(".png")]) == 4 + 6
    assert left_out.counts[AGAIN].total() == 37


def test_each_name_of_a_stored_file_is_an_image(data):
    """As git-annex and DVC have them: links into a hidden store, two names for equal files."""
    store = data / ".git" / "annex" / "objects" / "f7" / "key.png"
    picture(store, 77)
    for name in ("a/annexed.png", "b/also.png"):
        (data / name).symlink_to(os.path.relpath(store, (data / name).parent))
    (data / "a" / "not-fetched.png").symlink_to("../.git/annex/objects/none.png")
    images = find_images(data)
    assert {"a/annexed.png", "b/also.png", "a/not-fetched.png"} <= set(images)
    cache = data.parent / "cache"
    shutil.move(store, picture(cache / "00" / "aa.png"))
    for name in ("a/annexed.png", "b/also.png"):
        (data / name).unlink()
        (data / name).symlink_to(cache / "00" / "aa.png")
    assert not {"a/annexed.png", "b/also.png"} & set(find_images(data))
    rules = LinkRules.of(DataConfig(link_roots=[str(cache)]))
    assert {"a/annexed.png", "b/also.png"} <= set(list_images(data, None, rules).images)


def test_links_that_were_copied_as_text(data, caplog):
    picture(data.parent / "store" / "c" / "9.png")
    (data / "c").write_text("../store/c")
    left_out = LeftOut()
    find_images(data, left_out)
    assert left_out.counts[TEXT_LINKS] == {"c": 1}
    assert "copied as text" in caplog.text


@pytest.mark.parametrize("folder", [False, True])
def test_a_link_that_is_changed_after_it_was_listed(data, folder):
    secret = picture(data.parent / "secret" / "0.png", 200)
    (data / "c").mkdir()
    inner = picture(data / "hidden" / "0.png", 3)
    link = data / "c" / "in" if folder else data / "c" / "link.png"
    link.symlink_to(inner.parent if folder else inner)
    shutil.move(data / "hidden", data / ".hidden")
    link.unlink()
    link.symlink_to(data / ".hidden" if folder else data / ".hidden" / "0.png")
    name = "c/in/0.png" if folder else "c/link.png"
    rows = read_inputs(data, DataConfig(follow_links=True)).set_index("image")
    read_identified(rows.loc[name, "path"])
    link.unlink()
    link.symlink_to(secret.parent if folder else secret)
    with pytest.raises(ImageError, match="leads out"):
        read_identified(rows.loc[name, "path"])
    # Not by a table of results either.
    with pytest.raises(DataError, match="leaves"):
        ImageFolder(data).find(name, "a.csv")
    assert ImageFolder(data, (secret.parent,)).find(name, "a.csv").is_file()


def test_a_csv_may_name_links_into_named_folders(data):
    outside = picture(data.parent / "store" / "9.png", 9)
    (data / "l.png").symlink_to(outside)
    table = data / "labels.csv"
    table.write_text("image,label\nl.png,x\na/0.png,y\n")
    with pytest.raises(DataError, match=r"link that leaves .* --link-root"):
        read_manifest(table)
    assert len(read_manifest(table, DataConfig(link_roots=[str(outside.parent)]))) == 2


def test_heic_is_read_where_its_package_is(data):
    heif = pytest.importorskip("pillow_heif")
    picture(data / "a" / "x.png", 90)
    heif.from_pillow(Image.open(data / "a" / "x.png").convert("RGB")).save(data / "a" / "x.heic")
    assert "a/x.heic" in find_images(data)
    from clusterkit.data.imageio.read import load_image

    assert load_image(data / "a" / "x.heic").size == (8, 8)
