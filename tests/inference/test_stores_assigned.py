"""`assign` and `embed` of images in a store: the same bytes as of a folder, and what follows."""

import json

import fsspec
import pytest

from clusterkit import assign, embed
from clusterkit.config import override
from clusterkit.data.features.table import read_features
from clusterkit.data.imageio.read import read_bytes
from clusterkit.data.remote_files import RemotePath
from clusterkit.errors import ClusterkitError, DataError, StoreError
from tests.stores import make_mixed, upload

# boto's own affair.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

BUCKET = "clusterkit-tests"


@pytest.fixture(scope="module")
def folder(sample, tmp_path_factory):
    """Images of the sample and files of all kinds."""
    root = make_mixed(tmp_path_factory.mktemp("mixed") / "img")
    for number, path in enumerate(sorted((sample / "unlabeled").rglob("*.png"))[:24]):
        inner = root / "sample" / f"{number}.png"
        inner.parent.mkdir(exist_ok=True)
        inner.write_bytes(path.read_bytes())
    return root


@pytest.fixture(scope="module")
def memory(folder):
    store = fsspec.filesystem("memory")
    store.store.clear()
    yield upload(folder, "memory://b/img")
    store.store.clear()


@pytest.fixture(scope="module")
def here(run, config, folder, tmp_path_factory):
    return assign(run, folder, config=config, out=tmp_path_factory.mktemp("here") / "a.csv")


@pytest.fixture(scope="module")
def there(run, config, memory, tmp_path_factory):
    return assign(
        run, memory, config=config, out=tmp_path_factory.mktemp("there") / "assignments.csv"
    )


@pytest.fixture(scope="module")
def s3(folder):
    """URL of the folder in a server that speaks as S3 does, on this machine alone."""
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed: clusterkit[s3]")
    server = pytest.importorskip("moto.server", reason="no moto: see CONTRIBUTING.md")
    running = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{running.get_host_and_port()[1]}")
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        fsspec.filesystem("s3").mkdir(BUCKET)
        yield upload(folder, f"s3://{BUCKET}/img")
        s3fs.S3FileSystem.clear_instance_cache()
    running.stop()


def test_the_table_is_the_same_byte_for_byte(here, there, memory):
    assert there.path.read_bytes() == here.path.read_bytes()
    record, other = there.record, here.record
    assert (record.input_root, record.left_out, record.not_read, record.status) == (
        memory, other.left_out, other.not_read, other.status)  # fmt: skip
    assert len(there.table) > 30
    assert json.loads(there.path.with_suffix(".json").read_text())["input_root"] == memory


def test_s3_gives_the_same_table_in_several_processes(run, config, s3, here, tmp_path):
    config = override(config, assign__workers=2)
    found = assign(run, s3, config=config, out=tmp_path / "a.csv")
    assert found.path.read_bytes() == here.path.read_bytes()
    written = "".join(
        path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()
    )
    assert "hush-hush" not in written
    assert "nobody" not in written


def test_vectors_are_the_same(run, config, folder, memory, tmp_path):
    one = read_features(embed(folder, tmp_path / "a.npz", run=run).path)
    other = read_features(embed(memory, tmp_path / "b.npz", run=run).path)
    assert other.images == one.images
    assert other.ids == one.ids
    assert (other.vectors == one.vectors).all()


def test_an_interrupted_call_goes_on_and_a_changed_object_is_read_anew(
    run, config, folder, tmp_path, monkeypatch
):
    url = upload(folder, "memory://changing/img")
    store, out = fsspec.filesystem("memory"), tmp_path / "a.csv"

    def stops(*_):
        raise KeyboardInterrupt

    def interrupt():
        with monkeypatch.context() as patch:
            patch.setattr("clusterkit.inference.assign.rows_of", stops)
            with pytest.raises(KeyboardInterrupt):
                assign(run, url, config=config, out=out)

    interrupt()
    assert assign(run, url, config=config, out=out).record.resumed_batches == 3
    interrupt()
    name = f"{url}/sample/0.png"
    store.pipe_file(name, store.cat_file(f"{url}/sample/1.png"))
    found = assign(run, url, config=config, out=out)
    # The object that has changed is computed again, and what failed; no other.
    assert found.record.growth.changed == 1
    images = found.table.set_index("image")
    assert images.loc["sample/0.png", "image_id"] == images.loc["sample/1.png", "image_id"]


def test_another_place_is_another_input(run, config, folder, memory, here, there):
    with pytest.raises(ClusterkitError, match="the assignments of another input") as caught:
        assign(run, folder, config=config, out=there.path)
    assert "--overwrite" in str(caught.value)
    assert assign(run, memory, config=config, out=there.path).record.images == there.record.images


