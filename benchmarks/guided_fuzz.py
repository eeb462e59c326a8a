"""Damaged files that grow by the lines that they reach (atheris), for the parsers.

As `benchmarks.fuzz` reads them: a value, a reason of one line or a ClusterkitError. Anything else
ends it, and the file is kept in the folder that it was called in. What follows the kind is
libFuzzer's.

    pip install atheris
    python -m benchmarks.guided_fuzz dicom -runs=20000 -seed=1
"""

import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["clusterkit.data", "clusterkit.formats", "tifffile",
                                         "pydicom"]):  # fmt: skip
    from benchmarks.fuzz import IMAGES, OF_ASSIGNMENT, SETTINGS, TABLES, Bench
    from clusterkit.errors import ClusterkitError

KINDS = (*IMAGES, *TABLES, *SETTINGS, *OF_ASSIGNMENT)
PLACES = {"csv": "x.csv", "toml": "x.toml", "assignments.csv": "out/assignments.csv",
          "assignments.json": "out/assignments.json"}  # fmt: skip


def main() -> None:
    """Grow files of one kind from the originals of `Bench`."""
    if len(sys.argv) < 2 or sys.argv[1] not in KINDS:
        raise SystemExit(f"name a kind first: {', '.join(KINDS)}")
    kind = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        bench, known = Bench(Path(folder), (kind,)), Path(folder) / "known"
        known.mkdir()
        for number, data in enumerate(bench.originals[kind]):
            (known / str(number)).write_bytes(data)
        path = bench.folder / PLACES.get(kind, "x")

        def try_one(data: bytes) -> None:
            path.write_bytes(data)
            with suppress(ClusterkitError):
                assert not [reason for reason in bench.read(kind, path) if "\n" in reason]

        limits = ["-timeout=20", "-rss_limit_mb=4096"]
        atheris.Setup([sys.argv[0], *limits, *sys.argv[2:], str(known)], try_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
