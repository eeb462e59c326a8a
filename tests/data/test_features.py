"""Files of features: what is read from each kind, and what is refused in one line."""

import json
import pickle
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clusterkit.data.features.table import read_features
from clusterkit.errors import DataError
from clusterkit.formats.feature_files import Features, write_features

h5py = pytest.importorskip("h5py")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

NAMES = ["a/one.png", "a/two.png", "b/three#2.dcm"]
VECTORS = np.array([[1, 2, 3], [4, 5, 6], [-7, 0.5, 9]], dtype=np.float32)
ENDINGS = [".npz", ".parquet", ".h5"]


def npz(path, **members):
    np.savez(path, **members)
    return path


def hdf5(path, **members):
    with h5py.File(path, "w") as file:
        for name, values in members.items():
            texts = isinstance(values, list) and isinstance(values[0], str)
            kind = {"dtype": h5py.string_dtype()} if texts else {}
            file.create_dataset(name, data=values, **kind)
    return path


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def npy(path, vectors, table):
    np.save(path, vectors)
    path.with_suffix(".csv").write_text(table)
    return path


def refused(path) -> str:
    with pytest.raises(DataError) as found:
        read_features(path)
    text = str(found.value)
    assert "\n" not in text
    assert path.name in text
    return text


class TestKinds:
    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint16", ">f4"])
    def test_any_plain_numbers(self, tmp_path, dtype):
        values = VECTORS.clip(0).astype(dtype)
        native = values.astype(values.dtype.newbyteorder("="))
        lists = pa.array(native.tolist(), pa.list_(pa.from_numpy_dtype(native.dtype)))
        files = [
            npz(tmp_path / "a.npz", image=np.array(NAMES), features=values),
            npy(tmp_path / "b.npy", values, "image\n" + "\n".join(NAMES)),
            hdf5(tmp_path / "c.h5", image=NAMES, features=values),
            parquet(tmp_path / "d.parquet", image=NAMES, features=lists),
        ]
        for file in files:
            table = read_features(file)
            assert table.images == NAMES
            assert table.vectors.dtype == np.float32
            assert (table.vectors[0] == values.astype(np.float32)).all()

    def test_names_of_other_systems(self, tmp_path):
        names = np.array(["a\\one.png", "./a/two.png", "b/three#2.dcm"])
        table = read_features(npz(tmp_path / "a.npz", image=names, features=VECTORS))
        assert table.images == NAMES

    def test_ids_alone_and_bytes_for_text(self, tmp_path):
        ids = np.array(["0a1b2c3d4e5f6071", "1234567890123456", "x511302225567e181"], dtype="S")
        table = read_features(npz(tmp_path / "a.npz", image_id=ids, vectors=VECTORS))
        assert table.ids == ["0a1b2c3d4e5f6071", "x1234567890123456", "x511302225567e181"]
        assert table.images == []

    def test_a_column_a_number(self, tmp_path):
        frame = pd.DataFrame(VECTORS, columns=["f0", "f1", "f2"]).assign(image=NAMES, group="p1")
        frame.to_parquet(tmp_path / "a.parquet")
        table = read_features(tmp_path / "a.parquet")
        assert (table.vectors[0] == VECTORS).all()
        assert table.groups == ["p1"] * 3

    def test_category_for_text_and_named_rows_of_pandas(self, tmp_path):
        frame = pd.DataFrame(
            {"image": pd.Categorical(NAMES), "emb": list(VECTORS)}, index=[5, 3, 1]
        )
        frame.to_parquet(tmp_path / "a.parquet")
        assert read_features(tmp_path / "a.parquet").images == NAMES

    def test_columns_first(self, tmp_path):
        file = npz(tmp_path / "a.npz", image=np.array(NAMES), features=np.asfortranarray(VECTORS))
        assert (read_features(file).vectors[0] == VECTORS).all()

    @pytest.mark.parametrize("nested", [False, True])
    def test_trident(self, tmp_path, nested):
        values = VECTORS[None] if nested else VECTORS
        coords = np.array([[0, 512], [512, 512], [1024, 0]])
        for slide in ("s1", "s2"):
            hdf5(tmp_path / f"{slide}.h5", features=values, coords=coords)
        table = read_features(tmp_path)
        assert table.images[:3] == ["s1/0_512", "s1/512_512", "s1/1024_0"]
        assert table.groups == ["s1"] * 3 + ["s2"] * 3
        assert (table.vectors[0, 3:] == VECTORS).all()
        assert [name for name, _ in table.files] == ["s1.h5", "s2.h5"]

    def test_more_than_a_block(self, tmp_path, monkeypatch):
        for kind in ("npy", "hdf5", "parquet"):
            monkeypatch.setattr(f"clusterkit.data.features.{kind}.BLOCK", 64)
        values = np.arange(300, dtype=np.float32).reshape(60, 5)
        names, ids = [f"{i}.png" for i in range(60)], [f"{i:015x}f" for i in range(60)]
        for ending in ENDINGS:
            write_features(Features(names, ids, [], values[None], {}), tmp_path / f"a{ending}")
            assert (read_features(tmp_path / f"a{ending}").vectors[0] == values).all()

    def test_beyond_memory_in_a_nameless_file(self, tmp_path, monkeypatch):
        monkeypatch.setattr("clusterkit.data.features.table.MEMORY_MB", 0)
        table = read_features(npz(tmp_path / "a.npz", image=np.array(NAMES), features=VECTORS))
        assert isinstance(table.vectors, np.memmap)
        assert (table.vectors[0] == VECTORS).all()

    def test_identity_tells_namesakes_apart(self, tmp_path):
        names = np.array(NAMES)
        one = read_features(npz(tmp_path / "a.npz", image=names, features=VECTORS))
        other = read_features(npz(tmp_path / "b.npz", image=names, features=VECTORS + 1))
        again = read_features(npz(tmp_path / "c.npz", image=names, features=VECTORS.astype("f8")))
        assert one.identity(0) == again.identity(0) != other.identity(0)
        assert len({one.identity(row) for row in range(3)}) == 3


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    views=st.sampled_from([1, 4]),
    values=arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 6)),
                  elements=st.floats(allow_nan=False, allow_infinity=False, width=32)),
    names=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\\/."), min_size=1,
                           max_size=8).filter(lambda t: t == t.strip()), min_size=5, max_size=5,
                   unique=True),
    ending=st.sampled_from(ENDINGS),
)  # fmt: skip
def test_written_and_read_back(tmp_path, views, values, names, ending):
    names = names[: len(values)]
    ids = [f"{i + 10:x}".zfill(15) + "f" for i in range(len(values))]
    vectors = np.stack([values] * views)
    about = {"backbone": "some", "depths": [values.shape[1] // 2]}
    out = tmp_path / f"a{ending}"
    write_features(Features(names, ids, [], vectors, about), out)
    table = read_features(out)
    assert table.images == names
    assert (table.vectors == vectors).all()
    assert table.encoder == {"backbone": "some"}
    even = values.shape[1] > 1 and values.shape[1] % 2 == 0
    assert table.depths == (about["depths"] if even else [])


class TestRefused:
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_not_a_number(self, tmp_path, value):
        values = VECTORS.copy()
        values[1, 2] = value
        text = refused(npz(tmp_path / "a.npz", image=np.array(NAMES), features=values))
        assert "row 2 ('a/two.png')" in text
        lists = pa.array(values.tolist(), pa.list_(pa.float32()))
        assert "row 2" in refused(parquet(tmp_path / "a.parquet", image=NAMES, features=lists))

    def test_beyond_float32(self, tmp_path):
        values = VECTORS.astype(float) * 1e200
        assert "inf" in refused(npz(tmp_path / "a.npz", image=np.array(NAMES), features=values))

    def test_text_where_numbers_belong(self, tmp_path):
        texts = np.array([["1", "x"]] * 3)
        assert "text where numbers belong" in refused(
            npz(tmp_path / "a.npz", image=np.array(NAMES), features=texts)
        )
        assert "text where numbers belong" in refused(
            hdf5(tmp_path / "a.h5", image=NAMES, features=["1", "2", "x"])
        )
        assert "where numbers belong" in refused(
            parquet(tmp_path / "a.parquet", image=NAMES, features=[["1"], ["x"], ["2"]])
        )
        assert "'f1' holds string" in refused(
            parquet(tmp_path / "b.parquet", image=NAMES, f0=[1, 2, 3], f1=["1", "x", "2"])
        )

    def test_ragged(self, tmp_path):
        lists = pa.array([[1.0, 2.0], [1.0, 2.0], [1.0]])
        text = refused(parquet(tmp_path / "a.parquet", image=NAMES, features=lists))
        assert "row 3 has a vector of 1 numbers" in text
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("image", data=NAMES, dtype=h5py.string_dtype())
            ragged = file.create_dataset("features", (3,), dtype=h5py.vlen_dtype(np.float32))
            ragged[0] = [1, 2]
        assert "different lengths" in refused(tmp_path / "a.h5")
        objects = np.array([[1.0, 2.0], [1.0], [2.0]], dtype=object)
        assert "pickle" in refused(npz(tmp_path / "a.npz", image=np.array(NAMES), features=objects))

    def test_missing_vectors(self, tmp_path):
        lists = pa.array([[1.0], None, [2.0]])
        text = refused(parquet(tmp_path / "a.parquet", image=NAMES, features=lists))
        assert "row 2 has no vector" in text
        numbers = pa.array([1.0, None, 2.0])
        assert "row 2" in refused(parquet(tmp_path / "b.parquet", image=NAMES, f=numbers))

    def test_nothing_is_unpickled(self, tmp_path):
        marker = tmp_path / "ran"

        class Bomb:
            def __reduce__(self):
                return (open, (str(marker), "w"))

        bomb = np.array([Bomb()] * 3, dtype=object)
        np.savez(tmp_path / "a.npz", image=bomb, features=VECTORS, allow_pickle=True)
        assert "pickle" in refused(tmp_path / "a.npz")
        np.save(tmp_path / "b.npy", bomb, allow_pickle=True)
        (tmp_path / "b.csv").write_text("image\na\nb\nc\n")
        assert "pickle" in refused(tmp_path / "b.npy")
        (tmp_path / "c.npy").write_bytes(pickle.dumps(Bomb()))
        refused(tmp_path / "c.npy")
        assert not marker.exists()

    @pytest.mark.parametrize("ending", [*ENDINGS, ".npy"])
    @pytest.mark.parametrize("damage", ["cut", "empty", "text"])
    def test_damaged(self, tmp_path, ending, damage):
        path = tmp_path / f"a{ending}"
        if ending == ".npy":
            npy(path, VECTORS, "image\n" + "\n".join(NAMES))
        else:
            write_features(Features(NAMES, ["0a1b2c3d4e5f607" + c for c in "123"], [],
                                    VECTORS[None], {}), path)  # fmt: skip
        whole = path.read_bytes()
        path.write_bytes(
            {"cut": whole[: len(whole) * 2 // 3], "empty": b"", "text": b"no" * 99}[damage]
        )
        assert "cannot be read" in refused(path)

    def test_a_header_that_is_no_python(self, tmp_path):
        npy(tmp_path / "a.npy", VECTORS, "image\n" + "\n".join(NAMES))
        whole = (tmp_path / "a.npy").read_bytes()
        for damage in (b"(((", b"0x_", b'"""'):
            (tmp_path / "a.npy").write_bytes(whole.replace(b"'fo", damage))
            assert "cannot be read" in refused(tmp_path / "a.npy")

    def test_a_header_that_promises_too_much(self, tmp_path):
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000), }"
        text = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
        (tmp_path / "a.npy").write_bytes(text + bytes(100))
        (tmp_path / "a.csv").write_text("image\na\n")
        assert "truncated" in refused(tmp_path / "a.npy")
        with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
            archive.writestr("features.npy", text + bytes(100))
            archive.writestr("image.npy", text + bytes(100))
        refused(tmp_path / "b.npz")

    def test_a_huge_header(self, tmp_path):
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"1," * 30_000 + b")}"
        text = b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header
        (tmp_path / "a.npy").write_bytes(text)
        (tmp_path / "a.csv").write_text("image\na\n")
        assert len(refused(tmp_path / "a.npy")) < 400

    def test_no_names(self, tmp_path):
        files = [
            npz(tmp_path / "a.npz", features=VECTORS),
            hdf5(tmp_path / "a.h5", features=VECTORS),
            parquet(tmp_path / "a.parquet", features=VECTORS.tolist(), name=NAMES),
        ]
        for file in files:
            assert "neither 'image' nor 'image_id'" in refused(file)
        np.save(tmp_path / "b.npy", VECTORS)
        assert "needs a table b.csv" in refused(tmp_path / "b.npy")

    def test_no_rows(self, tmp_path):
        none, nobody = np.zeros((0, 3), np.float32), np.array([], dtype=str)
        assert "0 rows" in refused(npz(tmp_path / "a.npz", image=nobody, features=none))
        empty = pa.table({"image": pa.array([], pa.string()),
                          "features": pa.array([], pa.list_(pa.float32()))})  # fmt: skip
        pq.write_table(empty, tmp_path / "a.parquet")
        assert "0 rows" in refused(tmp_path / "a.parquet")
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["features"], file["coords"] = none, np.zeros((0, 2), int)
        assert "0 rows" in refused(tmp_path / "a.h5")

    def test_names_for_other_rows(self, tmp_path):
        names = np.array(NAMES[:2])
        assert "3 vectors" in refused(npz(tmp_path / "a.npz", image=names, features=VECTORS))

    def test_an_unnamed_row(self, tmp_path):
        names = np.array(["a", "", "c"])
        assert "row 2 has no image" in refused(
            npz(tmp_path / "a.npz", image=names, features=VECTORS)
        )

    def test_doubled(self, tmp_path):
        names = np.array(["a", "b", "a"])
        text = refused(npz(tmp_path / "a.npz", image=names, features=VECTORS))
        assert "1 images are there twice with different features, e.g. 'a'" in text
        same = VECTORS[[0, 1, 0]]
        table = read_features(npz(tmp_path / "b.npz", image=names, features=same))
        assert table.row_of_name == {"a": 0, "b": 1}

    def test_files_of_two_encoders(self, tmp_path):
        names = np.array(NAMES)
        one = npz(tmp_path / "a.npz", image=names, features=VECTORS)
        other = npz(tmp_path / "b.npz", image=names, features=VECTORS[:, :2])
        with pytest.raises(DataError, match=r"b\.npz has 2 numbers an image, .*a\.npz 3"):
            read_features([one, other])
        about = np.array(json.dumps({"backbone": "x"}))
        third = npz(tmp_path / "c.npz", image=names, features=VECTORS, clusterkit=about)
        with pytest.raises(DataError, match="different encoders"):
            read_features([one, third])

    def test_values_in_another_file(self, tmp_path):
        hdf5(tmp_path / "secret.h5", features=VECTORS)
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("image", data=NAMES, dtype=h5py.string_dtype())
            file["features"] = h5py.ExternalLink("secret.h5", "features")
        assert "no array of this file" in refused(tmp_path / "a.h5")
        with h5py.File(tmp_path / "b.h5", "w") as file:
            file.create_dataset("image", data=NAMES, dtype=h5py.string_dtype())
            raw = [(str(tmp_path / "secret.h5"), 0, 36)]
            file.create_dataset("features", (3, 3), "f4", external=raw)
        assert "no array of this file" in refused(tmp_path / "b.h5")

    def test_coords_alone(self, tmp_path):
        assert "no encoder has seen" in refused(
            hdf5(tmp_path / "a.h5", coords=np.zeros((3, 2), int))
        )

    def test_other_files_and_none(self, tmp_path):
        (tmp_path / "a.csv").write_text("image\n")
        assert "is none of" in refused(tmp_path / "a.csv")
        assert "does not exist" in refused(tmp_path / "b.npz")
        (tmp_path / "folder").mkdir()
        assert "without .h5 files" in refused(tmp_path / "folder")

    @pytest.mark.parametrize(("ending", "package"), [(".h5", "h5py"), (".parquet", "pyarrow")])
    def test_without_the_package(self, tmp_path, monkeypatch, ending, package):
        path = tmp_path / f"a{ending}"
        path.write_bytes(b"x")
        monkeypatch.setitem(sys.modules, package, None)
        assert f"needs the package {package}: pip install 'clusterkit[features]'" in refused(path)

    def test_what_is_said_of_the_encoder_is_not_believed(self, tmp_path):
        for text in ("[" * 9999, '{"depths": ["x"]}', '{"depths": [-1, 2]}', "7", "{"):
            file = npz(tmp_path / "a.npz", image=np.array(NAMES), features=VECTORS,
                       clusterkit=np.array(text))  # fmt: skip
            assert read_features(file).depths == []
