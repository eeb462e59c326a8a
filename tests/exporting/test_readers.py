"""What is exported is read by the programs that people have, with the right counts and types."""

import json
from collections import Counter

import pandas as pd
import pytest

from clusterkit import export, read_assignments
from clusterkit.formats.assignments import COLUMNS, NUMBERS, WHOLE


@pytest.fixture(scope="module")
def folders(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("folders") / "out"
    return export(run, "folders", out, copy=True).path


@pytest.fixture(scope="module")
def coco(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("coco") / "out"
    return export(run, "coco", out, copy=True).path


@pytest.fixture(scope="module")
def labels(assignment):
    """Images of each class that were labelled."""
    table = assignment.table
    given = table[table["status"].isin(["assigned", "duplicate"])]
    return Counter(given["predicted_label"].tolist())


def test_coco_has_what_readers_filter_by(coco, labels):
    found = json.loads((coco / "coco.json").read_text(encoding="utf-8"))
    sizes = {image["id"]: (image["width"], image["height"]) for image in found["images"]}
    assert len(found["annotations"]) == len(sizes) == labels.total()
    for annotation in found["annotations"]:
        width, height = sizes[annotation["image_id"]]
        assert annotation["bbox"] == [0, 0, width, height]
        assert annotation["area"] == width * height > 0
        assert annotation["iscrowd"] == 0


def test_pycocotools(coco, labels, capsys):
    tools = pytest.importorskip("pycocotools.coco")
    found = tools.COCO(str(coco / "coco.json"))
    assert len(found.getAnnIds(areaRng=[1, 1e9], iscrowd=False)) == labels.total()
    numbers = {c["name"]: c["id"] for c in found.loadCats(found.getCatIds())}
    counts = {name: len(found.getImgIds(catIds=[n])) for name, n in numbers.items()}
    assert {name: n for name, n in counts.items() if n} == labels
    capsys.readouterr()


def test_coco_detection(coco, labels, capsys):
    pytest.importorskip("pycocotools")
    from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2

    images = CocoDetection(str(coco), str(coco / "coco.json"))
    assert len(images) == labels.total()
    _, target = wrap_dataset_for_transforms_v2(images)[0]
    width, height = images[0][0].size
    assert target["boxes"].tolist() == [[0, 0, width, height]]
    capsys.readouterr()


def test_image_folder(folders, labels):
    from torchvision.datasets import ImageFolder

    images = ImageFolder(str(folders))
    assert Counter(images.classes[target] for target in images.targets) == labels
    assert images[0][0].size > (0, 0)


def test_image_folder_of_all_rows_is_told(run, tmp_path):
    result = export(run, "folders", tmp_path / "out", copy=True, status="all")
    written = {path.name for path in (tmp_path / "out").iterdir() if path.name.startswith("_")}
    assert written
    (line,) = [line for line in result.next if "make classes of them" in line]
    assert {name for name in ("_review", "_novel", "_failed") if name in line} == written


def test_fastai(folders, labels):
    from fastai.vision.all import ImageDataLoaders, Resize

    how = {"valid_pct": 0.2, "item_tfms": Resize(16), "num_workers": 0, "bs": 2, "device": "cpu"}
    found = ImageDataLoaders.from_folder(folders, **how)
    files = [*found.train_ds.items, *found.valid_ds.items]
    assert Counter(file.parent.name for file in files) == labels
    found = ImageDataLoaders.from_csv(folders, csv_fname="index.csv", fn_col="file",
                                      label_col="label", delimiter=",", **how)  # fmt: skip
    rows = pd.concat([found.train_ds.items, found.valid_ds.items])
    assert Counter(rows["label"].tolist()) == labels
    # A class of one image may be held out, and fastai knows those that are not.
    assert set(found.vocab) <= set(labels)
    assert found.train_ds[0][0].size > (0, 0)


def test_datasets(folders, labels, tmp_path):
    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset("imagefolder", data_dir=str(folders), cache_dir=str(tmp_path))
    names = found["train"].features["label"].names
    assert Counter(names[number] for number in found["train"]["label"]) == labels


def test_pandas(assignment):
    found = pd.read_csv(assignment.path)
    assert list(found.columns) == COLUMNS
    assert len(found) == len(assignment.table)
    assert {str(found[name].dtype) for name in NUMBERS} == {"float64"}
    assert found["image_id"].dropna().map(type).eq(str).all()


def test_polars(run, assignment, tmp_path):
    polars = pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    export(run, "parquet", tmp_path / "out")
    for found in (
        polars.read_csv(assignment.path),
        polars.read_parquet(tmp_path / "out" / "assignments.parquet"),
    ):
        assert found.columns == COLUMNS
        assert len(found) == len(assignment.table)
        assert {found.schema[name] for name in NUMBERS} == {polars.Float64}
        assert {found.schema[name] for name in WHOLE} == {polars.Int64}
        assert found.schema["image_id"] == polars.String


def test_duckdb(run, assignment, tmp_path):
    duckdb = pytest.importorskip("duckdb")
    pytest.importorskip("pyarrow")
    export(run, "parquet", tmp_path / "out")
    table = read_assignments(assignment.path)
    for path in (assignment.path, tmp_path / "out" / "assignments.parquet"):
        found = duckdb.sql(f"select * from '{path}'")
        assert found.columns == COLUMNS
        kinds = dict(zip(found.columns, map(str, found.types), strict=True))
        assert {kinds[name] for name in NUMBERS} == {"DOUBLE"}
        assert {kinds[name] for name in WHOLE} == {"BIGINT"}
        (count,) = duckdb.sql(f"select count(*) from '{path}' where status = 'failed'").fetchall()[
            0
        ]
        assert count == (table["status"] == "failed").sum()
