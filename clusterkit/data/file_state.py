"""State of a file, on a disk or in a store: what is as it was has not been written since."""

import os
import time

from clusterkit.data.remote_files import RemotePath, is_remote

# Nanoseconds within which a file may be written again without another time: file systems count
# in steps, the coarsest in two seconds.
_STEP = 2_000_000_000


def state_of(path: os.PathLike | str) -> str:
    """Return a stamp that no later content has, or ``absent``; "": there is none to rely on.

    A file that was written a moment ago has none: it may be written again and bear the same time.
    """
    found = stamp_of(path)
    times = found.split()[1:3]
    young = (
        bool(times)
        and not isinstance(path, RemotePath)
        and (time.time_ns() - max(map(int, times)) < _STEP)
    )
    return "" if young else found


def stamp_of(path: os.PathLike | str) -> str:
    """Return size and times of a file as text, or ``absent``; "": they are not known.

    The time of its last change is one that nobody can set: neither `touch -d` nor a copy with its
    times brings back an earlier stamp. Of a file in a store, size and version are those that its
    listing knew; nothing is asked for.
    """
    if isinstance(path, RemotePath):
        return f"{path.size} {path.version}" if path.version else ""
    if is_remote(path):
        return ""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return "absent"
    except (OSError, ValueError):
        return ""
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
