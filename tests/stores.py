"""A folder of every kind of file, and copies of it in stores; for tests of URLs."""

from pathlib import Path

import fsspec
import numpy as np
from PIL import Image

from tests.dicoms import dicom, save


def make_mixed(folder: Path, count: int = 4) -> Path:
    """Write images of all kinds, what is none, and what systems put beside them."""
    rng = np.random.default_rng(5)
    for number in range(count):
        pixels = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
        path = folder / f"P{number % 2}" / f"{number} ä%20.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    pages = [Image.fromarray(rng.integers(0, 255, (40, 40), dtype=np.uint8)) for _ in range(3)]
    pages[0].save(folder / "stack.tif", save_all=True, append_images=pages[1:])
    frames = rng.integers(0, 255, (3, 40, 40), dtype=np.uint8)
    save(dicom(frames, "PAT-1"), folder / "d" / "IM0001")
    save(dicom(frames[0], "PAT-2"), folder / "d" / "called.png")
    (folder / "d" / "notes.txt").write_text("a, b")
    (folder / "empty.png").write_bytes(b"")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff" + bytes(50))
    (folder / "scan.nii.gz").write_bytes(bytes(500))
    (folder / "misnamed.xyz").write_bytes((folder / "stack.tif").read_bytes())
    for name in (".hidden.png", "@eadir/t.png", "old/run.json", "old/gallery.safetensors",
                 "old/p.png", ".cache/c.png", "Thumbs.db"):  # fmt: skip
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    return folder


def upload(folder: Path, url: str) -> str:
    """Put the files of a folder into a store; returns the URL."""
    scheme = url.partition("://")[0]
    store = fsspec.filesystem(scheme)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.pipe_file(f"{url}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return url
