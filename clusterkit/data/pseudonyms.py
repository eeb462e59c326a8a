"""Pseudonyms of patients: keyed hashes of their ids, and header elements that are personal.

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
_HASH = re.compile(r"(patient|study|series)-[0-9a-f]{16}")

# Value representations that cannot tell who, where or when: codes and numbers. Beside them some
# texts about the picture.
_PLAIN_VR = ("CS", "IS", "DS", "US", "SS", "UL", "SL", "FL", "FD")
_PLAIN = {
    "Manufacturer",
    "ManufacturerModelName",
    "ProtocolName",
    "SeriesDescription",
    "StudyDescription",
}
# Values that are no text of one line.
_NO_TEXT = ("SQ", "OB", "OD", "OF", "OL", "OV", "OW", "UN")


def hash_patient(identity: str, key: bytes) -> str:
    """Pseudonym of a patient in runs and tables: ``patient-`` and 16 hex digits.

    >>> hash_patient("4711", b"sixteen bytes or more")
    'patient-645fc47328abdeed'
    """
    return hash_group("patient", identity, key)


def hash_group(kind: str, identity: str, key: bytes) -> str:
    """Pseudonym of a patient, a study or a series: its kind, and 16 hex digits.

    >>> hash_group("study", "1.2.840.113", b"sixteen bytes or more")
    'study-86756e5152160ac6'
    """
    digest = hmac.new(key, identity.strip().encode(), hashlib.sha256).hexdigest()
    return f"{kind}-{digest[:_DIGITS]}"


def key_path(key_file: str | None) -> Path:
    """Path of the key: the setting, else $CLUSTERKIT_KEY_FILE, else in the user's config folder."""
    chosen = key_file or os.environ.get(KEY_VARIABLE)
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "clusterkit" / "patient.key"


@cache
def read_key(path: Path) -> bytes:
    """Key of the file; one that only the user can read is made, with a warning, if there is none.

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
        raise ConfigError(f"the key for patient ids, {path}, has {len(key)} bytes; a key has "
                          f"at least {_LEAST_BYTES}: put it back, or name another")  # fmt: skip
    return key


def key_fingerprint(groups: Iterable[str | None], key_file: str | None) -> str | None:
    """Fingerprint that tells keys apart without revealing them; None: no group is a pseudonym.

    Two runs whose fingerprints differ give one patient two pseudonyms.
    """
    if not any(isinstance(g, str) and _HASH.fullmatch(g) for g in groups):
        return None
    return hash_patient("fingerprint", read_key(key_path(key_file)))[len("patient-") :]


def _make_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    key = secrets.token_hex(32) + "\n"
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    _write_new(partial, key)
    try:
        # Whole or not at all; of two processes at once, the first one's is the key.
        os.link(partial, path)
    except FileExistsError:
        return
    except OSError:
        # Some file systems give a file one name only.
        try:
            _write_new(path, key)
        except FileExistsError:
            return
    finally:
        partial.unlink()
    log.warning("made a key for patient ids: %s; keep it, and keep it secret: the same key gives "
                "the same hashes in the next run", path)  # fmt: skip


def _write_new(path: Path, text: str) -> None:
    """Write a file that only the user can read, and that must not be there yet."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(handle)
    except BaseException:
        path.unlink()
        raise


def known_tag(name: str) -> int:
    """Tag of an element by its keyword or number: ``PatientAge``, ``(0010,1010)``.

    Raises
    ------
    ConfigError
        There is no such keyword, or pydicom is not installed.
    """
    try:
        from pydicom.datadict import keyword_dict, tag_for_keyword
    except ImportError:
        raise ConfigError(f"the DICOM tag {name} needs pydicom: "
                          "pip install 'clusterkit[dicom]'") from None  # fmt: skip
    tag = tag_for_keyword(name)
    if tag is not None:
        return int(tag)
    digits = "".join(c for c in name if c not in "(), ")
    if re.fullmatch("[0-9A-Fa-f]{8}", digits):
        return int(digits, 16)
    near = nearest_name(name, list(keyword_dict))
    raise ConfigError(f"'{name}' is no DICOM keyword{near}; give one, or a tag such as "
                      "(0010,1010)")  # fmt: skip


def is_personal(tag: int) -> bool:
    """Return True where an element may tell who a patient is, or who treated them, where or when.

    All elements may, except codes and numbers outside group 0010 (patient), and a few
    descriptions.
    """
    from pydicom.datadict import dictionary_VR, keyword_for_tag

    if tag >> 16 == 0x0010 or (tag >> 16) % 2:
        return True
    try:
        return dictionary_VR(tag) not in _PLAIN_VR and keyword_for_tag(tag) not in _PLAIN
    except KeyError:
        return True


def check_plain(name: str, tag: int) -> None:
    """Refuse an element whose value is no text of one line; a sequence may hold anything.

    Raises
    ------
    ConfigError
        It is such an element.
    """
    from pydicom.datadict import dictionary_VR

    try:
        kind = dictionary_VR(tag)
    except KeyError:
        return
    if any(part in _NO_TEXT for part in kind.split(" or ")):
        raise ConfigError(f"the DICOM element {name} is of type {kind} and no text; name one of "
                          "its own elements")  # fmt: skip
