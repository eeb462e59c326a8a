"""What two hostile reviews found: files that lie about their size, names in headers, leaks."""

import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from clusterkit import assign, fit, read_assignments, read_manifest
from clusterkit.config import Config, DataConfig, ImageConfig, config_from_dict, override
from clusterkit.data.imageio.read import decode, load_image
from clusterkit.data.inputs import read_inputs
from clusterkit.data.labelled import load_labelled
from clusterkit.errors import ConfigError, DataError, ImageError

pytest.importorskip("pydicom", reason="needs clusterkit[dicom]")

from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
)

from clusterkit.data.imageio.dicom.codestreams import check_codestream
from tests.dicoms import dicom, save

RAMP = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)


@pytest.mark.parametrize("name", ["x.dcm", "x.tif", "IM1"])
def test_a_pipe_does_not_hang_the_listing(tmp_path, name):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / name)
    code = "import sys\nfrom clusterkit.data.inputs import read_inputs\nread_inputs(sys.argv[1])"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, tmp_path], check=True, timeout=60)


@pytest.mark.parametrize("frames", [10_000_000, 2**31 - 1])
def test_number_of_frames_is_not_believed(tmp_path, frames):
    dataset = dicom(RAMP[:8, :8].copy())
    dataset.NumberOfFrames = frames
    path = save(dataset, tmp_path / "a.dcm")
    assert len(read_inputs(path)) == 1
    with pytest.raises(ImageError, match="more than the file can hold"):
        load_image(path)


def test_a_sparse_tiff_does_not_fill_the_memory(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((16, 16), np.float64), photometric="minisblack")
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", data, 4)
    for place in range(first + 2, first + 2 + 12 * struct.unpack_from("<H", data, first)[0], 12):
        if struct.unpack_from("<H", data, place)[0] == 279:
            struct.pack_into("<HII", data, place + 2, 4, 1, 0)
    with pytest.raises(ImageError, match="a part of it is empty"):
        decode(bytes(data))


@pytest.mark.parametrize(
    "trick",
    [pytest.param("plain", marks=pytest.mark.long),
     pytest.param("long meta", marks=pytest.mark.long),
     "lying length"],
)  # fmt: skip
def test_a_deflated_bomb_is_refused_before_it_fills_the_memory(tmp_path, trick):
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = raw.compress(b"\0" * 300_000_000) + raw.flush()
    syntax = b"1.2.840.10008.1.2.1.99"
    filler = b"\2\0\1\0OB\0\0" + struct.pack("<I", 2500) + b"\0" * 2500
    meta = b"" if trick != "long meta" else filler
    meta += b"\2\0\x10\0UI" + struct.pack("<H", len(syntax)) + syntax
    length = len(meta) if trick != "lying length" else 10_000_000
    head = b"\0" * 128 + b"DICM" + b"\2\0\0\0UL\4\0" + struct.pack("<I", length)
    path = tmp_path / "bomb.dcm"
    path.write_bytes(head + meta + bomb)
    with pytest.raises(ImageError, match="when inflated"):
        load_image(path)
    assert read_inputs(path)["group"].tolist() == [None]


def test_a_deflated_frame_larger_than_its_header_is_refused(tmp_path):
    dataset = dicom(np.zeros((8, 8), np.uint8))
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    dataset.PixelData = encapsulate([raw.compress(b"\1" * 1_000_000) + raw.flush()])
    dataset["PixelData"].is_undefined_length = True
    data = save(dataset, tmp_path / "a.dcm").read_bytes()
    # This pydicom writes no such syntax: put it where another one of the same length stands.
    other, wanted = b"1.2.840.10008.1.2.1\0\0", b"1.2.840.10008.1.2.8.1"
    assert other[:-1] in data
    place = data.index(other[:-1])
    length = data[place - 2 : place]
    assert length == struct.pack("<H", 20)
    data = data[: place - 2] + struct.pack("<H", 22) + wanted + b"\0" + data[place + 20 :]
    with pytest.raises(ImageError, match="larger than its header says"):
        decode(data)


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def frame(width: int, height: int, samples: int = 1) -> bytes:
    return struct.pack(">BHHB", 8, height, width, samples) + b"\1\x11\0" * samples


J2K = b"\xff\x4f\xff\x51" + struct.pack(">HHIIII", 41, 0, 16, 16, 0, 0) + b"\0" * 16 + b"\0\1"


