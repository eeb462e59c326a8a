"""The log of a command for machines: one JSON object a line, as it goes on (`--log-json FILE`)."""

import json
import logging
import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clusterkit import __version__
from clusterkit.errors import OutputError
from clusterkit.output import write_reason, writing

# Seconds between two lines about one stage.
_EVERY = 10.0

_OPTION = "--log-json FILE"

log = logging.getLogger("clusterkit")


class EventLog(logging.Handler):
    """Appends what happens to a file, a line an event, each at once.

    Every line has `time` (UTC, ISO 8601), `event`, `command` and `process`. Events: start (with
    `arguments` and `version`), stage (`stage`, `done`, `total`; at most one in ten seconds, and
    the last of each stage), message (`level`, `text`), summary (as `--json` prints it), end
    (`exit_code`, `seconds`, and of an error its `error`). A disk that is full ends the log and
    not the command.

    Parameters
    ----------
    path : Path
        A new file, or one that holds such events: they stay.
    command : str
    arguments : list of str

    Raises
    ------
    OutputError
        The file cannot be written, or holds something else.
    """

    def __init__(self, path: Path, command: str, arguments: list[str]) -> None:
        super().__init__(logging.INFO)
        self._always = {"command": command, "process": os.getpid()}
        self._started, self._said = time.monotonic(), -_EVERY
        self._stage: tuple[str, int, int] | None = None
        with writing(path, _OPTION):
            _check_ours(path)
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115
        self.say("start", arguments=arguments, version=__version__)

    def say(self, event: str, **values: Any) -> None:
        """Append one event."""
        if self._file.closed:
            return
        when = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"time": when, "event": event, **self._always, **values}
        try:
            # Escapes, because the name of a file may be no text.
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            self._give_up(error)

    def progress(self, stage: str, done: int, total: int, /) -> None:
        """Take note of it; see `progress.Progress`."""
        if self._stage is not None and self._stage[0] != stage:
            self._say_stage()
        self._stage = (stage, done, total)
        if done >= total or time.monotonic() > self._said + _EVERY:
            self._say_stage()

    def emit(self, record: logging.LogRecord) -> None:
        """Append a message."""
        self.say("message", level=record.levelname.lower(), text=record.getMessage())

    def end(self, exit_code: int, error: str = "") -> None:
        """Append the last event, and close the file."""
        self._say_stage()
        said = {"error": error} if error else {}
        seconds = round(time.monotonic() - self._started, 3)
        self.say("end", exit_code=exit_code, seconds=seconds, **said)
        self._file.close()

    def _say_stage(self) -> None:
        if self._stage is not None:
            stage, done, total = self._stage
            self._stage, self._said = None, time.monotonic()
            self.say("stage", stage=stage, done=done, total=total)

    def _give_up(self, error: OSError) -> None:
        # What it still holds cannot be written either.
        with suppress(OSError):
            self._file.close()
        log.warning("%s is not written any more: %s", self._file.name, write_reason(error))


def _check_ours(path: Path) -> None:
    """Refuse a file of somebody's: lines at its end would spoil it."""
    if not path.exists():
        return
    if not path.is_file():
        raise OutputError(f"{path} is no file that events can be appended to; give another "
                          f"{_OPTION}")  # fmt: skip
    with path.open("rb") as file:
        first = file.readline(1_000_000)
    try:
        known = not first or "event" in dict(json.loads(first))
    except (ValueError, TypeError, RecursionError):
        known = False
    if not known:
        raise OutputError(f"{path} is no log of clusterkit and is not added to; give another "
                          f"{_OPTION}")  # fmt: skip
