"""Which images of an input there is no evidence on yet; that on the others is not made again.

An image is known by its bytes: a file that was touched, moved or copied is not computed again, and
one that was written is. Whether it was is told by its state (size and times), and only where that
is another one by reading it.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from clusterkit.data.file_state import state_of
from clusterkit.data.frames import names_of
from clusterkit.data.identity import read_identified
from clusterkit.data.loading import ImageRef, image_refs
from clusterkit.errors import ImageError
from clusterkit.inference.journal import Journal, JournalImages
from clusterkit.progress import Progress, silent

# Reading waits for the disk, and SHA-256 leaves Python's lock.
_THREADS = 8


@dataclass(frozen=True)
class Missing:
    """What is to be computed of an input of N images.

    Attributes
    ----------
    listing : str
        Digest of the names of the images to be computed.
    images : (M,) int
        Which they are, in order.
    names : (M,) str
    refs : list of (path, frame)
    done : frozenset of int
        Numbers of their batches that an interrupted call has left.
    known : (N,) int
        Row of the journal on each image; -1: it is one of those to be computed.
    """

    listing: str
    images: np.ndarray
    names: np.ndarray
    refs: list[ImageRef]
    done: frozenset[int]
    known: np.ndarray

    def rows(self, journal: Journal, batch_size: int) -> np.ndarray:
        """Return the row (N,) of a journal on each image, once all is computed."""
        rows = self.known.copy()
        for number, there in journal.batches_of(self.listing).items():
            rows[self.images[number * batch_size :][: len(there)]] = there
        return rows


def missing_of(
    journal: Journal, inputs: pd.DataFrame, batch_size: int, progress: Progress | None = None
) -> Missing:
    """Find out what is to be computed.

    An interrupted call is gone on with batch by batch where the images to be computed are the same:
    batches of others could be rounded otherwise. Where they are not, whatever it has computed is
    known all the same.

    Parameters
    ----------
    journal : Journal
    inputs : DataFrame (N)
        As `read_inputs` gives them.
    batch_size : int
    progress : callable or None
    """
    names, refs = names_of(inputs), image_refs(inputs)
    if not len(journal):
        return _all_but(np.full(len(inputs), -1), names, refs, frozenset())
    compared = _Compared(journal.images(), names, refs, progress or silent)
    compared.by_state()
    compared.by_content(compared.changed)
    if not journal.is_finished:
        found = _interrupted(journal, compared, batch_size)
        if found is not None:
            return found
    compared.by_content(compared.rows < 0)
    # What could not be read is tried again.
    known = compared.where(~compared.known.failed)
    return _all_but(known, names, refs, frozenset())


def _interrupted(journal: Journal, compared: "_Compared", batch_size: int) -> Missing | None:
    """Return what is left of the last listing; None: now it would be another one."""
    last = len(compared.known.listings) - 1
    rows = compared.where((compared.known.listing < last) & ~compared.known.failed)
    found = _all_but(rows, compared.names, compared.refs, frozenset())
    if found.listing != compared.known.listings[last]:
        return None
    there = compared.rows[found.images]
    done = {
        number
        for number, rows in journal.batches_of(found.listing).items()
        if np.array_equal(there[number * batch_size :][: len(rows)], rows)
    }
    return replace(found, done=frozenset(done))


def _all_but(
    known: np.ndarray, names: np.ndarray, refs: list[ImageRef], done: frozenset[int]
) -> Missing:
    images = np.flatnonzero(known < 0)
    missing = names[images]
    digest = hashlib.sha256()
    for name in missing:
        digest.update(name.encode(errors="surrogatepass") + b"\0")
    return Missing(digest.hexdigest()[:16], images, missing, [refs[i] for i in images], done, known)


class _Compared:
    """Images of an input beside those that are known: `rows` (N,) says which; -1: none."""

    def __init__(
        self, known: JournalImages, names: np.ndarray, refs: list[ImageRef], progress: Progress
    ) -> None:
        self.known, self.names, self.refs, self.progress = known, names, refs, progress
        self._named = _last_of(known.names, np.arange(len(known.names)), names)
        self.rows = np.full(len(names), -1)

    @property
    def changed(self) -> np.ndarray:
        """(N,) bool: an image of this name was known, and its file has another state."""
        return (self._named >= 0) & (self.rows < 0)

    def by_state(self) -> None:
        """Find the images whose files are as they were."""
        for image in np.flatnonzero(self._named >= 0):
            row = self._named[image]
            state = state_of(self.refs[image][0])
            # What nobody can read, a path that is not followed, has no state.
            known = state or self.known.failed[row]
            if known and state == self.known.states[row]:
                self.rows[image] = row

    def by_content(self, which: np.ndarray) -> None:
        """Find those of some images (N,) bool whose bytes are known, whatever they are called."""
        images, whole = np.flatnonzero(which), np.flatnonzero(~self.known.failed)
        if not len(images) or not len(whole):
            return
        ids = []
        with ThreadPoolExecutor(_THREADS) as pool:
            for identity in pool.map(_id_of, [self.refs[image] for image in images]):
                ids.append(identity)
                self.progress("compare", len(ids), len(images))
        self.rows[images] = _last_of(self.known.ids[whole], whole, np.array(ids, dtype=object))

    def where(self, good: np.ndarray) -> np.ndarray:
        """Return `rows` with -1 for those that are not among the good ones (R,) bool."""
        return np.where((self.rows >= 0) & good[self.rows], self.rows, -1)


def _last_of(texts: np.ndarray, numbers: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the number of each wanted text, the last where it is there several times; -1: none."""
    found = pd.Series(numbers, index=texts)
    found = found[~found.index.duplicated(keep="last")]
    return found.reindex(wanted).fillna(-1).to_numpy(dtype=int)


def _id_of(ref: ImageRef) -> str:
    try:
        return read_identified(*ref)[1]
    except ImageError:
        return ""