@pytest.mark.parametrize(
    ("stream", "good"),
    [
        (b"\xff\xd8" + segment(0xC0, frame(16, 16)), True),
        (b"\xff\xd8" + segment(0xC0, frame(16, 0)), False),
        (b"\xff\xd8" + segment(0xDE, frame(9999, 9999)) + segment(0xC3, frame(16, 16)), False),
        (b"\xff\xd8" + segment(0xC0, frame(16, 16)) + segment(0xC0, frame(9999, 16)), False),
        (b"\xff\xd8\0" + segment(0xC0, frame(16, 16)), False),
        (b"\xff\xd8" + segment(0xC0, frame(16, 16, 3)), False),
        (b"\xff\xd8", False),
        (b"", False),
        (J2K, True),
        (J2K.replace(struct.pack(">II", 16, 16), struct.pack(">II", 9999, 16)), False),
        (J2K[:-1] + b"\3", False),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x32uuid" + J2K[:42].ljust(42) + b"\0\0\0\0jp2c"
         + J2K.replace(struct.pack(">II", 16, 16), struct.pack(">II", 9999, 9999)), False),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\0jp2c" + J2K, True),
    ],
)  # fmt: skip
def test_a_stream_that_declares_more_or_does_not_say_is_refused(stream, good):
    if good:
        check_codestream(stream, 16, 16, 1)
        return
    with pytest.raises(ImageError, match=r"the compressed image|that says its size"):
        check_codestream(stream, 16, 16, 1)


