"""No command writes or says anything personal that a DICOM header holds."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clusterkit import read_assignments
from clusterkit.exporting.export import TARGETS

pytest.importorskip("pydicom", reason="needs clusterkit[dicom]")

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.dicoms import PERSONAL, dicom, save

# Beside those that every file of the tests has: of other tags, nested, private and repeated.
ELEMENTS = {
    "OtherPatientIDs": "NHS-4470912",
    "PatientBirthName": "Trillian^McMillan",
    "PatientMotherBirthName": "Dent^Arthurine",
    "PatientTelephoneNumbers": "+44-7700-900461",
    "IssuerOfPatientID": "GALACTIC-ISSUER",
    "InstitutionAddress": "7 Betelgeuse Street",
    "InstitutionalDepartmentName": "Ward of Vogons",
    "OperatorsName": "Marvin^Android",
    "PhysiciansOfRecord": "Slartibartfast^Magrathea",
    "StudyID": "STUDY-5561",
    "StudyDescription": "Follow-up of Beeblebrox Z",
    "SeriesDescription": "ap Beeblebrox",
    "DeviceSerialNumber": "SN-991823",
    "StationName": "XRAY-ROOM-42",
    "PatientComments": "brother of Ford Prefect",
    "ImageComments": "seen by Dr Prefect",
    "AdmissionID": "ADM-20011",
}
PATIENT = "PAT-77"


@pytest.fixture
def images(tmp_path) -> Path:
    """Two classes of six patients, and some images of three more; one file is cut."""
    folder, rng = tmp_path / "in", np.random.default_rng(0)
    for n in range(18):
        field = np.kron(rng.integers(0, 2000, (8, 8)), np.ones((4, 4))) + 2000 * (n % 2)
        pixels = field.astype(np.uint16)
        dataset = dicom(pixels, patient=f"{PATIENT}{n // 2}", BitsStored=12, **ELEMENTS)
        asked = Dataset()
        asked.RequestedProcedureID, asked.AccessionNumber = "PROC-3318", PERSONAL["AccessionNumber"]
        dataset.RequestAttributesSequence = Sequence([asked])
        dataset.add_new((0x0009, 0x0010), "LO", "CLUSTERKIT TEST")
        dataset.add_new((0x0009, 0x1001), "LO", "PRIVATE-DENT-9")
        place = Path("new") if n >= 12 else Path("labelled") / "ab"[n % 2]
        save(dataset, folder / place / f"{n}.dcm")
    whole = (folder / "new" / "12.dcm").read_bytes()
    (folder / "new" / "cut.dcm").write_bytes(whole[:1500])
    return folder


@pytest.fixture
def check(images, tmp_path, command):
    """Run a command; nothing personal is in what it says or in any file but the inputs."""
    secrets = {*PERSONAL.values(), *ELEMENTS.values(), PATIENT, "PROC-3318", "PRIVATE-DENT-9"}
    wanted = {text.encode(kind) for text in secrets for kind in ("utf-8", "utf-16-le")}
    assert sum(text in (images / "new" / "12.dcm").read_bytes() for text in wanted) >= 20

    def call(*arguments):
        code, out, err = command(*arguments)
        assert code == 0, err
        for path in [p for p in tmp_path.rglob("*") if p.is_file() and not p.is_symlink()]:
            if path.is_relative_to(images):
                continue
            for data in contents(path):
                assert not [text for text in wanted if text in data], (arguments, path)
        assert not [text for text in secrets if text in out + err], arguments
        return out

    return call


def contents(path: Path) -> list[bytes]:
    """The bytes of a file, and those that are packed in it."""
    found = [path.read_bytes()]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            found += [packed.read(name) for name in packed.namelist()]
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        found.append(table.select_dtypes(exclude="number").to_csv().encode())
    return found


@pytest.mark.slow
def test_no_command_passes_on_what_a_header_says(images, check, tmp_path):
    run, new = tmp_path / "run", images / "new"
    config = tmp_path / "c.toml"
    config.write_text(
        '[image]\nsize = 32\n[model]\nbackbone = "squeezenet1_1"\nweights = "none"\n'
        '[train]\nstrategy = "head"\nsiamese_epochs = 2\nfolds = 2\n[audit]\nlimit = 9\n'
    )
    check("inspect", images / "labelled", "--out", tmp_path / "seen", "--config", config)
    check("inspect", new, "--ask", 2, "--out", tmp_path / "ask", "--config", config)
    for kind in ("npz", "parquet", "h5"):
        check("embed", new, "--out", tmp_path / f"f.{kind}", "--config", config)
    check("fit", images / "labelled", "--unlabeled", new, "--run", run, "--config", config)
    check("assign", new, "--run", run, "--ask", 3, "--max-error", "none")
    check("assign", new, "--run", run, "--json", "--max-error", "none")
    table = read_assignments(run / "assignments.csv")
    assert (table["status"] == "failed").sum() == 1
    read = table[table["status"] != "failed"]
    assert read["group"].str.match("patient-[0-9a-f]{16}$").all()
    check("audit", "--run", run)
    check("audit", "--run", run, "--originals", "link", "--out", tmp_path / "linked")
    check("audit", "--run", run, "--image", read["image"].iloc[0], "--out", tmp_path / "one.png")
    for to in TARGETS:
        if to == "fiftyone":
            continue
        copy = [] if to in ("xlsx", "parquet", "arrow") else ["--copy"]
        check("export", "--to", to, "--run", run, "--status", "all", *copy)
    check("similar", new / "12.dcm", "--run", run, "--json")
    check("similar", new / "12.dcm", "--run", run, "--by", "group")
    answers = read.head(2).assign(label=read["predicted_label"], decision="accept")
    answers[["image_id", "label", "decision"]].to_csv(tmp_path / "answers.csv", index=False)
    check("review", tmp_path / "answers.csv", "--run", run, "--out", tmp_path / "reviews.csv")
    check("certify", "--run", run, "--max-error", 0)
    sample = pd.read_csv(run / "certify" / "sample.csv", encoding="utf-8-sig", dtype=str)
    labels = read.set_index("image_id")["predicted_label"]
    said = sample.assign(label=sample["image_id"].map(labels), decision="accept", reviewer="Dr A")
    said[["image_id", "label", "decision", "reviewer"]].to_csv(tmp_path / "said.csv", index=False)
    check("certify", "--run", run, "--reviews", tmp_path / "said.csv")
    assert json.loads((run / "certify" / "certificate.json").read_text())
    check("fit", images / "labelled", "--reviews", tmp_path / "answers.csv", "--reviews-of", run,
          "--run", tmp_path / "next", "--config", config)  # fmt: skip
