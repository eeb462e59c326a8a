"""Groups that nobody named: columns that look like one, and DICOM files without a patient."""

import logging
import shlex

import numpy as np
import pytest
from PIL import Image

from clusterkit import inspect, read_manifest
from clusterkit.config import DataConfig
from clusterkit.data.inputs import read_inputs
from clusterkit.data.patients import group_like_column

LINES = [["a.png", "1", "x"], ["b.png", "1", "y"], ["c.png", "2", "x"], ["d.png", "3", "y"]]


@pytest.mark.parametrize("name", [
    "patient", "patient_id", "PatientID", "Patient ID", "patientid", "PATIENT_ID", "patient-no",
    "mrn",
    "MRN", "subject", "subject_id", "SubjectID", "case", "case_id", "CaseNumber", "slide",
    "slide_id",
    "study", "StudyInstanceUID", "lesion_id", "pid", "Group", "participant_id", "anon_patient_id",
    "donor", "patients", "patientnummer", "WSI_name", "case_submitter_id", "bcr_patient_barcode",
    "dicom.PatientID", "source_patient", "Patienten-ID", "Fallnummer",
])  # fmt: skip
def test_columns_that_look_like_a_group(name):
    assert group_like_column(["image", name, "label"], LINES) == name


@pytest.mark.parametrize("name", [
    "patient_age", "PatientSex", "patient position",
    "case_control", "study_date", "slide_thickness",
    "id", "site", "age", "label2", "", "name", "scanner", "caseworker", "impatient",
    "image_id", "patient_diagnosis_code", "fallback", "sample_barcode",
])  # fmt: skip
def test_columns_that_do_not(name):
    assert group_like_column(["image", name, "label"], LINES) is None


def test_values_that_do_not_repeat_are_no_groups():
    assert group_like_column(["patient", "label"], [["1", "x"], ["2", "x"], ["", ""]]) is None
    assert group_like_column(["case"], [["yes"], ["no"], ["no"]]) is None
    names = ["slide", "patient"]
    assert group_like_column(names, [["1", "p"], ["1", "p"], ["2", "q"], ["3", "q"]]) == "patient"


def test_a_column_is_named_until_it_is_used_or_declined(tmp_path, caplog):
    rows = ["image,label,patient_id"]
    for number in range(6):
        Image.new("RGB", (8, 8), (number, 7, 9)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{'ab'[number % 2]},p{number // 2}")
    source = tmp_path / "labels.csv"
    source.write_text("\n".join(rows))
    said = "column patient_id looks like a group and is not used"

    def read(**settings):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            return read_manifest(source, DataConfig(**settings))["group"].nunique()

    assert read() == 0
    assert said in caplog.text
    assert any(said in remark for remark in inspect(source).summary["remarks"])
    assert read(group_column="patient_id") == 3
    assert said not in caplog.text
    assert read(group_column="none") == 0
    assert said not in caplog.text
    source.write_text(source.read_text().replace("patient_id", "group"))
    assert read(group_column="none") == 0
    assert read() == 3
    assert caplog.text == ""


def test_the_option_that_is_named_may_be_copied(tmp_path, command):
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    source = tmp_path / "l.csv"
    source.write_text("image,label,Patient's ID\n" + "0.png,x,1\n0.png,x,1\n0.png,y,2\n")
    out = command("inspect", source)[1]
    (line,) = [line for line in out.splitlines() if "looks like a group" in line]
    advice = shlex.split(line.partition("; give ")[2].partition(", or")[0])
    assert advice == ["--group-column", "Patient's ID"]
    assert "looks like a group" not in command("inspect", source, *advice)[1]


pydicom = pytest.importorskip("pydicom", reason="needs clusterkit[dicom]")

from tests.dicoms import dicom, save  # noqa: E402


def groups_of(folder, *rows, config=None):
    """Write one file for each (patient, study, series), and return their groups."""
    for number, (patient, study, series) in enumerate(rows):
        pixels = np.full((16, 16), number, dtype=np.uint16)
        pixels[number % 16, :] = 4000
        uids = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
        uids = {name: f"1.2.3.{uid}" for name, uid in uids.items() if uid}
        save(
            dicom(pixels, patient=patient, uid=f"1.2.9.{number}", **uids),
            folder / f"{number:03}.dcm",
        )
    return read_inputs(folder, config)["group"].tolist()


def kinds(groups):
    return [group and group.split("-")[0] for group in groups]


def test_the_study_and_then_the_series_stand_for_the_patient(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        groups = groups_of(
            tmp_path, ("", "1", "1"), ("", "1", "2"), ("", "2", "3"), ("", "", "4"),
            ("", "", "4"), ("", "", ""), ("P1", "5", "6"), ("", "5", "7"),
        )  # fmt: skip
    assert kinds(groups) == ["study"] * 3 + ["series"] * 2 + [None] + ["patient"] * 2
    assert groups[0] == groups[1] != groups[2]
    assert groups[3] == groups[4]
    # A file of a study whose patient is known is that patient's.
    assert groups[6] == groups[7]
    assert (
        "3 DICOM files have no PatientID: their StudyInstanceUID is the group, 2 in all"
        in caplog.text
    )
    assert "2 DICOM files have no PatientID: their SeriesInstanceUID is the group" in caplog.text
    assert "1 DICOM files have no PatientID, StudyInstanceUID or SeriesInstanceUID" in caplog.text
    assert "1.2.3" not in "".join(filter(None, groups))


@pytest.mark.parametrize("word", [
    "ANONYMIZED", "Anonymous", "anon", "UNKNOWN", "De-Identified", "N/A", "none", "XXXX", "-", "0",
    "0000",
])  # fmt: skip
def test_a_word_for_nobody_is_no_patient(tmp_path, word):
    assert len(set(groups_of(tmp_path, (word, "1", "1"), (word, "1", "2"), (word, "2", "3")))) == 2


def test_a_patient_of_several_studies_stays_whole(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        groups = groups_of(tmp_path / "one", *[("4711", f"{n}", "1") for n in range(1, 5)])
    assert len(set(groups)) == 1
    assert "one PatientID, in 4 studies: they are taken for one patient" in caplog.text
    assert "4711" not in caplog.text
    rows = [("4711", f"{n}", "1") for n in range(1, 15)] + [("0", "15", "1"), ("0", "16", "1")]
    assert len(set(groups_of(tmp_path / "two", *rows))) == 2
    assert len(set(groups_of(tmp_path / "ids", ("ANON1", "1", "1"), ("ANON1", "2", "1")))) == 1


def test_one_id_of_all_files_in_many_studies_is_nobodys(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        groups = groups_of(tmp_path, *[("4711", f"{n // 2 + 1}", "1") for n in range(24)])
    assert len(set(groups)) == 12
    assert "24 DICOM files have no PatientID that tells patients apart: their Study" in caplog.text
    assert "4711" not in caplog.text


def test_a_word_for_nobody_without_a_study(tmp_path):
    assert groups_of(tmp_path, ("UNKNOWN", "", ""), ("UNKNOWN", "", "")) == [None, None]


def test_studies_are_kept_plain_where_that_is_asked_for(tmp_path):
    config = DataConfig(keep_tags=["StudyInstanceUID"])
    assert groups_of(tmp_path, ("", "1", "1"), config=config) == ["1.2.3.1"]
