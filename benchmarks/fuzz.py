"""Damaged files: what becomes of reading images, tables, records, settings and tensors.

Originals of each kind are made in memory and changed: bytes flipped, cut out, inserted and
repeated, lengths and values replaced. Reading one must give a value, a failed row whose reason is
one line, or a ClusterkitError of one line, within 10 s of processor time and 1 GB above the memory
that was used before. Anything else is an escape, and so is the end of the process. Exits with 1
where there is one.

    python -m benchmarks.fuzz --trials 20000 --out fuzz.json
    python -m benchmarks.fuzz --kinds tiff --only 117 --keep odd.tif

The second line repeats one trial by its number and keeps its file. A trial rests on seed, kind and
number alone; the originals of image files also on the versions of Pillow and tifffile.
"""

import argparse
import json
import logging
import multiprocessing
import re
import resource
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.damaged_files import PILLOW, SIDE, dicoms, mutate, pictures, settings, tables, tiffs
from clusterkit import fit
from clusterkit.config import Config, DataConfig, ImageConfig, load_config
from clusterkit.data.appearance import APPEARANCE
from clusterkit.data.duplicates.signature import SIGNATURE
from clusterkit.data.features.table import read_features
from clusterkit.data.inputs import read_inputs
from clusterkit.data.loading import image_refs, reader_of
from clusterkit.data.manifest import read_manifest
from clusterkit.data.processes import start_method
from clusterkit.errors import ClusterkitError
from clusterkit.formats.assignments import (
    COLUMNS,
    input_link_roots,
    input_root,
    read_assignments,
    read_record,
)
from clusterkit.formats.run import Run

# Of one trial: seconds of processor time, bytes above the start.
MOST_SECONDS, MOST_BYTES = 10.0, 1 << 30
# Seconds of processor time after which the process of a trial is ended, and characters of an error.
_HANGS, _LONGEST = 60, 1000
IMAGES = (*PILLOW, "tiff", "dicom")
TABLES, SETTINGS = ("csv",), ("toml",)
# Files of a run and of an assignment, by the name they have there.
OF_RUN = ("run.json", "calibration.json", "manifest.csv", "history.csv",
          "gallery.safetensors", "weights.safetensors")  # fmt: skip
OF_ASSIGNMENT = ("assignments.json", "assignments.csv")
FEATURES = ("npz", "npy")
KINDS = (*IMAGES, *TABLES, *SETTINGS, *OF_RUN, *OF_ASSIGNMENT, *FEATURES)

_TEXTS = (*TABLES, *SETTINGS, "run.json", "calibration.json", "manifest.csv", "history.csv",
          *OF_ASSIGNMENT)  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """What became of one damaged file; `escape` is empty where all is as promised."""

    kind: str
    number: int
    refused: bool
    seconds: float
    bytes: int
    escape: str


