"""FiftyOne's database: opened, or one line that says why it is not."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clusterkit.errors import ClusterkitError, ConfigError, shown

PIP = "pip install 'clusterkit[export]'"

# Of `Dataset.info`: the id of the run that was exported, by which a dataset is known as ours, and
# what else is to be known of it.
RUN, ABOUT = "clusterkit_export", "clusterkit"

# Of datasets in which every prediction says what was exported.
FORMAT = 2


@contextmanager
def fiftyone_database(doing: str) -> Iterator[Any]:
    """Yield the module `fiftyone` with its database running; its own messages are not shown.

    Parameters
    ----------
    doing : str
        What fails if the database does, e.g. ``"reading the dataset x"``.

    Raises
    ------
    ConfigError
        FiftyOne is not installed, or its database does not start, or stops answering.
    """
    # It says on stdout how old its database is, in the middle of what is to be JSON.
    log = logging.getLogger("fiftyone")
    level = log.level
    try:
        fo = _imported()
        log.setLevel(logging.CRITICAL)
        _connect(fo)
        yield fo
    except ClusterkitError:
        raise
    except Exception as error:
        if not is_database_error(error):
            raise
        raise ConfigError(
            f"FiftyOne's database stopped answering while {doing} ({_first_line(error)}); see "
            "that it runs and its disk is not full, then run the same command again"
        ) from error
    finally:
        log.setLevel(level)


def is_database_error(error: BaseException) -> bool:
    """Whether FiftyOne's database cannot be reached, or has failed."""
    if isinstance(error, ConnectionError):
        return True
    return any(t.__module__.split(".")[0] in ("pymongo", "mongoengine") for t in type(error).mro())


def about(dataset: Any) -> dict[str, Any]:
    """Return what `export` noted of a dataset; {} of one that it did not make, or long ago."""
    found = dataset.info.get(ABOUT)
    return dict(found) if isinstance(found, dict) else {}


def _imported() -> Any:
    try:
        import fiftyone
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "fiftyone":
            raise ConfigError(
                f"FiftyOne does not start: {_first_line(error)}; run: {PIP}"
            ) from error
        raise ConfigError(f"FiftyOne is not installed; run: {PIP}") from error
    except Exception as error:
        # Whatever a library that it needs fails with, or a damaged configuration of its own.
        raise ConfigError(f"FiftyOne does not start: {_first_line(error)}") from error
    return fiftyone


def _connect(fo: Any) -> None:
    try:
        try:
            fo.list_datasets()
        except Exception as error:
            if type(error).__name__ != "ServiceListenTimeout":
                raise
            # Another process started the same database at the same moment: its own is used then.
            fo.list_datasets()
    except Exception as error:
        given = getattr(fo.config, "database_uri", None)
        what = "start it, or correct FIFTYONE_DATABASE_URI" if given else (
            "see FIFTYONE_DATABASE_DIR, or set FIFTYONE_DATABASE_URI to a MongoDB that runs"
        )  # fmt: skip
        raise ConfigError(
            f"FiftyOne's database cannot be reached ({_first_line(error)}): {what}"
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return shown(lines[0], 160)