def test_a_real_jpeg_in_dicom_is_read(tmp_path):
    import io

    image = Image.fromarray((RAMP >> 4).astype(np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    dataset = dicom(np.asarray(image))
    dataset.PixelData = encapsulate([buffer.getvalue()])
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset["PixelData"].is_undefined_length = True
    found = np.asarray(load_image(save(dataset, tmp_path / "a.dcm")))[..., 0].astype(int)
    assert np.abs(found - np.asarray(image)).max() < 12


def lut(entries: list[int], first: int, bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    return item


@pytest.mark.parametrize("name", ["VOILUTSequence", "ModalityLUTSequence"])
def test_tables_of_words_in_implicit_files(tmp_path, name):
    dataset = dicom((RAMP >> 4).astype(np.uint8))
    table = lut([2 * i for i in range(256)], 0, 16)
    if name == "ModalityLUTSequence":
        table.ModalityLUTType = "US"
    setattr(dataset, name, Sequence([table]))
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    found = np.asarray(load_image(save(dataset, tmp_path / "a.dcm")))[..., 0].ravel().astype(int)
    assert (np.diff(found) >= 0).all()
    assert found.max() == (2 if name == "VOILUTSequence" else 255)


def test_a_palette_of_bytes_in_words_is_not_black(tmp_path):
    dataset = dicom((RAMP >> 4).astype(np.uint8))
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        dataset.add_new(f"{colour}PaletteColorLookupTableData", "OW",
                        np.arange(256, dtype="<u2").tobytes())  # fmt: skip
    found = np.asarray(load_image(save(dataset, tmp_path / "a.dcm")))
    assert (found[..., 0] == RAMP >> 4).all()


@pytest.mark.parametrize("name", ["VOILUTFunction", "RescaleSlope", "RescaleIntercept"])
def test_empty_optional_values_are_absent_ones(tmp_path, name):
    elements = {"WindowCenter": 2000, "WindowWidth": 1000, "RescaleSlope": 1, "RescaleIntercept": 0}
    whole = np.asarray(load_image(save(dicom(RAMP, **elements), tmp_path / "a.dcm")))
    empty = dicom(RAMP, **(elements | {name: ""}))
    assert (np.asarray(load_image(save(empty, tmp_path / "b.dcm"))) == whole).all()


def test_patients_are_known_whatever_a_file_is_called(tmp_path):
    for name in ("z.jpg", "z.tif", "dicomdir1.dcm", "DICOMDIR2.dcm", "multi.png"):
        save(dicom(np.stack([RAMP, RAMP.T])), tmp_path / name)
    rows = read_inputs(tmp_path)
    assert rows["group"].notna().all()
    assert rows["frame"].tolist() == ["0", "1"] * 5


def test_a_patient_named_by_a_table_has_one_name(tmp_path):
    save(dicom(RAMP, patient="4711"), tmp_path / "x.dcm")
    Image.fromarray(RAMP).save(tmp_path / "y.png")
    (tmp_path / "l.csv").write_text("image,label,group\nx.dcm,a,\ny.png,b,4711\n")
    assert read_manifest(tmp_path / "l.csv")["group"].tolist() == ["4711", "4711"]


def test_a_frame_that_a_file_does_not_have(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    save(dicom(RAMP), tmp_path / "b.dcm")
    (tmp_path / "l.csv").write_text("image,frame\na.png,5\nb.dcm,3\na.png,0\n")
    rows = read_inputs(tmp_path / "l.csv")
    assert rows["frame"].tolist() == [None, "5", "3"]
    for row in rows[1:].itertuples():
        with pytest.raises(ImageError, match=f"frame {row.frame} does not exist"):
            load_image(row.path, frame=int(row.frame))


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PixelData": None, "Modality": "DOE^JANE"}, "no pixel data"),
        ({"PhotometricInterpretation": "DOE^JANE"}, "damaged or truncated DICOM"),
        ({"VOILUTFunction": "DOE^JANE", "WindowCenter": 1, "WindowWidth": 9}, "the file's window"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_a_reason_quotes_no_header(tmp_path, elements, reason):
    dataset = dicom(RAMP)
    for name, value in elements.items():
        if value is None:
            del dataset[name]
        else:
            setattr(dataset, name, value)
    with pytest.raises(ImageError, match=reason) as caught:
        load_image(save(dataset, tmp_path / "a.dcm"))
    assert "DOE" not in str(caught.value)


@pytest.mark.parametrize(
    "tag",
    ["RequestAttributesSequence", "PixelData"],
)
def test_elements_that_are_no_text_are_refused(tmp_path, tag):
    save(dicom(RAMP), tmp_path / "a.dcm")
    for config in (DataConfig(label_tag=tag), DataConfig(keep_tags=[tag])):
        with pytest.raises(ConfigError, match="is of type"):
            read_manifest(tmp_path, config)


@pytest.mark.parametrize("tag", ["ClinicalTrialSubjectID", "AdmissionID", "DeviceID",
                                 "CurrentPatientLocation", "ImageComments"])  # fmt: skip
def test_what_may_tell_who_is_no_label(tmp_path, tag):
    save(dicom(RAMP), tmp_path / "a.dcm")
    with pytest.raises(DataError, match="personal data"):
        read_manifest(tmp_path, DataConfig(label_tag=tag))


def test_keep_tags_once_each_and_by_true_numbers(command, tmp_path):
    with pytest.raises(ConfigError, match="different keywords"):
        config_from_dict({"data": {"keep_tags": ["PatientAge", "PatientAge"]}})
    save(dicom(RAMP), tmp_path / "a.dcm")
    with pytest.raises(ConfigError, match="is no DICOM keyword"):
        read_inputs(tmp_path, DataConfig(keep_tags=["-0100020"]))


def test_a_jpegs_comment_does_not_outlive_decoding(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (32, 32)).save(path, comment=b"DOE^JANE")
    load_image(path).save(tmp_path / "b.jpg")
    assert b"DOE" in path.read_bytes()
    assert b"DOE" not in (tmp_path / "b.jpg").read_bytes()


def test_two_processes_make_one_key(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from clusterkit.data.pseudonyms import read_key\nprint(read_key(Path(sys.argv[1])).hex())"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path / "key"], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE)
        for _ in range(4)
    ]  # fmt: skip
    keys = [process.communicate()[0] for process in started]
    assert len(set(keys)) == 1
    assert len(keys[0]) > 100
    assert [p.name for p in tmp_path.iterdir()] == ["key"]


def test_labels_of_a_table_are_not_replaced_by_a_tag(tmp_path):
    save(dicom(RAMP, Modality="CT"), tmp_path / "a.dcm")
    save(dicom(RAMP.T.copy(), Modality="MR", patient="Q"), tmp_path / "b.dcm")
    (tmp_path / "l.csv").write_text("image,label\na.dcm,hand\nb.dcm,foot\n")
    with pytest.raises(DataError, match="has labels, and data"):
        read_manifest(tmp_path / "l.csv", DataConfig(label_tag="Modality"))
    (tmp_path / "l.csv").write_text("image,group\na.dcm,p\nb.dcm,q\n")
    manifest = read_manifest(tmp_path / "l.csv", DataConfig(label_tag="Modality"))
    assert manifest["label"].tolist() == ["CT", "MR"]


def test_a_named_group_column_has_to_be_there(sample):
    with pytest.raises(DataError, match=r"no column 'grup' \(did you mean 'group'\?\)"):
        read_manifest(sample / "labels.csv", DataConfig(group_column="grup"))


def noise(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    grey = Image.fromarray(rng.integers(0, 256, (10, 10), dtype=np.uint8))
    return grey.resize((120, 120), Image.Resampling.BICUBIC)


def test_a_chain_of_near_duplicates_is_one_unit(tmp_path, config):
    """First and last are unlike each other, but every step between is a near duplicate."""
    one, other = (np.asarray(noise(seed), dtype=float) for seed in (1, 2))
    rows = ["image,label"]
    for step in range(9):
        blend = one + (other - one) * step / 8
        Image.fromarray(blend.astype(np.uint8)).save(tmp_path / f"c{step}.png")
        rows.append(f"c{step}.png,{'ab'[step % 2]}")
    for seed in range(10, 16):
        noise(seed).save(tmp_path / f"n{seed}.png")
        rows.append(f"n{seed}.png,{'ab'[seed % 2]}")
    (tmp_path / "l.csv").write_text("\n".join(rows) + "\n")
    data = load_labelled(read_manifest(tmp_path / "l.csv"), config, lambda *_: None)
    chain = data.rows["image"].str.startswith("c")
    assert len(set(data.units[chain])) == 1
    assert len(set(data.units)) == 7


def test_other_frames_of_a_labelled_file_do_not_join_the_pool(tmp_path, config):
    rows = ["image,frame,label"]
    rng = np.random.default_rng(0)
    for n in range(12):
        pages = rng.integers(0, 255, (3, 64, 64)).astype(np.uint8)
        tifffile.imwrite(tmp_path / f"{n:02d}.tif", pages, photometric="minisblack")
        rows += [f"{n:02d}.tif,0,{'ab'[n % 2]}", f"{n:02d}.tif,1,", f"{n:02d}.tif,2,"]
    tifffile.imwrite(tmp_path / "free.tif", pages[::-1] // 2, photometric="minisblack")
    rows += [f"free.tif,{k}," for k in range(3)]
    (tmp_path / "l.csv").write_text("\n".join(rows) + "\n")
    from clusterkit.reviewing import apply_reviews
    from clusterkit.training.pool import choose_pool

    manifest = read_manifest(tmp_path / "l.csv")
    data = load_labelled(manifest, config, lambda *_: None)
    pool = choose_pool(apply_reviews(manifest, [], tmp_path).manifest, data, config)
    assert {os.path.basename(path) for path, _ in pool} <= {"free.tif"}


def test_a_near_duplicate_is_never_novel(run, sample, config, tmp_path):
    table = pd.read_csv(sample / "labels.csv")
    (tmp_path / "in").mkdir()
    for image in table["image"][:12]:
        dark = Image.open(sample / image).convert("RGB").point(lambda v: v * 2 // 5)
        dark.save(tmp_path / "in" / image.replace("/", "-"))
    found = read_assignments(assign(run, tmp_path / "in", config=config,
                                    out=tmp_path / "o.csv").path)  # fmt: skip
    near = found["duplicate_of"] != ""
    assert near.sum() >= 3
    assert (found["status"][near] != "novel").all()


@pytest.mark.slow
def test_a_runs_frames_hold_beside_another_config(tmp_path, config):
    rng = np.random.default_rng(0)
    for n in range(12):
        pages = rng.integers(0, 120, (3, 48, 48)).astype(np.uint8) + 120 * (n % 2)
        (tmp_path / "in" / "ab"[n % 2]).mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(tmp_path / "in" / "ab"[n % 2] / f"{n}.tif", pages.astype(np.uint8),
                         photometric="minisblack")  # fmt: skip
    settings = override(config, image__frames="middle")
    run = fit(tmp_path / "in", config=settings, run=tmp_path / "run")
    other = Config(image=ImageConfig(size=48), assign=settings.assign)
    result = assign(run, tmp_path / "in", config=other, out=tmp_path / "o.csv")
    assert len(result.table) == 12
    assert result.table["image_id"].str.endswith("#1").all()


def test_a_stream_of_another_size_in_a_real_file(tmp_path):
    path = save(dicom(RAMP), tmp_path / "j.dcm", JPEG2000Lossless)
    data = bytearray(path.read_bytes())
    rows = data.find(b"\x28\0\x10\0US\2\0") + 8
    struct.pack_into("<H", data, rows, 16)
    path.write_bytes(bytes(data))
    with pytest.raises(ImageError, match="its header says 64x16"):
        load_image(path)