class Bench:
    """A folder with a run, an assignment and images, and the originals of every kind."""

    def __init__(self, folder: Path, kinds: tuple[str, ...] = KINDS, seed: int = 0) -> None:
        self.folder, self.seed = folder, seed
        (folder / "key").write_text("a key for the patient ids of damaged DICOM files\n")
        rng = np.random.default_rng(seed)
        for i in range(4):
            picture = rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(picture).save(folder / f"{i}.png")
        self.originals = {kind: list(self._made(kind)) for kind in kinds}
        if set(kinds) & {*OF_RUN, *OF_ASSIGNMENT, *FEATURES}:
            self._make_run()
        for kind in set(kinds) & {*OF_RUN, *OF_ASSIGNMENT}:
            place = "run" if kind in OF_RUN else "out"
            self.originals[kind] = [(folder / place / kind).read_bytes()]
        for kind in set(kinds) & set(FEATURES):
            self.originals[kind] = [(folder / f"f.{kind}").read_bytes()]

    def _made(self, kind: str) -> Iterator[bytes]:
        rng = np.random.default_rng([self.seed, zlib.crc32(kind.encode())])
        if kind in PILLOW:
            return pictures(rng, kind)
        if kind == "toml":
            return iter([settings(Config())])
        return {"tiff": tiffs, "dicom": dicoms, "csv": tables}.get(kind, lambda _: iter([]))(rng)

    def _make_run(self) -> None:
        """Fit a run on features, which has all kinds of files and takes seconds."""
        rng, names = np.random.default_rng(0), np.array([f"{i:02}.png" for i in range(48)])
        y = np.arange(48) % 2
        features = (rng.normal(size=(48, 8)) + 3 * y[:, None]).astype(np.float32)
        np.savez(self.folder / "f.npz", image=names, features=features)
        np.save(self.folder / "f.npy", features)
        (self.folder / "f.csv").write_text("image\n" + "\n".join(names) + "\n")
        groups = [f"p{i // 4}" for i in range(48)]
        rows = {"image": names, "label": np.where(y, "a", "b"), "group": groups}
        pd.DataFrame(rows).to_csv(self.folder / "labels.csv", index=False)
        run = self.folder / "run"
        fit(self.folder / "labels.csv", run=run, features=self.folder / "f.npz", seed=0)
        record = json.loads((run / "run.json").read_text())
        # What differs from one fit to the next, and so would the trials.
        record |= {"id": "0123456789abcdef", "created": "2026-01-01T00:00:00+00:00"}
        record["versions"] = {"clusterkit": "0.1.0", "torch": "2", "python": "3"}
        (run / "run.json").write_text(json.dumps(record, indent=1))
        out = self.folder / "out"
        out.mkdir()
        cells = dict.fromkeys(COLUMNS, "") | {"status": "assigned", "image_id": "0" * 16,
                                              "confidence": "0.9", "cluster": "3"}  # fmt: skip
        pd.DataFrame([cells | {"image": name} for name in names]).to_csv(
            out / "assignments.csv", index=False)  # fmt: skip
        about = {"input_root": "..", "link_roots": [".."], "run_id": record["id"], "images": 48,
                 "promise": {"max_error": 0.05}, "counts": {"assigned": 48}}  # fmt: skip
        (out / "assignments.json").write_text(json.dumps(about, indent=1))

    def damaged(self, kind: str, number: int) -> bytes:
        """Return the file of a trial."""
        rng = np.random.default_rng([self.seed, zlib.crc32(kind.encode()), number])
        known = self.originals[kind]
        return mutate(rng, known[rng.integers(len(known))], kind in _TEXTS)

    def try_one(self, kind: str, number: int) -> Trial:
        """Read one damaged file; the first original where the number is negative."""
        place = {"csv": "x.csv", "toml": "x.toml", "npz": "x.npz", "npy": "f.npy"}.get(kind, "x")
        path = self.folder / place
        for part, names in (("run", OF_RUN), ("out", OF_ASSIGNMENT)):
            path = self.folder / part / kind if kind in names else path
        path.write_bytes(self.damaged(kind, number) if number >= 0 else self.originals[kind][0])
        before, started, escape, refused = _start_memory(), time.process_time(), "", False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reasons = self.read(kind, path)
        except ClusterkitError as error:
            reasons = [str(error)]
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            reasons, escape = [], f"{type(error).__name__}: {error!s:.200} ({where.name})"
        seconds, more = time.process_time() - started, _peak_memory() - before
        for reason in filter(None, reasons):
            refused = True
            if len(reason.splitlines()) > 1 or len(reason) > _LONGEST:
                escape = f"reason of several lines or too long: {reason!r:.200}"
        if seconds > MOST_SECONDS:
            escape = f"{seconds:.1f} s"
        if more > MOST_BYTES:
            escape = f"{more >> 20} MB"
        if path.parent != self.folder or kind == "npy":
            path.write_bytes(self.originals[kind][0])
        return Trial(kind, number, refused, round(seconds, 3), max(0, more), escape)

    def read(self, kind: str, path: Path) -> list[str]:
        """Read a file as commands do; returns reasons of rows that failed."""
        if kind in IMAGES:
            return _read_images(path, self.folder / "key")
        if kind == "csv":
            reasons = []
            for read in (read_inputs, read_manifest):
                try:
                    read(path)
                except ClusterkitError as error:
                    reasons.append(str(error))
            return reasons
        if kind == "toml":
            load_config(path)
        elif kind in OF_RUN:
            Run.load(path.parent).card().to_text()
        elif kind == "assignments.csv":
            read_assignments(path)
        elif kind == "assignments.json":
            record = read_record(path.with_suffix(".csv"))
            input_root(path, record), input_link_roots(path, record)
        else:
            read_features(path)
        return []


