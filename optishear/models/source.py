"""Where a model comes from, settled before any weights are read."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError
from tqdm import tqdm

from optishear.errors import HubError, InputError, first_line
from optishear.home import expand_home, home_folder
from optishear.models.digest import digest_of_file
from optishear.models.hub import asked, cached_snapshot
from optishear.models.package import find_in_package

_ACCEPTED = (
    "give a Hugging Face hub id such as HuggingFaceTB/SmolLM2-135M, a folder with config.json and safetensors files, "
    "a .gguf file, or package:NAME for a model in an installed pip package"
)
_PICKLED = (
    "holds its weights as a pickle only, which could run code on loading; convert it to safetensors "
    "(model.save_pretrained writes them) and give that folder"
)
# The configuration file of a LoRA or another adapter of the library PEFT.
_ADAPTER = "adapter_config.json"
# What decides a loaded model or its tokens; the rest of a checkpoint folder (cards, logs) may change freely.
_CONTENT = (
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*",
    "*token*.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "chat_template*",
    "*.py",
)
_HUB_TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class ModelSource:
    """A model that was found.

    Attributes:
        name: what the user gave.
        location: what to hand to ``from_pretrained``: a folder or a hub id. For a GGUF file, the folder that
            ``load_model`` converts it to, which need not be there yet.
        fingerprint: what the content is, the same on every machine: ``hub:NAME@COMMIT``, else a SHA-256.
        revision: the commit to load, for a location on the hub.
        gguf: the file to convert, for a GGUF model.
    """

    name: str
    location: str
    fingerprint: str
    revision: str | None = None
    gguf: Path | None = None

    @property
    def hub_id(self) -> str | None:
        """The id on the Hugging Face hub; None for any other model."""
        return self.name if self.fingerprint.startswith("hub:") else None

    @property
    def public_name(self) -> str:
        """The name without the folders of this machine, for published files."""
        if self.hub_id or self.name.startswith("package:"):
            return self.name
        return (self.gguf or Path(self.location)).name


def resolve_model(model: str) -> ModelSource:
    """Find a model by hub id, local folder, ``.gguf`` file or ``package:NAME``.

    No weights are loaded, though a local model's are read once for their digest.

    Raises:
        InputError: if there is no such model, or it is not in a form that can be loaded.
        HubError: if the hub can be reached but fails, also at further tries, and the model is not on this machine.
    """
    if not model.strip():
        raise InputError(f"The model name is empty; {_ACCEPTED}.")
    kind, _, rest = model.partition(":")
    path = find_in_package(rest) if kind == "package" else _expanded(model)
    if path.exists() and not (path.is_dir() or path.is_file()):
        raise InputError(f"The model {model!r} is neither a file nor a folder; {_ACCEPTED}.")
    if path.is_dir():
        return _local_folder(model, path.resolve())
    if path.is_file() or path.suffix == ".gguf":
        return _gguf_file(model, path.resolve())
    return _hub_model(model)


def _expanded(model: str) -> Path:
    try:
        return Path(expand_home(model))
    except ValueError as error:
        raise InputError(f"The model {model[:100]!r} was not found: {error}.") from None


def _gguf_file(name: str, path: Path) -> ModelSource:
    if not path.is_file():
        raise InputError(f"The GGUF file {name!r} does not exist; {_ACCEPTED}.")
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise InputError(f"The GGUF file {name!r} cannot be read ({first_line(error)}); {_ACCEPTED}.") from None
    if magic != b"GGUF":
        raise InputError(f"The file {name!r} is not a GGUF file; {_ACCEPTED}.")
    digest = digest_of_file(path)
    return ModelSource(name, str(home_folder().absolute() / "models" / digest), digest, gguf=path)


def _local_folder(name: str, folder: Path) -> ModelSource:
    if not (folder / "config.json").is_file():
        files = sorted(file.name for file in folder.glob("*.gguf"))
        hint = f"give its file {files[0]!r} itself" if files else _ACCEPTED
        raise InputError(f"The model folder {name!r} has no config.json; {hint}.")
    _check_weights(f"The model folder {name!r}", [file.name for file in folder.iterdir()])
    return ModelSource(name, str(folder), _digest_of_folder(folder))


def _digest_of_folder(folder: Path) -> str:
    files = sorted({file for pattern in _CONTENT for file in folder.glob(pattern) if file.is_file()})
    digest = hashlib.sha256()
    for file in tqdm(files, desc="read model", unit="file", delay=2, leave=False):
        digest.update(f"{file.name} {digest_of_file(file)}\n".encode())
    return digest.hexdigest()


def _check_weights(subject: str, files: list[str]) -> None:
    if _ADAPTER in files:
        raise InputError(
            f"{subject} has an adapter beside its weights ({_ADAPTER}), which would be left out; merge it into the "
            "weights, or remove its files."
        )
    if any(file.endswith(".safetensors") for file in files):
        return
    if any(file.endswith((".bin", ".pt", ".pth")) for file in files):
        raise InputError(f"{subject} {_PICKLED}.")
    raise InputError(f"{subject} has no safetensors files; {_ACCEPTED}.")


def _hub_model(name: str) -> ModelSource:
    try:
        info = asked(lambda: huggingface_hub.model_info(name, timeout=_HUB_TIMEOUT_SECONDS))
        if info.gated:
            asked(lambda: huggingface_hub.auth_check(name))
    except GatedRepoError:
        raise InputError(
            f"The model {name!r} is gated; accept its terms at https://huggingface.co/{name} and log in with: "
            "hf auth login"
        ) from None
    except (HFValidationError, RepositoryNotFoundError):
        raise InputError(f"The model {name!r} was not found; {_ACCEPTED}.") from None
    except Exception as error:  # the transport's own errors share no base class across versions of the hub library
        return _cached_hub_model(name, error)
    files = [file.rfilename for file in info.siblings or []]
    if "config.json" not in files:
        raise InputError(f"The model {name!r} on the hub has no config.json; {_ACCEPTED}.")
    _check_weights(f"The model {name!r} on the hub", files)
    return ModelSource(name, name, f"hub:{name}@{info.sha}", revision=info.sha)


def _cached_hub_model(name: str, error: Exception) -> ModelSource:
    """The hub's model as it was last downloaded as a whole; loading it asks no network.

    Raises:
        HubError: if it is not on this machine, and the hub is there but fails.
        InputError: if it is not on this machine, and the hub cannot be reached.
    """
    snapshot = cached_snapshot(name)
    if snapshot is None:
        if isinstance(error, HubError):
            raise error
        reason = first_line(error)
        raise InputError(
            f"The model {name!r} was not found: neither a local file or folder nor in the local hub cache, and the "
            f"hub cannot be reached ({reason}); {_ACCEPTED}."
        ) from None
    _check_weights(f"The cached copy of the model {name!r}", [file.name for file in snapshot.iterdir()])
    return ModelSource(name, str(snapshot), f"hub:{name}@{snapshot.name}")
