"""Images far larger than a screen: small pictures of them, within memory, and a word where not."""

import io

import pytest
from PIL import Image

from clusterkit import Run, assign, audit
from clusterkit.auditing.originals import Originals
from clusterkit.config import override
from tests.pages import data_of


def png(width: int, height: int) -> bytes:
    """A PNG of one bit a pixel: a few bytes, however large it is."""
    file = io.BytesIO()
    Image.new("1", (width, height), 1).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def page(run, config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    (folder / "new").mkdir()
    for name, size in (("wide", (20_000, 200)), ("huge", (14_000, 13_000))):
        (folder / "new" / f"{name}.png").write_bytes(png(*size))
    done = assign(run, folder / "new", out=folder / "assignments.csv", config=config)
    own = override(Run.load(run.path).config, audit__originals="link")
    return audit(run, assignments=done.path, out=folder / "audit", config=own)


def test_a_wide_image_has_small_pictures(page):
    cards = {card["image"]: card for card in data_of(page)["cards"]}
    wide = cards["wide.png"]
    with Image.open(page.parent / wide["thumb"]) as picture:
        assert picture.size == (256, 3)
    # Four million pixels: browsers show the file itself.
    assert wide["full"] == "../new/wide.png"


def test_one_that_no_memory_takes_says_what_to_do(page):
    cards = {card["image"]: card for card in data_of(page)["cards"]}
    assert cards["huge.png"]["status"] == "failed"
    assert "178,000,000 pixels: save a smaller copy" in cards["huge.png"]["words"]["why"]


@pytest.mark.parametrize(
    ("size", "copy"), [((20_000, 2000), (1024, 102)), ((20_000, 1), (1024, 1))]
)
def test_copies_are_small_whatever_the_image(tmp_path, size, copy):
    data = png(*size)
    originals = Originals("link", 1)
    image = Image.new("RGB", size)
    found = originals.path_of(image, data, tmp_path / "a.png", 0, tmp_path, "thumbs/a")
    if size[1] == 1:
        assert found == "a.png"
        found = Originals("copy", 1).path_of(image, data, tmp_path, 0, tmp_path, "thumbs/a")
    # Forty million pixels are too many for a browser: a copy, not the file.
    assert found == "thumbs/a-full.jpg"
    with Image.open(tmp_path / found) as picture:
        assert picture.size == copy
