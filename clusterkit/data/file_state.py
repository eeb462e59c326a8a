"""State of a file: equal to that of before only if nobody has written it since."""

import os
import time

# Nanoseconds within which a file may be written again without another time: file systems count
# in steps, the coarsest in two seconds.
_STEP = 2_000_000_000


def state_of(path: os.PathLike | str) -> str:
    """Return size and times of a file as text, or ``absent``; "": nothing can be relied on.

    The time of its last change is one that nobody can set: neither `touch -d` nor a copy with its
    times brings back an earlier state. Nor has a file that was written a moment ago one: it may be
    written again and bear the same time.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return "absent"
    except (OSError, ValueError):
        return ""
    if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) < _STEP:
        return ""
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
