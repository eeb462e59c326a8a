"""Patient ids, which leave a header only as keyed hashes, and header elements that are personal.

The hash is HMAC-SHA256 (RFC 2104) of the id under a key that the user keeps: the same key gives
the same hash in every run, and without it nobody can try ids until one fits.
"""

import hashlib
import hmac
import logging
import os
import re
import secrets
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from clusterkit.errors import ConfigError, nearest_name

log = logging.getLogger("clusterkit")

KEY_VARIABLE = "CLUSTERKIT_KEY_FILE"

_LEAST_BYTES = 16
_DIGITS = 16
_HASH = re.compile(r"patient-[0-9a-f]{16}")

# Elements outside group 0010 (patient) that tell who, where or when; dates and names by their VR.
_PERSONAL_VR = ("PN", "DA", "TM", "DT", "UI")
_PERSONAL = {
    "AccessionNumber",
    "DeviceSerialNumber",
    "InstitutionAddress",
    "InstitutionName",
    "InstitutionalDepartmentName",
    "IssuerOfPatientID",
    "RequestingService",
    "StationName",
    "StudyID",
}


def hash_patient(identity: str, key: bytes) -> str:
    """Return a patient's name in runs and tables: ``patient-`` and 16 hex digits.

    >>> hash_patient("4711", b"sixteen bytes or more")
    'patient-645fc47328abdeed'
    """
    digest = hmac.new(key, identity.strip().encode(), hashlib.sha256).hexdigest()
    return f"patient-{digest[:_DIGITS]}"


def key_path(key_file: str | None) -> Path:
    """Return where the key is: the setting, else $CLUSTERKIT_KEY_FILE, else the user's config."""
    chosen = key_file or os.environ.get(KEY_VARIABLE)
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "clusterkit" / "patient.key"


@cache
def read_key(path: Path) -> bytes:
    """Read the key, or make one that only the user can read, and say so.

    Raises
    ------
    ConfigError
        The file cannot be read or written, or is too short to be a key.
    """
    try:
        if not path.exists():
            _make_key(path)
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(
            f"the key for patient ids, {path}, cannot be used: {error.strerror or error}; name a "
            f"file with data.key_file or ${KEY_VARIABLE}"
        ) from error
    if len(key) < _LEAST_BYTES:
        raise ConfigError(f"the key for patient ids, {path}, has {len(key)} bytes; a key has at "
                          f"least {_LEAST_BYTES} (remove the file, and one is made)")  # fmt: skip
    return key


def key_fingerprint(groups: Iterable[str | None], key_file: str | None) -> str | None:
    """Return what tells keys apart without giving them away; None: no group is a hash.

    Two runs whose fingerprints differ give one patient two names.
    """
    if not any(isinstance(g, str) and _HASH.fullmatch(g) for g in groups):
        return None
    return hash_patient("fingerprint", read_key(key_path(key_file)))[len("patient-") :]


def _make_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32) + "\n")
    log.warning("made a key for patient ids: %s; keep it, and keep it secret: the same key gives "
                "the same hashes in the next run", path)  # fmt: skip


def known_tag(name: str) -> int:
    """Return the tag of an element by its keyword or number: ``PatientAge``, ``(0010,1010)``.

    Raises
    ------
    ConfigError
        There is no such keyword, or pydicom is not installed.
    """
    try:
        from pydicom.datadict import DicomDictionary, tag_for_keyword
    except ImportError:
        raise ConfigError(f"the DICOM tag {name} needs pydicom: "
                          "pip install 'clusterkit[dicom]'") from None  # fmt: skip
    tag = tag_for_keyword(name)
    if tag is not None:
        return int(tag)
    digits = "".join(c for c in name if c not in "(), ")
    try:
        if len(digits) != 8:
            raise ValueError
        return int(digits, 16)
    except ValueError:
        keywords = [entry[4] for entry in DicomDictionary.values()]
        near = nearest_name(name, keywords)
        raise ConfigError(f"'{name}' is no DICOM keyword{near}; give one, or a tag such as "
                          "(0010,1010)") from None  # fmt: skip


def is_personal(tag: int) -> bool:
    """Whether an element tells who a patient is, or who treated them, where or when."""
    from pydicom.datadict import dictionary_VR, keyword_for_tag

    if tag >> 16 == 0x0010 or (tag >> 16) % 2:
        return True
    try:
        return dictionary_VR(tag) in _PERSONAL_VR or keyword_for_tag(tag) in _PERSONAL
    except KeyError:
        return True