@pytest.mark.slow
def test_pages_show_images_of_a_store(run, there, command, tmp_path):
    out = tmp_path / "audit"
    code, _, said = command("audit", "--run", run.path, "--assignments", there.path, "--out", out,
                            "--limit", 6)  # fmt: skip
    assert (code, said.count("cannot")) == (0, 0)
    assert len(list((out / "thumbs").rglob("*-thumb.jpg"))) >= 6
    code, _, _ = command("certify", "--run", run.path, "--assignments", there.path, "--out",
                         tmp_path / "certificate")  # fmt: skip
    assert code == 0
    assert list((tmp_path / "certificate" / "thumbs").glob("*-full.*"))


def test_what_needs_files_here_says_so_in_one_line(run, there, memory, command, tmp_path):
    export = ("export", "--run", run.path, "--assignments", there.path, "--out", tmp_path / "e")
    for arguments in (
        (*export, "--to", "coco"),
        ("fit", memory, "--run", tmp_path / "r"),
        ("inspect", memory),
        ("similar", f"{memory}/sample/0.png", "--run", run.path),
        ("similar", memory, "--by", "group", "--run", run.path),
        ("assign", memory, "--run", run.path, "--out", "s3://bucket/a.csv"),
    ):
        code, _, said = command(*arguments)
        assert code == 1
        assert said.count("error:") == 1
        assert "of this machine" in said, said
    code, _, _ = command(*export, "--to", "parquet")
    assert code == 0


def test_reviewed_images_of_a_store_are_given_by_a_folder(
    run, sample, config, there, folder, tmp_path
):
    from clusterkit import fit

    row = there.table[there.table["image"].str.startswith("sample/")].iloc[0]
    reviews = there.path.parent / "reviews.csv"
    reviews.write_text(f"image_id,decision,label\n{row['image_id']},relabel,{run.classes[0]}\n")
    with pytest.raises(DataError, match="are read from a folder of this machine") as caught:
        fit(sample / "labels.csv", config=config, reviews=[reviews], run=tmp_path / "r")
    assert "--unlabeled" in str(caught.value)
    reviews.unlink()


def test_odd_keys_of_s3_are_read_or_left_out(s3):
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed: clusterkit[s3]")
    from clusterkit.data.inputs import read_inputs
    from clusterkit.data.left_out import NO_PATH, LeftOut

    client = boto3.client("s3")
    good = ["q?x=1#2.png", "star*[a].png", "x::y.png", " a .png", "100%20.png", "b\\s.png"]
    for key in [*good, "a//b.png", "a/../b.png", "marker/"]:
        client.put_object(Bucket=BUCKET, Key=f"odd/{key}", Body=key.encode())
    left_out = LeftOut()
    rows = read_inputs(f"s3://{BUCKET}/odd/", left_out=left_out)
    assert sorted(read_bytes(path).decode() for path in rows["path"]) == sorted(good)
    assert left_out.to_dict() == {NO_PATH: {".png": 2}}
    client.put_object(Bucket=BUCKET, Key="odd", Body=b"a file of the folder's name")
    assert len(read_inputs(f"s3://{BUCKET}/odd/")) == len(good)
    assert len(read_inputs(f"s3://{BUCKET}/odd")) == 1
    gone = rows["path"].iloc[0]
    client.delete_object(Bucket=BUCKET, Key=str(gone).partition(f"{BUCKET}/")[2])
    with pytest.raises(DataError, match="file does not exist"):
        read_bytes(gone)
    client.put_object(Bucket=BUCKET, Key="odd/x::y.png", Body=b"")
    with pytest.raises(DataError, match="has changed since it was listed"):
        read_bytes(RemotePath(f"s3://{BUCKET}/odd/x::y.png", 5))
    assert read_bytes(f"s3://{BUCKET}/odd/x::y.png") == b""


def test_buckets_that_are_not_there(s3, command, run):
    code, _, said = command("assign", "s3://no-such-bucket/a", "--run", run.path)
    assert (code, said.count("\n")) == (1, 1)
    assert "s3://no-such-bucket/a does not exist" in said


def test_an_outage_ends_the_command_and_the_next_one_goes_on(
    run, config, memory, here, tmp_path, monkeypatch
):
    kind, out = type(fsspec.filesystem("memory")), tmp_path / "a.csv"
    own = kind.cat_file

    def cat_file(store, path, *given, **options):
        # Heads were read before, by place.
        if "/sample/2" in path and not given:
            raise ConnectionError("reset")
        return own(store, path, *given, **options)

    with monkeypatch.context() as patch:
        patch.setattr("clusterkit.data.stores.time.sleep", lambda _: None)
        patch.setattr(kind, "cat_file", cat_file)
        with pytest.raises(StoreError, match="run the command again"):
            assign(run, memory, config=config, out=out)
    assert not out.exists()
    found = assign(run, memory, config=config, out=out)
    assert found.record.resumed_batches >= 1
    assert found.path.read_bytes() == here.path.read_bytes()
