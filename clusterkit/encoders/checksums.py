"""Checksums of files, by which weights and features are known again."""

import hashlib
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits, as hubs show it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
