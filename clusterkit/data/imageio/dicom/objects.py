"""DICOM objects that are no pictures of a patient, by SOP class and image type."""

import re

_ROOT = "1.2.840.10008.5.1.4.1.1."

# By the end of the SOP class (PS3.4 B.5): a class, or with a point at the end all below it.
_NO_PICTURES = {
    "9.": "waveforms (an ECG, sound, …)",
    "11.": "presentation states",
    "104.": "documents (PDF, CDA, …)",
    "88.": "reports (SR)",
    "66.4": "segmentations (masks)",
    "66.5": "segmentations (masks)",
    "66.7": "segmentations (masks)",
    "66.8": "segmentations (masks)",
    "66.": "raw data, registrations or other measurements",
    "66": "raw data, registrations or other measurements",
    "67": "raw data, registrations or other measurements",
    "4.2": "raw data, registrations or other measurements",
    "30": "parametric maps",
    "81.1": "parametric maps",
    "82.1": "parametric maps",
    "481.2": "doses (RTDOSE)",
    "481.": "objects of radiotherapy (plans, structures, …)",
    "68.": "measurements or lists",
    "78.": "measurements or lists",
    "79.": "measurements or lists",
    "80.": "measurements or lists",
    "90.": "measurements or lists",
    "91.": "measurements or lists",
    "200.": "measurements or lists",
    "201.": "measurements or lists",
}

# RT images are radiographs of the patient in the treatment's position.
_PICTURES = ("481.1", "481.23", "481.24")

_SLIDE = _ROOT + "77.1.6"

_SCOUTS = {"LOCALIZER", "SCOUT"}
_NOT_THE_SLIDE = {"LABEL", "OVERVIEW", "THUMBNAIL"}

LOCALIZERS = ("are localizers (scouts), from which slices are planned; --keep-localizers takes "
              "them as images")  # fmt: skip


def why_no_picture(sop_class: str, image_type: str, keep_localizers: bool = False) -> str:
    """Reason why a file is no picture to learn from, as it follows "N files"; "": it is one.

    Parameters
    ----------
    sop_class : str
        SOPClassUID.
    image_type : str
        ImageType, its values in any notation.
    keep_localizers : bool
        Localizers are pictures too.

    >>> why_no_picture("1.2.840.10008.5.1.4.1.1.481.2", "")
    'are DICOM doses (RTDOSE), no pictures of a patient'
    >>> why_no_picture("1.2.840.10008.5.1.4.1.1.2", "['ORIGINAL', 'PRIMARY', 'AXIAL']")
    ''
    """
    sop_class = sop_class.strip()
    kind = sop_class.removeprefix(_ROOT)
    if kind != sop_class and kind not in _PICTURES:
        above = kind.partition(".")[0] + "."
        what = _NO_PICTURES.get(kind) or (_NO_PICTURES.get(above) if kind != above[:-1] else None)
        if what:
            return f"are DICOM {what}, no pictures of a patient"
    values = {value.strip().upper() for value in re.findall(r"[^\[\]',\\]+", image_type)}
    if sop_class == _SLIDE and values & (_NOT_THE_SLIDE | _SCOUTS):
        return "are the label, overview or thumbnail of a slide, which may show names"
    if values & _SCOUTS and not keep_localizers:
        return LOCALIZERS
    return ""