def _read_images(path: Path, key: Path) -> list[str]:
    """Read what a file holds as `assign` does, its first two images at most."""
    how = ImageConfig(size=SIDE)
    refs = image_refs(read_inputs(path, Config(image=how, data=DataConfig(key_file=str(key)))))[:2]
    reasons = []
    for image, _, reason, _, signature, appearance in map(reader_of(refs, how), range(len(refs))):
        shapes = (image.shape, signature.shape, appearance.shape)
        if shapes != ((SIDE, SIDE, 3), (SIGNATURE,), (APPEARANCE,)) or image.dtype != np.uint8:
            raise AssertionError(f"read as {shapes} of {image.dtype}")
        reasons.append(reason)
    return reasons


def _start_memory() -> int:
    """Return the bytes in use, and let the peak begin there where the system can do that."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak_memory()


def _peak_memory() -> int:
    with suppress(OSError):
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) << 10
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most << 10


def _try_all(bench: Bench, trials: list[tuple[str, int]], sender: Connection) -> None:
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    for kind, number in trials:
        # Not of the clock: whoever stops it for a while has found nothing.
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + _HANGS, hard))
        sender.send(bench.try_one(kind, number))


def run_trials(bench: Bench, trials: list[tuple[str, int]]) -> Generator[Trial, None, None]:
    """Try all in another process; where one ends it, the next go on in a new one."""
    context: Any = multiprocessing.get_context(start_method())
    done = 0
    while done < len(trials):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_try_all, args=(bench, trials[done:], sender), daemon=True)
        process.start()
        sender.close()
        try:
            while done < len(trials):
                yield receiver.recv()
                done += 1
        except EOFError:
            process.join()
            how = f"ends the process (code {process.exitcode})"
            yield Trial(*trials[done], False, 0.0, 0, how)
            done += 1
        finally:
            # Also where nobody wants the rest: its folder goes.
            process.kill()
            process.join()
            receiver.close()


def summarise(trials: list[Trial]) -> pd.DataFrame:
    """Return a row for each kind, and one for all."""
    table = pd.DataFrame([asdict(trial) for trial in trials])
    table["escapes"] = table["escape"] != ""
    table["read"] = ~table["refused"] & ~table["escapes"]
    rows = [*table.groupby("kind", sort=False), ("all", table)]
    return pd.DataFrame([{
        "kind": kind, "trials": len(part), "refused": int(part["refused"].sum()),
        "read": int(part["read"].sum()), "worst s": part["seconds"].max(),
        "worst MB": int(part["bytes"].max()) >> 20, "escapes": int(part["escapes"].sum()),
    } for kind, part in rows])  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=20_000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, metavar="KIND",
                        help=", ".join(KINDS))  # fmt: skip
    parser.add_argument("--only", type=int, help="repeat the trial of this number of one kind")
    parser.add_argument("--keep", type=Path, help="with --only: write the damaged file there")
    parser.add_argument("--out", type=Path, help="JSON of the table and of each escape")
    options = parser.parse_args()
    # What is only remarked on is no matter here.
    logging.getLogger("clusterkit").setLevel(logging.ERROR)
    kinds, each = tuple(options.kinds), -(-options.trials // len(options.kinds))
    numbers = range(each) if options.only is None else [options.only]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), kinds, options.seed)
        if options.keep:
            options.keep.write_bytes(bench.damaged(kinds[0], numbers[0]))
        done = []
        # Ctrl-C ends it early, with the table of what was tried.
        running = run_trials(bench, [(kind, n) for n in numbers for kind in kinds])
        with suppress(KeyboardInterrupt), closing(running):
            for trial in running:
                done.append(trial)
                if trial.escape:
                    print(f"{trial.kind} {trial.number}: {trial.escape}", flush=True)
    table = summarise(done)
    print(table.to_string(index=False))
    escapes = [asdict(trial) for trial in done if trial.escape]
    if options.out:
        found = {"seed": options.seed, "table": table.to_dict("records"), "escapes": escapes}
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    return 1 if escapes else 0


if __name__ == "__main__":
    sys.exit(main())
