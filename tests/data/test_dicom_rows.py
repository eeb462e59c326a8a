"""DICOM files become rows: frames, patients and labels, from the header to the audit."""

import shutil
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="needs clusterkit[dicom]")

from pydicom.uid import (  # noqa: E402
    JPEG2000Lossless,
    RLELossless,
)

from clusterkit import read_manifest  # noqa: E402
from clusterkit.config import Config, DataConfig, ImageConfig  # noqa: E402
from clusterkit.data.imageio.dicom import is_dicom  # noqa: E402
from clusterkit.data.imageio.read import load_image  # noqa: E402
from clusterkit.data.inputs import read_inputs  # noqa: E402
from clusterkit.data.pseudonyms import hash_patient  # noqa: E402
from clusterkit.errors import ConfigError, DataError, ImageError  # noqa: E402
from tests.dicoms import dicom, save  # noqa: E402

RAMP = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)


def test_files_without_an_ending_are_found_and_others_are_not(tmp_path):
    save(dicom(RAMP), tmp_path / "d" / "IM0001")
    save(dicom(RAMP), tmp_path / "d" / "1.2.840.113")
    (tmp_path / "d" / "README").write_text("no image")
    (tmp_path / "d" / "notes.bin").write_bytes(b"\2\1\0\0" * 40)
    assert read_inputs(tmp_path)["image"].tolist() == ["d/1.2.840.113", "d/IM0001"]
    assert not any(map(is_dicom, (b"\x08\0", b"")))


def frames(path: Path, choice) -> list:
    config = Config(image=ImageConfig(frames=choice))
    return read_inputs(path, config)["frame"].tolist()


