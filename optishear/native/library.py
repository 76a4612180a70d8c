"""C sources of the library, each compiled once by the machine's own compiler and kept in ``home_folder()/kernels``."""

import ctypes
import hashlib
import logging
import os
import shutil
import subprocess
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from optishear.files import write_aside
from optishear.home import home_folder

logger = logging.getLogger(__name__)


def compiled_library(package: str, source: str, name: str, flags: Sequence[str]) -> ctypes.CDLL | None:
    """A source with the machine's compiler, compiled on its first use.

    Args:
        package: that holds the source, such as ``optishear.inference``.
        source: name of the file.
        name: of the library; what it was compiled from and how is added.
        flags: further ones of the compiler.

    Returns:
        The library; ``None`` if the compiler is missing or refuses, or the library cannot be loaded.
    """
    code = files(package).joinpath(source).read_bytes()
    command = [os.environ.get("CC", "cc"), "-O3", "-std=gnu11", "-shared", "-fPIC", "-fopenmp", *flags]
    # PyTorch's own OpenMP where it brings one, so that both share their threads and not only the cores.
    own = sorted(Path(torch.__file__).parent.joinpath("lib").glob("libgomp*.so*"))
    link = ["-Wl,--no-as-needed", str(own[0]), "-Wl,--as-needed"] if own else []
    identity = hashlib.sha256(code + "\0".join([*command, *link]).encode()).hexdigest()[:16]
    library = home_folder().absolute() / "kernels" / f"{name}-{identity}.so"
    if not library.is_file() and not _compile(code, command, link, library):
        return None
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        logger.warning("The compiled library %s cannot be loaded (%s).", library.name, error)
        return None


def pointers(*tensors: Tensor) -> list[ctypes.c_void_p]:
    """The addresses of tensors on the CPU."""
    return [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]


def _compile(code: bytes, command: list[str], link: list[str], library: Path) -> bool:
    if shutil.which(command[0]) is None:
        return False
    with TemporaryDirectory() as folder:
        built = Path(folder) / library.name
        process = subprocess.run(
            [*command, "-x", "c", "-", "-x", "none", *link, "-o", built], input=code, capture_output=True, check=False
        )
        if process.returncode:
            reason = process.stderr.decode(errors="replace").strip()[:500]
            logger.warning("The library %s does not compile: %s", library.name, reason)
            return False
        with write_aside(library) as aside:
            shutil.copyfile(built, aside)
    return True
