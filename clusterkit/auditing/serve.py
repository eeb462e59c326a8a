"""`audit --serve`: the page from this machine to this machine, with decisions saved at once."""

import hmac
import json
import logging
import os
import secrets
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd

from clusterkit.data.tables import encoding_of, read_table
from clusterkit.errors import ClusterkitError, DataError
from clusterkit.formats.atomic import replacing
from clusterkit.formats.csv_text import safe_csv_text
from clusterkit.formats.known_images import Assigned
from clusterkit.formats.locking import locked
from clusterkit.formats.reviews import (
    FURTHER_COLUMNS,
    REVIEW_COLUMNS,
    read_reviews,
    spread_reviews,
)

log = logging.getLogger("clusterkit")

# Where the page is looked for first: what a browser keeps for a page hangs on its port.
PORT = 8642

# Bytes and rows of one request: the page sends a handful at a time.
_MOST_BYTES, _MOST_ROWS = 4_000_000, 5000

_TYPES = {".html": "text/html; charset=utf-8", ".png": "image/png", ".jpg": "image/jpeg",
          ".svg": "image/svg+xml"}  # fmt: skip

# A picture that is opened by itself is a document: it runs nothing and loads nothing.
_PICTURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"


class DamagedError(DataError):
    """Raised where rows cannot be added to a reviews.csv as it is; they have to wait."""


class ReviewFile:
    """File of reviews that decisions are added to, one at a time and whole or not at all.

    Nothing in it is ever changed or taken out: undone is what a later row says otherwise.

    Parameters
    ----------
    path : Path
        Need not be there.
    assigned : Assigned
        The assignments that the reviews are about.
    labelled : DataFrame
        image_id and label of the run's labelled images.

    Raises
    ------
    DamagedError
        The file is there and cannot be used as it is.
    """

    def __init__(self, path: Path, assigned: Assigned, labelled: pd.DataFrame) -> None:
        # What a link points to is replaced, not the link.
        self.path, self.assigned, self.labelled = Path(os.path.realpath(path)), assigned, labelled
        self._lock = threading.Lock()
        self._table()

    def rows(self) -> list[dict[str, str]]:
        """Return all rows, each a dict with the columns of reviews.csv; further ones if given."""
        if not self._table()[1]:
            return []
        columns = [*REVIEW_COLUMNS, *FURTHER_COLUMNS]
        rows = read_reviews(self.path)[columns].to_dict("records")
        return [{str(k): v for k, v in row.items() if v or k in REVIEW_COLUMNS} for row in rows]

    def version(self) -> str:
        """Return what changes whenever the file does; "": there is none."""
        try:
            found = self.path.stat()
        except OSError:
            return ""
        return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"

    def _table(self) -> tuple[list[str], list[list[str]]]:
        """Return the file's columns and raw cells, after a check that they can be used.

        Raises
        ------
        DamagedError
            They cannot.
        """
        if not self.path.exists():
            return [], []
        try:
            with self.path.open(encoding=encoding_of(self.path)) as file:
                blank = not any(line.strip() for line in islice(file, 1, None))
                file.seek(0)
                head = file.readline().strip()
            if blank and (not head or head == ",".join(REVIEW_COLUMNS)):
                return [], []
            spread_reviews(self.path, self.assigned, self.labelled)
            names, lines, _ = read_table(self.path, wanted=REVIEW_COLUMNS)
        except (DataError, OSError, UnicodeError) as error:
            raise DamagedError(
                f"{error}; mend {self.path.name} or move it away: nothing is written to it"
            ) from error
        return names, lines

    def append(self, rows: list[dict[str, str]]) -> None:
        """Add rows at the end.

        Raises
        ------
        DamagedError
            The file as it is cannot be used.
        DataError
            A row cannot be used; nothing is written.
        """
        with self._lock, locked(self.path):
            # Raw cells: a column of the user's own, and his spelling, stay as they are.
            names, lines = self._table()
            further = [c for c in FURTHER_COLUMNS if any(row.get(c) for row in rows)]
            names = [*names, *(c for c in (*REVIEW_COLUMNS, *further) if c not in names)]
            lines = [[*line, *[""] * (len(names) - len(line))] for line in lines]
            lines += [[safe_csv_text(row.get(name, "")) for name in names] for row in rows]
            # Columns of text by pyarrow hold no half of a surrogate pair.
            table = pd.DataFrame(lines, columns=names, dtype=object)
            partial = ""
            try:
                with replacing(self.path, mark=True) as file:
                    partial = file.name
                    table.to_csv(file, index=False, lineterminator="\n")
                    file.flush()
                    spread_reviews(partial, self.assigned, self.labelled)
            except UnicodeError as error:
                raise DataError("a label or note is no valid text; write it anew") from error
            except DataError as error:
                raise DataError(str(error).replace(partial, self.path.name)) from error


