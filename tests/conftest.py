"""Whether the absence of a browser or of PostgreSQL is a fault (in CI it is), a PostgreSQL server, and a model hub on
loopback that speaks the protocol."""

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import sqlalchemy as sa

from dashboard.settings import share_processors
from tests import postgresql

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HUB_MODEL = "someone/tiny-bert"
HUB_COMMIT = "a" * 40


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-browser", action="store_true", help="refuse to run without Chromium, so none skips")
    parser.addoption("--require-postgresql", action="store_true", help="refuse to run without PostgreSQL's programs")


def pytest_configure(config: pytest.Config) -> None:
    share_processors()
    if config.getoption("--require-browser") and not any(shutil.which(name) for name in BROWSERS):
        raise pytest.UsageError("no Chromium on this machine")
    if config.getoption("--require-postgresql") and postgresql.programs() is None:
        raise pytest.UsageError("no PostgreSQL on this machine")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The address of a PostgreSQL server with a place for a database's name; skips where there are no programs."""
    if postgresql.programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with postgresql.server() as address:
        yield address


@pytest.fixture
def empty_database(postgresql_server: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a fresh PostgreSQL database."""
    name = f"t{abs(hash(request.node.nodeid)):x}"
    admin = sa.create_engine(
        postgresql_server.format(name="postgres").replace("postgresql:", "postgresql+psycopg:"),
        isolation_level="AUTOCOMMIT",
    )
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        yield postgresql_server.format(name=name)
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    admin.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a ledger may be kept, for a test that has to hold on either database: a fresh one."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    return str(request.getfixturevalue("empty_database"))


@dataclass
class Hub:
    """A model hub of one repository on loopback. `fault` is how it misbehaves; `asked` the requests it had."""

    files: dict[str, bytes] = field(default_factory=dict)
    fault: str | None = None
    asked: list[str] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def etag(self, name: str) -> str:
        """As on a hub: sha256 of a large file, the git blob's sha1 of a small one."""
        body = self.files[name]
        if name.endswith((".safetensors", ".bin")):
            return hashlib.sha256(body).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False).hexdigest()

    def tree(self) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = []
        for name, body in self.files.items():
            row: dict[str, object] = {"type": "file", "path": name, "size": len(body), "oid": self.etag(name)[:40]}
            if name.endswith((".safetensors", ".bin")):
                row["lfs"] = {"oid": self.etag(name), "size": len(body), "pointerSize": 134}
            rows.append(row)
        return rows


class Handler(BaseHTTPRequestHandler):
    """The few addresses that a snapshot needs."""

    hub: Hub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, path = self.hub, self.path.partition("?")[0]
        hub.asked.append(f"{self.command} {path}")
        if hub.fault == "silent":
            hub.release.wait(20)
            return
        if hub.fault == "broken":
            self._send(503, b"", {})
        elif hub.fault == "login page":
            self._send(200, b"<html>please log in</html>", {"Content-Type": "text/html"})
        elif path in (f"/api/models/{HUB_MODEL}", f"/api/models/{HUB_MODEL}/revision/main"):
            siblings = [{"rfilename": name} for name in hub.files]
            told = {
                "_id": "1",
                "id": HUB_MODEL,
                "modelId": HUB_MODEL,
                "sha": HUB_COMMIT,
                "siblings": siblings,
                "tags": [],
            }
            self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})
        elif path == f"/api/models/{HUB_MODEL}/tree/{HUB_COMMIT}":
            self._send(200, json.dumps(hub.tree()).encode(), {"Content-Type": "application/json"})
        elif found := re.fullmatch(rf"/{HUB_MODEL}/resolve/{HUB_COMMIT}/(.+)", path):
            self._file(found[1])
        else:  # what a hub says of an unknown repository to somebody without a token
            self._send(401, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})

    def _file(self, name: str) -> None:
        hub = self.hub
        if hub.fault == "gated":
            self._send(401, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
            return
        body, etag = hub.files[name], hub.etag(name)
        head = {"ETag": f'"{etag}"', "X-Repo-Commit": HUB_COMMIT, "Accept-Ranges": "bytes"}
        if name.endswith(".safetensors"):
            head |= {"X-Linked-Size": str(len(body)), "X-Linked-ETag": f'"{etag}"'}
            if self.command == "GET" and hub.fault in ("cut", "breaks off"):
                body = body[: len(body) // 2]
            if self.command == "GET" and hub.fault == "flipped":
                body = body[:-1] + bytes([body[-1] ^ 1])
        self._send(200, body, head, told=len(hub.files[name]) if hub.fault == "breaks off" else len(body))

    def _send(self, status: int, body: bytes, head: dict[str, str], *, told: int | None = None) -> None:
        self.send_response(status)
        for key, value in head.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body) if told is None else told))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="session")
def serve_hub() -> Iterator[Callable[[Path], Hub]]:
    """Starts a hub that gives a folder's files as the repository someone/tiny-bert."""
    with ExitStack() as cleaning:

        def serve(folder: Path) -> Hub:
            hub = Hub({file.name: file.read_bytes() for file in folder.iterdir()})
            server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfHub", (Handler,), {"hub": hub}))
            server.daemon_threads = True
            hub.url = f"http://127.0.0.1:{server.server_port}"
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
            cleaning.callback(server.server_close)
            cleaning.callback(server.shutdown)
            cleaning.callback(hub.release.set)
            return hub

        yield serve
