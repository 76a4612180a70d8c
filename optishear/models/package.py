"""Models that come as an installed pip package: the model argument ``package:NAME``."""

import importlib
import importlib.util
import logging
from importlib import metadata
from pathlib import Path

from filelock import FileLock

from optishear.errors import InputError
from optishear.files import ensure_writable, write_aside
from optishear.home import home_folder

logger = logging.getLogger(__name__)


def find_in_package(name: str) -> Path:
    """The model inside the installed package ``name``: a GGUF file or a checkpoint folder.

    It is the package's only ``.gguf`` file; else its only folder with a ``config.json``; else the file that the
    package's own ``assemble(output_path)`` puts together, kept in ``home_folder()/packages``. Only for the last
    is the package imported: such packages bring dependencies to run their model, which pruning does not need.

    Raises:
        InputError: if the package is not installed, or holds no model or several.
    """
    module = name.replace("-", "_")
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None:
        raise _not_installed(name, name)
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    files = sorted(file for folder in folders for file in folder.rglob("*.gguf"))
    if len(files) == 1:
        return files[0]
    if files:
        raise InputError(
            f"The package {name!r} holds several .gguf files ({', '.join(file.name for file in files)}); "
            "give the path of one of them."
        )
    checkpoints = sorted(file.parent for folder in folders for file in folder.rglob("config.json"))
    if len(checkpoints) == 1:
        return checkpoints[0]
    if checkpoints:
        raise InputError(f"The package {name!r} holds several checkpoint folders; give the path of one of them.")
    return _assembled(name, module)


def _assembled(name: str, module: str) -> Path:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        version = "0"
    final = home_folder() / "packages" / f"{module}-{version}.gguf"
    ensure_writable(final.parent)
    with FileLock(final.with_suffix(".lock")):
        if not final.is_file():
            try:
                assemble = getattr(importlib.import_module(module), "assemble", None)
                if not callable(assemble):
                    raise InputError(
                        f"The package {name!r} holds no model: it has no .gguf file, no folder with config.json and "
                        "no function assemble(output_path)."
                    )
                logger.info("Assembling the model of the package %s in %s, once.", name, final)
                with write_aside(final) as aside:
                    assemble(aside)
            except ModuleNotFoundError as error:
                raise _not_installed(name, error.name or name) from None
    return final


def _not_installed(name: str, missing: str) -> InputError:
    package = missing.replace("_", "-")
    reason = "is not installed" if missing == name else f"needs the package {missing!r}, which is not installed"
    return InputError(f"The package {name!r} {reason}; install it with: pip install --no-deps {package}")