class ReviewServer(ThreadingHTTPServer):
    """Server of one audit page and its reviews on the loopback address.

    Only who knows the address, a random token in it, gets an answer other than 404; other
    websites in the same browser are kept out by the headers Host and Origin.

    Parameters
    ----------
    folder : Path
        That of index.html.
    reviews : ReviewFile
    port : int or None
        0: any; None: `PORT`, and any where that is taken.

    Raises
    ------
    ClusterkitError
        The port is taken.
    """

    daemon_threads = True

    def __init__(self, folder: Path, reviews: ReviewFile, port: int | None = None) -> None:
        self.folder, self.reviews = folder.resolve(), reviews
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__(("127.0.0.1", PORT if port is None else port), _Handler)
        except OSError as error:
            if port is not None:
                raise ClusterkitError(
                    f"port {port} cannot be used ({error.strerror}); give another --port"
                ) from error
            super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://127.0.0.1:{self.server_port}/{self.token}/"

    def run(self, ready: Callable[[str], None]) -> None:
        """Call `ready` with the address, and serve until interrupted (Ctrl-C)."""
        with self:
            ready(self.url)
            try:
                self.serve_forever()
            except KeyboardInterrupt:
                log.info("stopped")

    def handle_error(self, request: object, client_address: object) -> None:
        """Log a request that a browser broke off, and go on."""
        log.debug("a request was broken off", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    # A client that says nothing must not hold a thread for ever.
    timeout = 30

    def do_GET(self) -> None:  # the name is http.server's
        name = self._name()
        if name is None:
            return
        if name == "reviews":
            self._answer_rows()
            return
        if name == "place":
            self._answer_json({"reviews": str(self.server.reviews.path)})
            return
        try:
            path = (self.server.folder / (name or "index.html")).resolve()
            kind = _TYPES.get(path.suffix)
            # Resolved: neither dots nor a link lead out of the folder.
            inside = kind is not None and path.is_relative_to(self.server.folder)
            body = path.read_bytes() if inside else None
        except OSError:
            body = kind = None
        if body is None or kind is None:
            self._refuse(HTTPStatus.NOT_FOUND)
        else:
            self._answer(body, kind)

    def _answer_rows(self) -> None:
        # Before the rows: what is added meanwhile is asked for once more, and not missed.
        version = f'"{self.server.reviews.version()}"'
        if self.headers.get("If-None-Match") == version:
            self._answer(b"", "application/json", HTTPStatus.NOT_MODIFIED)
            return
        try:
            rows = self.server.reviews.rows()
        except (ClusterkitError, OSError) as error:
            self._answer_json({"error": str(error)}, HTTPStatus.CONFLICT)
        else:
            self._answer_json({"rows": rows}, version=version)

    def do_POST(self) -> None:  # the name is http.server's
        if self._name() != "reviews":
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        origin = self.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] not in self._hosts():
            self._refuse(HTTPStatus.FORBIDDEN)
            return
        # No form of another site can send this type.
        if self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > 9 or int(length) > _MOST_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        try:
            rows = _rows(self.rfile.read(int(length)))
            self.server.reviews.append(rows)
        except DamagedError as error:
            self._answer_json({"error": str(error)}, HTTPStatus.CONFLICT)
        except DataError as error:
            self._answer_json({"error": str(error)}, HTTPStatus.UNPROCESSABLE_ENTITY)
        except OSError as error:
            reason = {"error": f"it cannot be written: {error.strerror}"}
            self._answer_json(reason, HTTPStatus.INTERNAL_SERVER_ERROR)
        else:
            self._answer_json({"saved": len(rows)})

    def _hosts(self) -> tuple[str, str]:
        port = self.server.server_port
        return f"127.0.0.1:{port}", f"localhost:{port}"

    def _name(self) -> str | None:
        """Return the requested path below the token; None: it was refused."""
        token, slash, name = self.path.partition("?")[0].removeprefix("/").partition("/")
        has_token = hmac.compare_digest(token.encode(), self.server.token.encode()) and bool(slash)
        # A name that another site made to mean this machine is not ours (DNS rebinding).
        if not has_token or self.headers.get("Host") not in self._hosts():
            self._refuse(HTTPStatus.NOT_FOUND)
            return None
        name = unquote(name)
        return name if name.isprintable() else "-"

    def _refuse(self, status: HTTPStatus) -> None:
        self._answer(f"{status.value} {status.phrase}\n".encode(), "text/plain", status)

    def _answer_json(
        self, values: dict[str, Any], status: HTTPStatus = HTTPStatus.OK, version: str = ""
    ) -> None:
        text = json.dumps(values, ensure_ascii=True)
        self._answer(text.encode(), "application/json", status, version)

    def _answer(
        self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK, version: str = ""
    ) -> None:
        self.send_response(status)
        if version:
            self.send_header("ETag", version)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            *([("Content-Security-Policy", _PICTURE_POLICY)] if kind == _TYPES[".svg"] else []),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *values: object) -> None:
        log.debug("serve: " + format, *values)


def _rows(body: bytes) -> list[dict[str, str]]:
    """Take a request's rows apart; whatever else it holds is refused."""
    try:
        rows = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DataError("the request is no JSON") from error
    if not isinstance(rows, list) or not 0 < len(rows) <= _MOST_ROWS:
        raise DataError(f"the request is no list of 1 to {_MOST_ROWS} rows")
    for row in rows:
        if not isinstance(row, dict) or set(row).difference(FURTHER_COLUMNS) != set(REVIEW_COLUMNS):
            raise DataError(f"a row has other columns than {', '.join(REVIEW_COLUMNS)}")
        if not all(isinstance(value, str) for value in row.values()):
            raise DataError("a cell is no text")
    return rows
