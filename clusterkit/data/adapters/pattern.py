"""Adapter of a folder whose file names hold the labels, as those of Oxford-IIIT Pet do."""

import logging
import re
from pathlib import Path

import pandas as pd

from clusterkit.config import DataConfig
from clusterkit.data.left_out import LeftOut
from clusterkit.data.link_rules import LinkRules
from clusterkit.data.listing import list_images
from clusterkit.data.time_limit import TimeUpError, time_limit
from clusterkit.errors import ConfigError, DataError, shown

log = logging.getLogger("clusterkit")

# Seconds of processor time for all names, and for each of them.
SECONDS_OF_ALL, _A_NAME = 5.0, 0.0001


class PatternAdapter:
    """Labels by `config.label_pattern`, matched at the start of each file's name.

    The pattern has one group, which is the label, or named groups ``label`` and, if wanted,
    ``group``.
    """

    name = "pattern"

    def __init__(self, source: Path, config: DataConfig) -> None:
        self.source, self.config, self.left_out = source, config, LeftOut()
        try:
            self.pattern = re.compile(config.label_pattern or "")
        except re.error as error:
            raise ConfigError(
                f"label pattern {config.label_pattern!r} is no regular expression: {error}"
            ) from error
        if "label" not in self.pattern.groupindex and self.pattern.groups != 1:
            raise ConfigError(
                f"label pattern {config.label_pattern!r} needs one group, or a group named "
                r"'label', e.g. '^(.+)_\d+.jpg$'"
            )

    @classmethod
    def accepts(cls, source: Path, config: DataConfig) -> bool:
        """Return True for a folder, where a pattern is configured."""
        return source.is_dir() and config.label_pattern is not None

    def read(self) -> pd.DataFrame:
        """Rows, one per image; names that do not match are unlabelled.

        Raises
        ------
        DataError
            No name matches.
        ConfigError
            The pattern takes too long.
        """
        found = list_images(self.source, self.left_out, LinkRules.of(self.config, self.source))
        images = found.images
        matches = self._match(images)
        unmatched = [image for image, match in zip(images, matches, strict=True) if not match]
        if len(unmatched) == len(images):
            raise DataError(
                f"label pattern {self.pattern.pattern!r} matches none of {len(images)} file names "
                f"in {self.source}, e.g. '{unmatched[0]}'"
            )
        if unmatched:
            log.warning("%d file names do not match the label pattern and count as unlabelled, "
                        "e.g. %s", len(unmatched), unmatched[0])  # fmt: skip
        return pd.DataFrame(
            {
                "image": images,
                "path": found.paths,
                "label": [self._part(match, "label", 1) for match in matches],
                "group": [self._part(match, "group", None) for match in matches],
            },
            dtype=object,
        )

    def _match(self, images: list[str]) -> list[re.Match[str] | None]:
        """Match the names of files, which a pattern of nested repeats may take years to do."""
        matches: list[re.Match[str] | None] = []
        try:
            with time_limit(SECONDS_OF_ALL + _A_NAME * len(images)):
                for image in images:
                    matches.append(self.pattern.match(image.rsplit("/", 1)[-1]))
        except TimeUpError:
            name = images[min(len(matches), len(images) - 1)].rsplit("/", 1)[-1]
            raise ConfigError(
                f"label pattern {self.pattern.pattern!r} takes too long, e.g. on '{shown(name)}'; "
                "write no repeats within repeats, as in (a+)+"
            ) from None
        return matches

    def _part(self, match: re.Match[str] | None, name: str, number: int | None) -> str | None:
        if match is None:
            return None
        key = name if name in self.pattern.groupindex else number
        return ((match[key] or "").strip() or None) if key is not None else None
