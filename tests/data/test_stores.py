"""Stores by URL: the same images as in a folder, and every refusal and failure in words."""

import asyncio
import os
import pickle
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.asyn import AsyncFileSystem
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clusterkit.config import Config, DataConfig, ImageConfig
from clusterkit.data.file_headers import read_headers
from clusterkit.data.file_state import state_of
from clusterkit.data.files import ImageFolder
from clusterkit.data.guarded_path import GuardedPath
from clusterkit.data.identity import read_identified
from clusterkit.data.imageio.read import read_bytes
from clusterkit.data.inputs import not_read, read_inputs
from clusterkit.data.left_out import NO_PATH, LeftOut
from clusterkit.data.loading import load_batches, read_batch
from clusterkit.data.remote_files import RemotePath, is_remote
from clusterkit.data.remote_places import RemoteLocation, local_place, place_of
from clusterkit.data.stores import NOT_ANSWERED, may_pass
from clusterkit.data.written_names import place_of_record, relative_folder
from clusterkit.errors import DataError, ImageError, OutputError, StoreError
from clusterkit.output import check_writable
from tests.stores import make_mixed, upload


@pytest.fixture
def memory():
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    yield store
    store.store.clear()


class Failing:
    """A store whose reading fails as told, so often."""

    def __init__(self, monkeypatch, *errors):
        self.errors, self.calls = list(errors), 0
        kind = type(fsspec.filesystem("memory"))
        monkeypatch.setattr(kind, "cat_file", self.wrapped(kind.cat_file))
        monkeypatch.setattr("clusterkit.data.stores.time.sleep", lambda _: None)

    def wrapped(self, own):
        def cat_file(store, *given, **options):
            self.calls += 1
            if self.errors:
                raise self.errors.pop(0)
            return own(store, *given, **options)

        return cat_file


def rows_of(source, **settings):
    left_out = LeftOut()
    rows = read_inputs(source, Config(data=DataConfig(**settings)), left_out=left_out)
    counts = {reason: dict(sorted(c.items())) for reason, c in sorted(left_out.counts.items())}
    return rows, counts


def test_a_store_lists_what_a_folder_does(memory, tmp_path):
    folder = make_mixed(tmp_path / "img")
    url = upload(folder, "memory://b/img")
    here, counts = rows_of(folder)
    there, remote_counts = rows_of(url)
    for column in ("image", "group", "frame"):
        assert there[column].tolist() == here[column].tolist()
    assert remote_counts == counts
    assert len(counts) > 3
    assert not_read(there).to_dict() == not_read(here).to_dict()
    assert {"stack.tif", "d/IM0001", "d/called.png"} <= set(there["image"])
    for one, other in zip(here["path"], there["path"], strict=True):
        assert isinstance(other, RemotePath | GuardedPath)
        if isinstance(other, GuardedPath):
            continue
        assert read_bytes(other) == read_bytes(str(other)) == read_bytes(one)
        assert other.size == os.path.getsize(one)


def test_one_image_and_the_places_that_are_none(memory, tmp_path):
    upload(make_mixed(tmp_path / "img"), "memory://b/img")
    rows, _ = rows_of("memory://b/img/empty.png")
    assert rows["image"].tolist() == ["empty.png"]
    memory.pipe_file("/b/t.csv", b"image\na.png\n")
    with pytest.raises(DataError, match="is a table, which is read from a folder of this machine"):
        read_inputs("memory://b/t.csv")
    with pytest.raises(DataError, match="no image in memory://b/none: nothing lies below it"):
        read_inputs("memory://b/none")
    memory.pipe_file("/c/notes.txt", b"a")
    with pytest.raises(DataError, match="no image in memory://c: 1 file is no image"):
        read_inputs("memory://c")


def test_names_that_are_no_paths_are_left_out_and_odd_ones_are_escaped(memory):
    odd = ["n\new.png", "a b.png", "q?x=1#2.png", "star*[a].png", "100%.png", "%0A.png",
           "back\\slash.png"]  # fmt: skip
    wrong = ["a//b.png", "a/../b.png", "./c.png"]
    for name in odd + wrong:
        memory.pipe_file("/keep", name.encode())
        memory.store[f"/b/{name}"] = memory.store["/keep"]
    rows, counts = rows_of("memory://b")
    assert len(set(rows["image"])) == len(odd)
    assert all(image.isprintable() for image in rows["image"])
    assert counts == {NO_PATH: {".png": len(wrong)}}
    memory_names = sorted(read_bytes(path).decode() for path in rows["path"])
    assert memory_names == sorted(odd)


