"""DICOM objects that are no pictures of a patient become no rows, and are counted with a reason."""

import json

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="needs clusterkit[dicom]")

from pydicom.encaps import encapsulate

from clusterkit import read_manifest
from clusterkit.config import Config, DataConfig, ImageConfig
from clusterkit.data.inputs import read_inputs
from clusterkit.data.left_out import LeftOut
from clusterkit.data.loading import load_batches
from clusterkit.errors import DataError
from tests.dicoms import dicom, save

ROOT = "1.2.840.10008.5.1.4.1.1."
RAMP = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32)

NO_PICTURES = {
    "66.4": "segmentations",
    "66.7": "segmentations",
    "481.2": "doses",
    "481.3": "radiotherapy",
    "481.5": "radiotherapy",
    "30": "parametric maps",
    "88.33": "reports",
    "104.1": "documents",
    "9.1.1": "waveforms",
    "11.1": "presentation states",
    "66": "raw data",
    "66.1": "raw data",
}
PICTURES = ["2", "4", "1.1", "1.2", "6.1", "7", "12.1", "128", "20", "77.1.4", "77.1.6", "481.1",
            "2.1", "4.1", "13.1.3"]  # fmt: skip


def place(folder, sop_class: str, name: str, pixels=RAMP, **elements):
    return save(dicom(pixels, SOPClassUID=ROOT + sop_class, **elements), folder / name)


@pytest.mark.parametrize("sop_class", NO_PICTURES)
def test_an_object_is_left_out_with_its_reason(tmp_path, sop_class):
    place(tmp_path / "a", "2", "slice")
    place(tmp_path / "a", sop_class, "object", np.stack([RAMP, RAMP.T]))
    left = LeftOut()
    assert read_inputs(tmp_path, left_out=left)["image"].tolist() == ["a/slice"]
    assert left.total == 1
    (sentence,) = left.sentences()
    assert NO_PICTURES[sop_class] in sentence
    with pytest.raises(DataError, match=f"no file is a picture.*{NO_PICTURES[sop_class]}"):
        read_inputs(tmp_path / "a" / "object")


@pytest.mark.parametrize("sop_class", PICTURES)
def test_pictures_stay(tmp_path, sop_class):
    place(tmp_path, sop_class, "x.dcm", ImageType=["ORIGINAL", "PRIMARY", "VOLUME"])
    left = LeftOut()
    assert len(read_inputs(tmp_path, left_out=left)) == 1
    assert left.total == 0


@pytest.mark.parametrize(
    ("sop_class", "kind", "scout"),
    [
        ("2", ["ORIGINAL", "PRIMARY", "LOCALIZER"], True),
        ("2", ["DERIVED", "PRIMARY", "SCOUT"], True),
        ("2", ["ORIGINAL", "PRIMARY", "AXIAL", "LOCALIZER"], True),
        ("4.1", ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"], True),
        ("2", ["ORIGINAL", "PRIMARY", "AXIAL"], False),
        ("2", ["ORIGINAL"], False),
    ],
)
def test_localizers_stay_only_where_that_is_asked_for(tmp_path, sop_class, kind, scout):
    place(tmp_path, "2", "slice")
    place(tmp_path, sop_class, "other", RAMP.T.copy(), ImageType=kind)
    assert len(read_inputs(tmp_path)) == 2 - scout
    kept = Config(data=DataConfig(keep_localizers=True))
    assert len(read_inputs(tmp_path, kept)) == 2
    if scout:
        with pytest.raises(DataError, match="give --keep-localizers"):
            read_inputs(tmp_path / "other")


@pytest.mark.parametrize("kind", ["LABEL", "OVERVIEW", "THUMBNAIL", "LOCALIZER"])
def test_a_slides_label_is_never_an_image(tmp_path, kind):
    place(tmp_path, "77.1.6", "slide", ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
    place(tmp_path, "77.1.6", "label", RAMP.T.copy(), ImageType=["ORIGINAL", "PRIMARY", kind])
    for keep in (False, True):
        config = Config(data=DataConfig(keep_localizers=keep))
        assert read_inputs(tmp_path, config)["image"].tolist() == ["slide"]


def test_a_csv_that_names_one_is_told(tmp_path):
    """What a person names is no picture all the same; its label teaches nothing."""
    place(tmp_path, "2", "a")
    place(tmp_path, "2", "b", RAMP.T.copy())
    place(tmp_path, "66.4", "mask", np.stack([RAMP, RAMP // 2]))
    csv = tmp_path / "labels.csv"
    csv.write_text("image,label\na,x\nb,y\nmask,x\n")
    left = LeftOut()
    assert read_manifest(csv, left_out=left)["image"].tolist() == ["a", "b"]
    assert left.examples == dict.fromkeys(left.counts, "mask")


def test_a_film_is_one_row_that_says_so(tmp_path):
    dataset = dicom(np.stack([RAMP] * 4))
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    dataset.PixelData = encapsulate([bytes(100)])
    dataset["PixelData"].is_undefined_length = True
    path = save(dataset, tmp_path / "film.dcm")
    assert read_inputs(tmp_path)["frame"].tolist() == [None]
    (batch,) = load_batches([(str(path), None)], ImageConfig(size=32), 8, 0)
    assert batch.errors[0].startswith("a film (MPEG-4): extract its frames")


def test_the_command_takes_localizers(tmp_path, command):
    folder = tmp_path / "data"
    for label in ("x", "y"):
        for k in range(3):
            place(folder / label, "2", f"{k}", np.roll(RAMP, 7 * k + 3 * (label == "x"), 1))
        place(folder / label, "2", "scout", RAMP * 2 + (label == "x"),
              ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])  # fmt: skip
    counts = []
    for flags in ([], ["--keep-localizers"]):
        code, out, _ = command("inspect", str(folder), "--json", *flags)
        assert code == 0
        counts.append(json.loads(out)["images"])
    assert counts == [6, 8]
