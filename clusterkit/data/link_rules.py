"""Links among the images: which are followed, and where they may lead."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from clusterkit.config import DataConfig
from clusterkit.data.written_names import folder_of_record, relative_folder
from clusterkit.errors import DataError


@dataclass(frozen=True)
class LinkRules:
    """Rules of one call.

    Attributes
    ----------
    follow : bool
        Links to folders are followed, and links may lead into `roots`. Without, only links to
        files that stay inside the folder that is listed count.
    roots : tuple of str
        Folders, with their links resolved, that links may lead into besides the one listed.
    """

    follow: bool = False
    roots: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: DataConfig, *named: object) -> "LinkRules":
        """Return the rules of a configuration.

        Parameters
        ----------
        config : DataConfig
            `follow_links`, `link_roots` (which means the former too); `images` and `unlabeled`
            are named, so that links may lead into them.
        *named : path or RemoteLocation or None
            What else a person has named; files and stores are passed over.

        Raises
        ------
        DataError
            A folder of `link_roots` does not exist.
        """
        for root in config.link_roots:
            if not os.path.isdir(root):
                raise DataError(f"folder {root} of --link-root does not exist; give the folder "
                                "that the links lead to")  # fmt: skip
        if not config.follow_links and not config.link_roots:
            return cls()
        all_named = [*config.link_roots, config.images, config.unlabeled, *named]
        folders = [os.path.realpath(f) for f in all_named
                   if isinstance(f, str | Path) and os.path.isdir(f)]  # fmt: skip
        return cls(True, tuple(dict.fromkeys(folders)))

    def allowed(self, root: Path | str) -> tuple[str, ...]:
        """Return the folders that links under `root` may lead into, itself first."""
        return (os.path.realpath(root), *self.roots)

    def recorded(self, start: Path) -> list[str]:
        """Return `roots` as a record in the folder `start` keeps them: relative to it."""
        return [relative_folder(Path(root), start) for root in self.roots]


def link_roots_of(recorded: Iterable[object], start: Path) -> tuple[Path, ...]:
    """Return the folders of which `LinkRules.recorded` has made texts; others are passed over."""
    texts = [text for text in recorded if isinstance(text, str) and text.isprintable()]
    return tuple(folder_of_record(text, start) for text in texts if not os.path.isabs(text))
