import hashlib
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data.download import cached, fetch_address, fetch_wheel
from data.errors import FetchFailed

BODY = b"the archive" * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()


class Counting(ThreadingHTTPServer):
    asked = 0


@pytest.fixture
def server() -> Iterator[tuple[Counting, str]]:
    """A local address: /good.zip, /bad.zip (other bytes), /cut.zip (ends early), anything else is 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listening.asked += 1
            bodies = {"/good.zip": BODY, "/bad.zip": b"not it", "/cut.zip": BODY}
            if self.path == "/moved.zip":
                self.send_response(302)
                self.send_header("Location", "/good.zip")
                self.end_headers()
                return
            if self.path not in bodies:
                self.send_error(404)
                return
            body = bodies[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:100] if self.path == "/cut.zip" else body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    listening = Counting(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield listening, f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    thread.join()
    listening.server_close()


def test_an_address_is_fetched_once_then_read_from_the_cache(server: tuple[Counting, str], tmp_path: Path) -> None:
    listening, url = server
    told: list[float] = []
    path = fetch_address(f"{url}/good.zip", SHA256, cache=tmp_path, progress=lambda done, _: told.append(done))
    assert path.read_bytes() == BODY
    assert told == sorted(told) and told[-1] == 1.0
    assert fetch_address(f"{url}/good.zip", SHA256, cache=tmp_path) == path
    assert fetch_address(f"{url}/good.zip", SHA256, cache=tmp_path, offline=True) == path
    assert listening.asked == 1


def test_a_redirect_is_followed(server: tuple[Counting, str], tmp_path: Path) -> None:
    assert fetch_address(f"{server[1]}/moved.zip", SHA256, cache=tmp_path).read_bytes() == BODY


@pytest.mark.parametrize(
    ("path", "said"), [("/bad.zip", "not the file it should be"), ("/none.zip", "404"), ("/cut.zip", "gave no file")]
)
def test_other_bytes_are_never_kept(server: tuple[Counting, str], tmp_path: Path, path: str, said: str) -> None:
    with pytest.raises(FetchFailed, match=said):
        fetch_address(f"{server[1]}{path}", SHA256, cache=tmp_path)
    assert not any(file.is_file() for file in tmp_path.rglob("*"))


def test_no_network(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="connect to a network"):
        fetch_address("http://127.0.0.1:9/x.zip", SHA256, cache=tmp_path)
    with pytest.raises(FetchFailed, match="offline"):
        fetch_address("http://127.0.0.1:9/x.zip", SHA256, cache=tmp_path, offline=True)


def test_a_spoiled_cache_is_fetched_anew(server: tuple[Counting, str], tmp_path: Path) -> None:
    path = fetch_address(f"{server[1]}/good.zip", SHA256, cache=tmp_path)
    path.write_bytes(b"spoiled")
    assert fetch_address(f"{server[1]}/good.zip", SHA256, cache=tmp_path).read_bytes() == BODY
    path.write_bytes(b"spoiled")
    assert cached(path, SHA256) is None
    assert not path.exists()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """A package index of one made-up wheel, through the user's own pip settings; its folder and the sha256."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel = folder / "made_up-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as bundle:
        bundle.writestr("made_up/x.txt", "x")
        bundle.writestr("made_up-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: made-up\nVersion: 1.0\n")
        bundle.writestr("made_up-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        bundle.writestr("made_up-1.0.dist-info/RECORD", "")
    for name in ("PIP_CONSTRAINT", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder, hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_a_wheel_comes_by_pip_once(index: tuple[Path, str], tmp_path: Path) -> None:
    folder, sha256 = index
    path = fetch_wheel("made-up", "1.0", sha256, cache=tmp_path / "cache")
    assert path == tmp_path / "cache" / "wheels" / "made_up-1.0-py3-none-any.whl"
    next(folder.iterdir()).unlink()
    assert fetch_wheel("made-up", "1.0", sha256, cache=tmp_path / "cache", offline=True) == path
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_wheel_with_another_hash_or_none_at_all_is_a_stated_error(index: tuple[Path, str], tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="not the file it should be"):
        fetch_wheel("made-up", "1.0", "0" * 64, cache=tmp_path / "cache")
    with pytest.raises(FetchFailed, match="package index"):
        fetch_wheel("made-up", "2.0", index[1], cache=tmp_path / "cache")
    with pytest.raises(FetchFailed, match="offline"):
        fetch_wheel("made-up", "2.0", index[1], cache=tmp_path / "cache", offline=True)
    assert not any(file.is_file() for file in (tmp_path / "cache").rglob("*"))
