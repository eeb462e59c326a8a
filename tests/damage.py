"""What every reader promises of a damaged file: an image, or one line that says why not."""

from collections.abc import Callable

from PIL import Image

from clusterkit.errors import ImageError


def assert_image_or_reason(read: Callable[[], Image.Image]) -> str:
    """Call a reader; returns the reason, "" where there is an image."""
    try:
        mode, reason = read().mode, ""
    except ImageError as error:
        mode, reason = "RGB", str(error)
    assert mode == "RGB"
    assert "\n" not in reason
    return reason