def test_each_frame_is_an_image(tmp_path):
    stack = np.stack([RAMP, RAMP[::-1], RAMP.T, RAMP // 2, RAMP // 4])
    path = save(dicom(stack), tmp_path / "stack.dcm")
    assert frames(path, "all") == ["0", "1", "2", "3", "4"]
    assert frames(path, "middle") == ["2"]
    assert frames(path, 2) == ["1", "3"]
    assert frames(path, 9) == ["0", "1", "2", "3", "4"]
    first, second = (np.asarray(load_image(path, frame=frame))[..., 0] for frame in (0, 1))
    assert (second == first[::-1]).all()
    with pytest.raises(ImageError, match="frame 5 does not exist"):
        load_image(path, frame=5)
    manifest = read_manifest(tmp_path)
    whole = manifest["image_id"].str.partition("#")
    assert whole[0].nunique() == 1
    assert whole[2].tolist() == ["0", "1", "2", "3", "4"]
    assert set(manifest["image"]) == {"stack.dcm"}


def test_a_csv_names_frames_and_files_by_their_uid(tmp_path):
    stack = np.stack([RAMP, RAMP.T, RAMP // 2])
    save(dicom(stack, uid="1.2.3.4"), tmp_path / "dicom" / "IM1")
    save(dicom(RAMP, uid="1.2.3.5", patient="PAT-2"), tmp_path / "dicom" / "IM2")
    csv = tmp_path / "labels.csv"
    csv.write_text("SOPInstanceUID,frame,label\n1.2.3.4,0,a\n1.2.3.4,2,b\n1.2.3.5,,a\n")
    config = DataConfig(images=str(tmp_path / "dicom"), image_column="SOPInstanceUID")
    manifest = read_manifest(csv, config)
    assert manifest[["image", "frame", "label"]].values.tolist() == [
        ["IM1", "0", "a"], ["IM1", "2", "b"], ["IM2", None, "a"],
    ]  # fmt: skip
    assert manifest["group"].nunique() == 2
    csv.write_text("SOPInstanceUID,frame,label\n1.2.3.4,one,a\n1.2.3.5,,b\n")
    with pytest.raises(DataError, match="frame 'one'"):
        read_manifest(csv, config)
    csv.write_text("SOPInstanceUID,label\n9.9.9.9,a\n1.2.3.5,b\n")
    with pytest.raises(DataError, match=r"'9\.9\.9\.9' \(file does not exist\)"):
        read_manifest(csv, config)


def test_labels_from_a_tag(tmp_path):
    for n, kind in enumerate(["CT", "MR", "CT", ""]):
        save(dicom(RAMP + n, patient=f"P-{n}", Modality=kind), tmp_path / "x" / f"{n}.dcm")
    manifest = read_manifest(tmp_path, DataConfig(label_tag="Modality"))
    assert manifest["label"].tolist() == ["CT", "MR", "CT", None]
    again = read_manifest(tmp_path, DataConfig(label_tag="(0008,0060)"))
    assert again["label"].tolist() == manifest["label"].tolist()
    with pytest.raises(DataError, match="no file has a value in the label tag BodyPartExamined"):
        read_manifest(tmp_path, DataConfig(label_tag="BodyPartExamined"))
    with pytest.raises(
        ConfigError, match=r"'Modalty' is no DICOM keyword \(did you mean 'Modality'"
    ):
        read_manifest(tmp_path, DataConfig(label_tag="Modalty"))
    for personal in ("PatientName", "StudyDate", "PatientSex", "(0029,1010)", "AccessionNumber"):
        with pytest.raises(DataError, match="personal data"):
            read_manifest(tmp_path, DataConfig(label_tag=personal))
    named = DataConfig(label_tag="PatientName", keep_tags=["PatientName"])
    assert set(read_manifest(tmp_path, named)["label"]) == {"Zaphod^Beeblebrox"}


def test_patients_are_hashed_under_a_key_that_stays(tmp_path, own_key):
    save(dicom(RAMP, patient="PAT-7 "), tmp_path / "a.dcm")
    save(dicom(RAMP + 1, patient="PAT-7"), tmp_path / "b.dcm")
    save(dicom(RAMP + 2, patient=""), tmp_path / "c.dcm")
    groups = read_inputs(tmp_path)["group"].tolist()
    expected = hash_patient("PAT-7", own_key.read_bytes().strip())
    assert groups == [expected, expected, None]
    other = tmp_path / "other.key"
    config = DataConfig(key_file=str(other))
    assert read_inputs(tmp_path, config)["group"][0] not in (expected, "PAT-7")
    assert other.stat().st_mode & 0o077 == 0
    assert read_inputs(tmp_path, config)["group"].tolist() != groups
    short = tmp_path / "short.key"
    short.write_text("abc")
    with pytest.raises(ConfigError, match="has 3 bytes"):
        read_inputs(tmp_path, DataConfig(key_file=str(short)))
    kept = DataConfig(keep_tags=["PatientID", "StudyDate"])
    table = read_inputs(tmp_path, kept)
    assert table["group"].tolist() == ["PAT-7", "PAT-7", None]
    assert table["StudyDate"].tolist() == ["20011031"] * 3


def test_a_dicomdir_lists_its_files(tmp_path):
    from pydicom.fileset import FileSet

    fileset = FileSet()
    for n in range(3):
        dataset = dicom(RAMP + n, patient=f"P-{n}", StudyID="1", StudyTime="120000",
                        SeriesNumber=1, InstanceNumber=n, StudyInstanceUID=f"1.2.{n}",
                        SeriesInstanceUID=f"1.3.{n}")  # fmt: skip
        fileset.add(save(dataset, tmp_path / "in" / f"{n}.dcm"))
    fileset.write(tmp_path / "media")
    fileset._stage["t"].cleanup()
    directory = tmp_path / "media" / "DICOMDIR"
    table = read_inputs(directory)
    assert table["group"].nunique() == len(table) == 3
    assert table["image"].tolist() == read_inputs(directory.parent)["image"].tolist()
    assert all(Path(path).is_file() for path in table["path"])
    (tmp_path / "DICOMDIR").write_bytes(b"nothing")
    with pytest.raises(DataError, match="is no DICOMDIR"):
        read_inputs(tmp_path / "DICOMDIR")
    lower = tmp_path / "lower"
    shutil.copytree(directory.parent, lower)
    for path in sorted(lower.rglob("*"), reverse=True):
        if path.name != "DICOMDIR":
            path.rename(path.with_name(path.name.lower()))
    assert all(Path(path).is_file() for path in read_inputs(lower / "DICOMDIR")["path"])


@pytest.fixture(scope="module")
def cells(tmp_path_factory, real_data):
    """Malaria cells as PNG and, byte for byte the same greys, as a DICOM tree; two CSVs."""
    import pandas as pd
    from PIL import Image

    source = real_data / "malaria"
    table = pd.read_csv(source / "labels.csv", dtype=str)
    patients = table["group"].drop_duplicates().sample(30, random_state=0)
    table = table[table["group"].isin(patients)].sort_values("image").reset_index(drop=True)
    root = tmp_path_factory.mktemp("cells")
    rows = []
    for row in table.itertuples():
        grey = np.asarray(Image.open(source / row.image).convert("L"))
        name = f"{row.Index:04d}"
        (root / "png").mkdir(exist_ok=True)
        Image.fromarray(grey).save(root / "png" / f"{name}.png")
        inverted = row.Index % 2 == 1
        # Over the whole range of 12 bits, as a scanner stores it: grey g comes back as g.
        stored = np.round(grey / 255 * 4095).astype(np.uint16)
        dataset = dicom(
            4095 - stored if inverted else stored, patient=f"PAT-{row.group}", BitsStored=12,
            PhotometricInterpretation=f"MONOCHROME{1 if inverted else 2}",
        )  # fmt: skip
        syntax = [None, RLELossless, JPEG2000Lossless][row.Index % 3]
        save(dataset, root / "dicom" / f"{name}.dcm", syntax)
        rows.append((name, row.label, row.group))
    learned = set(sorted(patients)[:20])
    for kind, ending in (("png", "png"), ("dicom", "dcm")):
        lines = [f"{kind}/{n}.{ending},{label}" + (f",{g}" if kind == "png" else "")
                 for n, label, g in rows if g in learned]  # fmt: skip
        head = "image,label,group" if kind == "png" else "image,label"
        (root / f"{kind}.csv").write_text("\n".join([head, *lines]) + "\n")
        names = [f"{kind}/{n}.{ending}" for n, _, g in rows if g not in learned]
        (root / f"{kind}-rest.csv").write_text("\n".join(["image", *names]) + "\n")
    return root


@pytest.mark.long
def test_a_dicom_tree_is_labelled_as_its_pngs_are(cells, command, tmp_path, real_data):
    """fit → assign → audit; and nothing personal in any file that they write."""
    from clusterkit import read_assignments
    from tests.dicoms import PERSONAL

    settings = tmp_path / "c.toml"
    settings.write_text(
        '[image]\nsize = 64\n[model]\nbackbone = "squeezenet1_0"\n'
        f'weights = "{real_data / "weights" / "squeezenet1_0_imagenet.pth"}"\n'
        '[train]\nstrategy = "head"\nsiamese_epochs = 4\nfolds = 3\n[audit]\nlimit = 8\n'
    )
    tables = {}
    for kind in ("png", "dicom"):
        run = tmp_path / "runs" / kind
        for step in (
            ["fit", cells / f"{kind}.csv"],
            ["assign", cells / f"{kind}-rest.csv"],
            ["audit"],
        ):
            code, _, err = command(*step, "--run", run, "--config", settings)
            assert code == 0, err
        tables[kind] = read_assignments(run / "assignments.csv")
    png, dcm = tables["png"], tables["dicom"]
    assert len(png) == len(dcm) > 100
    assert (png["predicted_label"] == dcm["predicted_label"]).mean() >= 0.99
    assert (png["status"] == dcm["status"]).mean() >= 0.99
    assert dcm["group"].str.fullmatch("patient-[0-9a-f]{16}").all()
    assert not (dcm["status"] == "failed").any()
    written = [path for path in (tmp_path / "runs" / "dicom").rglob("*") if path.is_file()]
    assert len(written) > 20
    ids = [f"PAT-{g}" for g in ("P", "C")] + ["PAT-"]
    for path in written:
        data = path.read_bytes()
        for value in [*PERSONAL.values(), *ids]:
            assert value.encode() not in data, (path, value)
    kept = tmp_path / "kept.csv"
    code, _, err = command("assign", cells / "dicom-rest.csv", "--run", tmp_path / "runs" / "dicom",
                           "--keep-tags", "StudyDate,(0010,0010)", "--out", kept)  # fmt: skip
    assert code == 0, err
    table = read_assignments(kept)
    assert table.columns[-2:].tolist() == ["StudyDate", "(0010,0010)"]
    assert set(table["StudyDate"]) == {"20011031"}


@pytest.mark.slow
def test_frames_go_through_fit_assign_audit_and_review(tmp_path, command, config):
    """A stack's frames are rows of their own, find their pictures again, and can be reviewed."""
    from clusterkit import assign, audit, fit, read_assignments
    from clusterkit.formats.run import Run

    rng, lines = np.random.default_rng(0), ["image,frame,label"]
    for n in range(12):
        stack = rng.integers(0, 3000, (4, 48, 48)).astype(np.uint16)
        for k in range(4):
            # Bright above or on the left, which any network can tell.
            stack[k, :24] += 1000 * (k % 2 == 0)
            stack[k, :, :24] += 1000 * (k % 2 == 1)
            lines.append(f"s{n:02d}.dcm,{k},{['above', 'left'][k % 2]}")
        save(dicom(stack, patient=f"P-{n}"), tmp_path / "in" / f"s{n:02d}.dcm")
    (tmp_path / "in" / "labels.csv").write_text("\n".join(lines[:33]) + "\n")
    run = fit(tmp_path / "in" / "labels.csv", config=config, run=tmp_path / "run")
    assert len(run.manifest) == 32
    assert run.info["data"]["units"] == 8
    result = assign(run, tmp_path / "in", config=config)
    table = read_assignments(result.path)
    assert len(table) == 48
    assert table["image"].nunique() == 12
    assert (
        table["image_id"].str.replace("^x?[0-9a-f]{16}", "", regex=True).tolist()
        == ["#0", "#1", "#2", "#3"] * 12
    )
    copies = table["status"] == "duplicate"
    assert copies.sum() == 32
    assert table["duplicate_of"][0] == "s00.dcm#0"
    assert table["nearest_image"][~copies].str.fullmatch(r"s\d\d\.dcm#\d").all()
    again = Run.load(run.path)
    assert again.find_image("s00.dcm#3").name == "s00.dcm"
    assert (np.asarray(again.open_image("s00.dcm#3")) != np.asarray(
        again.open_image("s00.dcm#1"))).any()  # fmt: skip
    page = audit(again, config=config)
    thumbs = {path.name for path in (page.parent / "thumbs").rglob("*.jpg")}
    assert any("-3-thumb" in name for name in thumbs)
    refused = table[~copies].iloc[[0]]
    reviews = run.path / "reviews.csv"
    row = f"{refused['image_id'].iloc[0]},{refused['image'].iloc[0]},left,relabel,,,"
    reviews.write_text(f"image_id,image,label,decision,reviewer,time,note\n{row}\n")
    code, _, err = command("review", reviews)
    assert code == 0, err
    better = fit(tmp_path / "in" / "labels.csv", config=config, reviews=[reviews],
                 run=tmp_path / "better")  # fmt: skip
    added = better.manifest[better.manifest["provenance"] == "reviewed"]
    assert added["frame"].tolist() == ["0"]
    assert len(better.manifest) == 33


def test_inspect_reads_dicom_and_writes_nothing_personal(tmp_path, command):
    from tests.dicoms import PERSONAL

    rng = np.random.default_rng(0)
    for n in range(6):
        noise = rng.integers(0, 4096, (3, 64, 64)).astype(np.uint16)
        dataset = dicom(noise, patient=f"PAT-{n // 2}", BitsStored=12)
        dataset.BurnedInAnnotation = "YES" if n == 1 else "NO"
        save(dataset, tmp_path / "in" / "ab"[n % 2] / f"{n}.dcm")
    same = dicom(noise, patient="PAT-9", BitsStored=12)
    save(same, tmp_path / "in" / "a" / "copy.dcm", RLELossless)
    (tmp_path / "in" / "b" / "cut.dcm").write_bytes(
        (tmp_path / "in" / "a" / "0.dcm").read_bytes()[:2000]
    )
    out = tmp_path / "out"
    code, text, err = command("inspect", tmp_path / "in", "--out", out)
    assert code == 0, err
    import pandas as pd

    table = pd.read_csv(out / "findings.csv", dtype=str, keep_default_na=False)
    kinds = table.groupby("kind")["image"].agg(set)
    assert kinds["unreadable"] == {"b/cut.dcm"}
    assert kinds["burned_in_text"] == {"b/1.dcm"}
    # Another syntax and another patient, but the same pictures: each of the three frames.
    assert kinds["duplicate_across_groups"] == {"a/copy.dcm", "b/5.dcm"}
    assert (table["kind"] == "near_duplicate").sum() == 6
    assert "exact_duplicate" not in kinds
    assert "24, 3 unreadable" in text
    for path in [p for p in out.rglob("*") if p.is_file()]:
        data = path.read_bytes()
        for value in [*PERSONAL.values(), "PAT-"]:
            assert value.encode() not in data, (path, value)