@pytest.mark.parametrize(("source", "said"), [
    ("https://host/a?sig=secret", "https:// is no kind of address"),
    ("simplecache::s3://bucket/a", "is no kind of address"),
    ("github://user:secret@repo", "is no kind of address"),
    ("s3://me:secret@bucket/a", "holds a user, a password or a query"),
    ("az://container@secret/a", "holds a user, a password or a query"),
    ("s3://bucket/a?X-Amz-Signature=secret", "holds a user, a password or a query"),
    ("file://me:secret@host/a", "holds a user, a password or a query"),
    ("s3://", "names no bucket"),
    ("s3://bucket/../a", "has . or .. for a folder"),
])  # fmt: skip
def test_addresses_that_are_refused_show_no_secret(source, said):
    with pytest.raises(DataError, match=said) as caught:
        place_of(source)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("option", ["--run", "--config"])
def test_no_option_shows_a_password(command, option):
    given = {"--run": "r"} | {option: "s3://me:secret@bucket/a"}
    code, _, said = command("assign", "nowhere", *sum(given.items(), ()))
    assert code == 1
    assert "s3:/bucket/a" in said
    assert "secret" not in said


def test_what_a_path_makes_of_an_address_is_the_same_place(tmp_path, monkeypatch):
    place = place_of(Path("s3://bucket/a/"))
    assert isinstance(place, RemoteLocation)
    assert (str(place), place.name, str(place.parent)) == ("s3://bucket/a", "a", "s3://bucket")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:" / "bucket").mkdir(parents=True)
    assert place_of(Path("s3:/bucket")) == Path("s3:/bucket")
    assert str(place_of("memory://a.png").parent) == "memory://"


def test_file_addresses_are_paths(tmp_path):
    picture = tmp_path / "a b%2.png"
    Image.new("RGB", (8, 8)).save(picture)
    assert place_of(f"file://{picture}") == picture
    assert place_of("file://localhost" + str(picture).replace(" ", "%20").replace("%2.", "%252."))
    rows, _ = rows_of(f"file://{tmp_path}")
    assert rows["path"].tolist() == [str(picture)]
    assert place_of("C:/data/a") == place_of("C:/data/a")
    assert not is_remote("/s3://a")


def test_what_reads_and_writes_on_this_machine_alone_says_so(tmp_path):
    with pytest.raises(DataError, match="labels are read from a folder of this machine"):
        local_place("s3://bucket/a", "labels are read")
    with pytest.raises(OutputError, match="is an address, and results are written to a folder"):
        check_writable("s3://bucket/a.csv", "--out FILE.csv")
    assert not list(tmp_path.iterdir())


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: not {"?", "@", "/", "\0"} & set(name) and name not in (".", "..")))  # fmt: skip
def test_a_record_leads_back_to_its_place(name):
    place = RemoteLocation(f"s3://bucket/{name}/in")
    recorded = relative_folder(place, "/anywhere")
    assert recorded.isprintable() or not name.isprintable()
    assert place_of_record(recorded, "/anywhere") == place


def test_a_path_travels_with_what_its_listing_knew():
    path = RemotePath("s3://bucket/a.png", 12, '"abc"')
    other = pickle.loads(pickle.dumps((path, None)))[0]
    assert (other, other.size, other.version) == (path, 12, '"abc"')
    assert state_of(other) == '12 "abc"'
    assert state_of("s3://bucket/a.png") == ""


def test_files_that_vanish_grow_or_are_too_large(memory, monkeypatch):
    memory.pipe_file("/b/a.png", b"12345")
    for size in (4, 6):
        with pytest.raises(ImageError, match="it has changed since it was listed"):
            read_bytes(RemotePath("memory://b/a.png", size))
    with pytest.raises(ImageError, match="file does not exist"):
        read_bytes(RemotePath("memory://b/none.png", 4))
    with pytest.raises(ImageError, match="file does not exist"):
        read_bytes("memory://b/none.png")
    monkeypatch.setattr("clusterkit.data.imageio.read.MAX_BYTES", 4)
    failing = Failing(monkeypatch)
    for path in (RemotePath("memory://b/a.png", 5), "memory://b/a.png"):
        with pytest.raises(ImageError, match="larger than 4 bytes"):
            read_bytes(path)
    assert failing.calls == 0


