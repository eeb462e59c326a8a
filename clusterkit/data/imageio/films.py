"""Films: recognised, and named; none is decoded here."""

_ADVICE = "extract its frames as images, e.g. with ffmpeg"

# By transfer syntax (PS3.5 A.4 and A.6).
_SYNTAXES = {
    "1.2.840.10008.1.2.4.100": "MPEG-2",
    "1.2.840.10008.1.2.4.101": "MPEG-2",
    "1.2.840.10008.1.2.4.102": "MPEG-4",
    "1.2.840.10008.1.2.4.103": "MPEG-4",
    "1.2.840.10008.1.2.4.104": "MPEG-4",
    "1.2.840.10008.1.2.4.105": "MPEG-4",
    "1.2.840.10008.1.2.4.106": "MPEG-4",
    "1.2.840.10008.1.2.4.107": "HEVC",
    "1.2.840.10008.1.2.4.108": "HEVC",
    "1.2.840.10008.1.2.7.1": "SMPTE ST 2110",
    "1.2.840.10008.1.2.7.2": "SMPTE ST 2110",
    "1.2.840.10008.1.2.7.3": "SMPTE ST 2110",
}

# Endings of films' names.
FILM_ENDINGS = (".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg",
                ".mpg", ".mts", ".ogv", ".webm", ".wmv")  # fmt: skip

# Still pictures in the same boxes as MP4.
_STILL = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif", b"jxl ", b"jp2 ", b"jpx ", b"crx ")


def film_of_syntax(syntax: str) -> str:
    """Reason why a DICOM file of a film's transfer syntax is no image; "": it is no film.

    >>> film_of_syntax("1.2.840.10008.1.2.4.102.1")
    'a film (MPEG-4): extract its frames as images, e.g. with ffmpeg'
    """
    # The variants in fragments end in one number more.
    name = _SYNTAXES.get(syntax) or _SYNTAXES.get(syntax.rpartition(".")[0], "")
    return f"a film ({name}): {_ADVICE}" if name else ""


def film_of_bytes(head: bytes) -> str:
    """Reason why a file is no image, by its first 16 bytes or more; "": it is no film.

    >>> film_of_bytes(b"RIFF....AVI LIST")
    'a film (AVI): extract its frames as images, e.g. with ffmpeg'
    """
    name = ""
    if head[4:8] == b"ftyp" and head[8:12] not in _STILL:
        name = "QuickTime" if head[8:12] == b"qt  " else "MP4"
    elif head[4:8] in (b"moov", b"mdat", b"wide"):
        name = "QuickTime"
    elif head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        name = "AVI"
    elif head[:4] == b"\x1a\x45\xdf\xa3":
        name = "Matroska or WebM"
    elif head[:4] in (b"\0\0\1\xba", b"\0\0\1\xb3"):
        name = "MPEG"
    elif head[:8] == b"\x30\x26\xb2\x75\x8e\x66\xcf\x11":
        name = "Windows Media"
    elif head[:4] == b"FLV\1":
        name = "Flash"
    return f"a film ({name}): {_ADVICE}" if name else ""
