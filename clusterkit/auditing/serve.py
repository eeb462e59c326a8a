"""`audit --serve`: the page from this machine to this machine, with decisions saved at once."""

import hmac
import json
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from clusterkit.auditing.review_file import DamagedError, ReviewFile
from clusterkit.data.guarded_path import open_regular
from clusterkit.errors import ClusterkitError, DataError, ImageError
from clusterkit.formats.reviews import (
    FURTHER_COLUMNS,
    REVIEW_COLUMNS,
)

log = logging.getLogger("clusterkit")

# Where the page is looked for first: what a browser keeps for a page hangs on its port.
PORT = 8642

# Bytes and rows of one request: the page sends a handful at a time.
_MOST_BYTES, _MOST_ROWS = 4_000_000, 5000

# Bytes of a refused body that are read, and seconds to wait for each part of it.
_MOST_DRAINED, _PATIENCE = 16 * _MOST_BYTES, 2.0

_TYPES = {".html": "text/html; charset=utf-8", ".png": "image/png", ".jpg": "image/jpeg",
          ".svg": "image/svg+xml"}  # fmt: skip

# A picture that is opened by itself is a document: it runs nothing and loads nothing.
_PICTURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"


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
            body = _bytes_of(path) if inside else None
        except (OSError, ImageError):
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
        name = self._name()
        if name != "reviews":
            if name is not None:
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
        body = self._body()
        if body is None:
            return
        try:
            rows = _rows(body)
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

    def _body(self) -> bytes | None:
        """Return the body of a request; None: it was refused."""
        length = self.headers.get("Content-Length", "")
        if not length:
            self._refuse(HTTPStatus.LENGTH_REQUIRED)
        elif not length.isdecimal() or len(length) > 9 or int(length) > _MOST_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            try:
                return self.rfile.read(int(length))
            except TimeoutError:
                self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        return None

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
        self._drain()

    def _drain(self) -> None:
        """Read what is still sent: a body left unread resets the connection, and the answer."""
        length = self.headers.get("Content-Length", "0")
        left = min(int(length), _MOST_DRAINED) if length.isdecimal() and len(length) < 10 else 0
        if not left and ("Transfer-Encoding" in self.headers or len(length) >= 10):
            left = _MOST_DRAINED
        self.connection.settimeout(_PATIENCE)
        with suppress(OSError):
            while left > 0 and (part := self.rfile.read1(min(left, 1 << 16))):
                left -= len(part)

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


def _bytes_of(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read()


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