def test_attempts_are_few_and_only_where_they_help(memory, monkeypatch):
    memory.pipe_file("/b/a.png", b"12345")
    path = RemotePath("memory://b/a.png", 5)
    failing = Failing(monkeypatch, ConnectionError("reset"), OSError(16, "slow down"))
    assert read_bytes(path) == b"12345"
    assert failing.calls == 3
    failing.errors = [OSError(f"https://h/a?sig=secret {n}") for n in range(9)]
    with pytest.raises(ImageError, match=NOT_ANSWERED) as caught:
        read_bytes(path)
    assert failing.calls == 6
    assert "secret" not in str(caught.value)
    failing.errors = [PermissionError("no")]
    with pytest.raises(ImageError, match="the store refuses it to these credentials"):
        read_bytes(path)
    failing.errors = [OSError(22, "The requested range is not satisfiable")]
    with pytest.raises(ImageError, match="it has changed since it was listed"):
        read_bytes(path)
    assert failing.calls == 8


def test_a_listing_that_fails_is_one_line(memory, monkeypatch):
    kind = type(memory)
    for error, said in [
        (FileNotFoundError("no such bucket"), "does not exist; check the names"),
        (PermissionError("https://u:secret@h/?sig=secret"), "may not be listed with these"),
        (OSError("Forbidden: x"), "may not be listed with these"),
        (
            ConnectionError("no route\nto host"),
            "cannot be listed .no route to host.; check the net",
        ),
        (TimeoutError(), "cannot be listed .it takes too long.; check the network"),
    ]:

        def fails(*_, error=error, **__):
            raise error

        monkeypatch.setattr(kind, "find", fails)
        with pytest.raises(DataError, match=said) as caught:
            read_inputs("memory://b/img")
        assert "secret" not in str(caught.value)


def test_a_store_that_falls_silent_while_headers_are_read_stops_the_listing(memory, monkeypatch):
    memory.pipe_file("/b/a.png", b"12345")
    failing = Failing(monkeypatch, *[ConnectionError("reset")] * 4)
    # Else a file of several frames would be taken for one of one.
    with pytest.raises(DataError, match=f"{NOT_ANSWERED}: reset; run the command again"):
        read_inputs("memory://b")
    assert failing.calls == 4
    failing.errors = [PermissionError("no")]
    assert len(read_inputs("memory://b")) == 1


def test_a_listing_that_never_ends_ends(monkeypatch):
    class Silent(AsyncFileSystem):
        async def _info(self, path, **_):
            return {"type": "directory"}

        async def _find(self, path, **_):
            await asyncio.sleep(60)

    monkeypatch.setattr("clusterkit.data.remote_places.open_store", lambda _: Silent())
    monkeypatch.setattr("clusterkit.data.remote_places.LISTING", 0.1)
    monkeypatch.setattr("clusterkit.data.stores.ATTEMPT_TIME", 0.1)
    with pytest.raises(DataError, match=r"cannot be listed \(it takes too long\)"):
        read_inputs("s3://bucket/img")


def test_files_that_may_not_be_opened_are_not_called_no_images(memory, monkeypatch):
    memory.pipe_file("/b/IM0001", b"12345")
    Failing(monkeypatch, PermissionError("no"))
    with pytest.raises(DataError, match="no image in memory://b: 1 file cannot be opened"):
        read_inputs("memory://b")


@pytest.mark.parametrize("name", ["IM0001", "a.png"])
def test_credentials_that_have_expired_stop_the_command(memory, monkeypatch, name):
    memory.pipe_file(f"/b/{name}", b"12345")
    failing = Failing(monkeypatch, PermissionError("The provided token has expired."))
    said = "the credentials for the store have expired, at memory://b/"
    with pytest.raises(StoreError, match=said):
        read_inputs("memory://b")
    failing.errors = [PermissionError("The provided token has expired.")]
    with pytest.raises(StoreError, match=said):
        read_batch([(RemotePath(f"memory://b/{name}", 5), None)], ImageConfig(size=16), 0, 1)


@pytest.mark.parametrize("name", ["x:y.png", "x:/y.png", "%2e%2e/a.png", "q?x#1.png", " a.png"])
def test_names_that_are_listed_are_found_again(memory, name):
    memory.pipe_file(f"/b/{name}", b"12345")
    (image,) = read_inputs("memory://b")["image"]
    assert read_bytes(ImageFolder(place_of("memory://b")).find(image, "row 1")) == b"12345"


@pytest.mark.skipif(os.name == "nt", reason="a colon is no letter of a name")
def test_a_colon_in_a_name_is_no_drive(tmp_path):
    assert ImageFolder(tmp_path).find("x:y.png", "row 1") == tmp_path / "x:y.png"
    with pytest.raises(DataError, match="leaves the data root"):
        ImageFolder(tmp_path).find("C:\\y.png", "row 1")


