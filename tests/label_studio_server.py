"""A real Label Studio for tests: on loopback, with a database of its own, and no network."""

import http.cookiejar
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

EXECUTABLE = "CLUSTERKIT_LABEL_STUDIO"

# The first start makes the database.
_START = 400

_OWNER, _PASSWORD, _TOKEN = "ann@example.org", "Only-4-tests", "0123456789abcdef" * 2 + "01234567"


class Studio:
    """Label Studio's API.

    Parameters
    ----------
    address : str
    """

    def __init__(self, address: str) -> None:
        self.address, self.ann, self.ben = address, _TOKEN, ""

    def raw(
        self, method: str, path: str, body: Any = None, who: str | None = None
    ) -> tuple[int, bytes]:
        """Return status and content of an answer; `who` is a token, ann's by default."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Token {who or self.ann}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.address + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def call(self, method: str, path: str, body: Any = None, who: str | None = None) -> Any:
        """Return the JSON of an answer that must be a success."""
        status, content = self.raw(method, path, body, who)
        assert status < 300, (method, path, status, content[:500])
        return json.loads(content) if content else None

    def sign_up(self, email: str) -> str:
        """Make another person; returns their token."""
        jar = http.cookiejar.CookieJar()
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        opener.open(f"{self.address}/user/signup/", timeout=120).read()
        mark = next(cookie.value for cookie in jar if cookie.name == "csrftoken")
        form = {"email": email, "password": _PASSWORD, "csrfmiddlewaretoken": mark}
        filled = urllib.parse.urlencode(form).encode()
        opener.open(f"{self.address}/user/signup/", filled, timeout=120).read()
        answer = opener.open(f"{self.address}/api/current-user/token", timeout=120).read()
        return json.loads(answer)["token"]


@contextmanager
def label_studio(folder: Path, root: Path) -> Iterator[Studio]:
    """Start Label Studio with `root` as its document root, and end it; skips where there is none.

    Parameters
    ----------
    folder : Path
        An empty one, for its database.
    root : Path
    """
    program = os.environ.get(EXECUTABLE) or shutil.which("label-studio")
    if program is None or not Path(program).is_file():
        pytest.skip(f"Label Studio is not installed; {EXECUTABLE} may name the executable")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "LC_ALL")}
    environment |= {
        "HOME": str(folder), "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(root),
        "COLLECT_ANALYTICS": "false", "LATEST_VERSION_CHECK": "false", "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "", "FEATURE_FLAGS_OFFLINE": "true",
    }  # fmt: skip
    log = (folder / "log.txt").open("wb")
    server = subprocess.Popen(
        [program, "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port),
         "--username", _OWNER, "--password", _PASSWORD, "--user-token", _TOKEN,
         "--enable-legacy-api-token"],
        env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        start_new_session=True,
    )  # fmt: skip
    try:
        studio = Studio(f"http://127.0.0.1:{port}")
        _wait(server, studio, folder / "log.txt")
        studio.ben = studio.sign_up("ben@example.org")
        yield studio
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        log.close()


def _wait(server: subprocess.Popen, studio: Studio, log: Path) -> None:
    until = time.monotonic() + _START
    while time.monotonic() < until and server.poll() is None:
        try:
            if studio.raw("GET", "/health")[0] == 200:
                return
        except OSError:
            time.sleep(1)
    pytest.fail(f"Label Studio did not start: {log.read_text(errors='replace')[-2000:]}")
