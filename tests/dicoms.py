"""DICOM files made for tests, from arrays."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import set_pixel_data
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

# What must never leave a header; the tests look for each value in every file written.
PERSONAL = {
    "PatientName": "Zaphod^Beeblebrox",
    "PatientBirthDate": "19520311",
    "PatientAddress": "42 Heart-of-Gold Road",
    "ReferringPhysicianName": "Halfrunt^Gag",
    "InstitutionName": "Megadodo Hospital",
    "AccessionNumber": "ACC-778811",
    "StudyDate": "20011031",
}


def dicom(pixels: np.ndarray, patient: str = "PAT-0001", uid: str | None = None, **elements):
    """Return a data set of grey (F, H, W) or (H, W), or colour (H, W, 3) pixels."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    root = UID(f"1.2.826.0.1.3680043.8.498.{abs(hash((patient, pixels.tobytes()))) % 10**20}")
    dataset.SOPInstanceUID = uid or root
    dataset.PatientID, dataset.Modality = patient, elements.pop("Modality", "OT")
    for name, value in PERSONAL.items():
        setattr(dataset, name, value)
    kind = elements.pop("PhotometricInterpretation", "RGB" if pixels.shape[-1:] == (3,) and
                        pixels.ndim == 3 and pixels.shape[0] > 3 else "MONOCHROME2")  # fmt: skip
    bits = elements.pop("BitsStored", pixels.dtype.itemsize * 8)
    set_pixel_data(dataset, pixels, kind, bits, generate_instance_uid=False)
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def save(dataset: Dataset, path: Path, syntax: UID | None = None) -> Path:
    """Write a data set, compressed if a transfer syntax is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if syntax is not None:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)
    return path