def test_a_package_that_is_missing_is_named(monkeypatch):
    def missing(*_, **__):
        raise ImportError("no module")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    said = r"gs:// needs the package gcsfs: pip install 'clusterkit\[gs\]'"
    with pytest.raises(DataError, match=said):
        read_inputs("gs://bucket/a")
    # On a worker of another machine.
    with pytest.raises(ImageError, match=said):
        read_bytes(RemotePath("gs://bucket/a.png", 3))


def test_headers_come_in_few_requests(memory, monkeypatch, tmp_path):
    upload(make_mixed(tmp_path / "img"), "memory://b/img")
    rows, _ = rows_of("memory://b/img")
    paths = rows["path"].drop_duplicates().tolist()
    asked = []
    kind = type(memory)
    monkeypatch.setattr(kind, "info", lambda *_, **__: pytest.fail("a request an object"))
    own = kind.cat_ranges
    monkeypatch.setattr(kind, "cat_ranges",
                        lambda *a, **k: asked.append(len(a[1])) or own(*a, **k))  # fmt: skip
    told = []
    headers = read_headers(paths, progress=lambda *said: told.append(said))
    assert len(asked) == 1
    assert told[-1][0] == "headers"
    frames = dict(zip(map(str, paths), headers, strict=True))
    assert frames["memory://b/img/stack.tif"].frames == 3
    assert frames["memory://b/img/d/IM0001"].frames == 3
    assert frames["memory://b/img/empty.png"] is None


def test_frames_of_a_file_are_one_request(memory, monkeypatch, tmp_path):
    upload(make_mixed(tmp_path / "img"), "memory://b/img")
    rows, _ = rows_of("memory://b/img")
    stack = rows[rows["image"] == "stack.tif"]
    failing = Failing(monkeypatch)
    ids = [read_identified(*cells)[1] for cells in zip(stack["path"], stack["frame"], strict=True)]
    assert [identity.partition("#")[2] for identity in ids] == ["0", "1", "2"]
    assert failing.calls == 1


def test_a_table_names_files_below_the_root(memory, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a/0.png", "a/1.png", "a/b/2.png", "a/q?x=1.png"):
        memory.pipe_file(f"/b/{name}", rng.bytes(20))
    table = tmp_path / "t.csv"
    cells = ["a/0.png", "memory://b/a/1.png", "a//b/2", "a/none.png", "../x.png",
             "memory://other/a.png", "https://h/a.png?sig=secret", "//me:secret@h/a.png",
             "memory://b/a/none.png?sig=secret", "memory://b/a/q?x=1.png"]  # fmt: skip
    table.write_text("image\n" + "\n".join(cells))
    rows, _ = rows_of(table, images="memory://b", image_ending=".png")
    paths = dict(zip(rows["image"], rows["path"], strict=True))
    for image in ("a/0.png", "a/1.png", "a/b/2.png", "a/q?x=1.png"):
        assert paths[image].size == 20
    assert paths["a/none.png"].reason == "file does not exist"
    assert [paths[image].refused for image in ("../x.png", "memory://other/a.png")] == [True] * 2
    assert "secret" not in "".join([*paths, *paths.values()])


def test_a_table_of_addresses_without_their_root_says_what_to_give(tmp_path):
    (tmp_path / "t.csv").write_text("image\ns3://bucket/a.png\n")
    with pytest.raises(DataError, match="is an address, which is read only below --images URL"):
        read_inputs(tmp_path / "t.csv")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_store_that_has_stopped_to_answer_stops_the_command(memory, monkeypatch, workers):
    refs = []
    for number in range(20):
        memory.pipe_file(f"/b/{number}.png", b"12345")
        refs.append((RemotePath(f"memory://b/{number}.png", 5), None))
    Failing(monkeypatch, *[ConnectionError("reset")] * 99)
    said = "^the store does not answer: reset, for 5 files one after the other, the last memory://"
    with pytest.raises(StoreError, match=said) as caught:
        list(load_batches(refs, ImageConfig(size=16), 8, workers))
    assert "Traceback" not in str(caught.value)


def test_few_files_that_no_store_answers_for_are_failed_rows(memory, monkeypatch):
    failing = Failing(monkeypatch)
    errors = []
    for number in range(9):
        memory.pipe_file(f"/b/{number}.png", b"12345")
        failing.errors = [ConnectionError("reset")] * (0 if number % 4 == 3 else 3)
        batch = read_batch([(RemotePath(f"memory://b/{number}.png", 5), None)],
                           ImageConfig(size=16), 0, 1)  # fmt: skip
        errors.append(str(batch.errors[0]))
    assert [may_pass(error) for error in errors] == [number % 4 != 3 for number in range(9)]
