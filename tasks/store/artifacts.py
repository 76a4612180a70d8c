"""The artifact store: the files of a stage, in a folder named by the content of the stage's inputs.

``HOME/artifacts/STAGE/KEY/`` holds a stage's files and ``record.json``, which describes their inputs and their bytes. A
folder is written aside and renamed, so it is complete or absent.
"""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock
from pydantic import BaseModel, ConfigDict

from optishear.errors import InputError
from optishear.files import sha256_of_file, write_aside
from optishear.home import home_folder
from optishear.json_file import parse_json
from tasks.store.cost import measured
from tasks.store.former_stages import rename_former_stages

RECORD = "record.json"
Content = TypeVar("Content", bound=BaseModel)
logger = logging.getLogger("optishear.stages")
# Files whose bytes this process has compared with their digest: path, inode, size, time of modification, digest.
_VERIFIED: set[tuple[str, int, int, int, str]] = set()
# Damaged artifacts that this process has warned of: folder, when it was made, files. It is looked for more than once.
_REPORTED: set[tuple[str, datetime, tuple[str, ...]]] = set()


class StoredFile(BaseModel):
    """One file of an artifact: its bytes' SHA-256, size in bytes, and time of modification in nanoseconds."""

    sha256: str
    size: int
    modified: int

    @classmethod
    def of(cls, path: Path) -> "StoredFile":
        """Describe a file as it is now."""
        status = path.stat()
        return cls(sha256=sha256_of_file(path), size=status.st_size, modified=status.st_mtime_ns)

    def describes(self, path: Path) -> bool:
        """Whether the file is still the one described; its bytes are read once in a process, and where it changed.

        A disk or a memory that flips a bit leaves size and time as they were.
        """
        try:
            status = path.stat()
            if status.st_size != self.size:
                return False
            state = (str(path), status.st_ino, status.st_size, status.st_mtime_ns, self.sha256)
            if state not in _VERIFIED:
                if sha256_of_file(path) != self.sha256:
                    return False
                _VERIFIED.add(state)
        except OSError:
            return False
        return True


class Reference(BaseModel):
    """An artifact's stage and key, passed between machines that share the store."""

    model_config = ConfigDict(frozen=True)

    stage: str
    key: str

    def artifact(self) -> "Artifact":
        """The artifact of this reference.

        Raises:
            InputError: if the store of this machine does not have it.
        """
        artifact = find(self.stage, self.key)
        if artifact is None:
            raise InputError(
                f"The artifact {self.key!r} is not in {str(artifacts_folder())!r}; "
                "let all workers have one OPTISHEAR_HOME."
            )
        return artifact


class Artifact(BaseModel):
    """The files of a stage, described in a form small enough for Prefect's results.

    Attributes:
        stage: the stage's name.
        version: the stage's version.
        key: what the folder is named by.
        folder: where the files lie.
        parameters: the parameters that are part of the key.
        inputs: digests of what the stage read.
        outputs: the files, by path within the folder.
        seconds: wall-clock time it took, with that of killed processes of which it used the work.
        peak_memory_bytes: highest resident memory of the process meanwhile, plus the GPU's peak where one was used.
        created: when, in UTC.
        cached: whether it was in the store before this run.
    """

    model_config = ConfigDict(frozen=True)

    stage: str
    version: int
    key: str
    folder: Path
    parameters: dict[str, Any]
    inputs: dict[str, str]
    outputs: dict[str, StoredFile]
    seconds: float
    peak_memory_bytes: int
    created: datetime
    cached: bool = False

    @property
    def reference(self) -> Reference:
        """The reference for another machine."""
        return Reference(stage=self.stage, key=self.key)

    def path(self, name: str) -> Path:
        """The path of a file or folder of the artifact."""
        return self.folder / name

    def digest(self, name: str) -> str:
        """SHA-256 of a file of the artifact."""
        return self.outputs[name].sha256

    def read_json(self, name: str) -> Any:
        """The content of a JSON file of the artifact."""
        return json.loads(self.path(name).read_text(encoding="utf-8"))

    def read_model(self, name: str, kind: type[Content]) -> Content:
        """The content of a JSON file of the artifact, as a pydantic model."""
        return kind.model_validate(self.read_json(name))


@dataclass(frozen=True)
class Request:
    """A stage's name, version, parameters and inputs, and the key computed from them."""

    stage: str
    version: int
    key: str
    parameters: dict[str, Any]
    inputs: dict[str, str]


def artifacts_folder() -> Path:
    """The folder of all artifacts. Artifacts of stages that had another name are renamed once."""
    folder = home_folder() / "artifacts"
    rename_former_stages(folder, RECORD)
    return folder


def find(stage: str, key: str) -> Artifact | None:
    """The artifact of a key, or ``None`` where it is missing or damaged."""
    folder = artifacts_folder() / stage / key
    try:
        record = parse_json((folder / RECORD).read_bytes())
        artifact = Artifact.model_validate({**record, "folder": folder})
    except (OSError, ValueError, TypeError):  # gone, no JSON, or no record
        return None
    if (artifact.stage, artifact.key) != (stage, key) or not artifact.outputs:
        return None
    damaged = [name for name, file in artifact.outputs.items() if not file.describes(folder / name)]
    state = (str(folder), artifact.created, tuple(damaged))
    if damaged and state not in _REPORTED:
        _REPORTED.add(state)
        logger.warning(
            "%s: %s is damaged or missing in %s; the stage is computed again", stage, ", ".join(sorted(damaged)), folder
        )
    return None if damaged else artifact


def forget(artifact: Artifact) -> None:
    """Remove an artifact, so that the next request computes it again."""
    shutil.rmtree(artifact.folder)


def make_once(request: Request, write: Callable[[Path], float | None]) -> Artifact:
    """The artifact of a request: from the store, or written by ``write`` and stored.

    Of several processes that request one key at a time, one computes it and the others wait. The operating system frees
    the lock of a killed process.

    Args:
        request: what is asked for.
        write: writes the files to a folder. It returns the seconds of earlier processes of which it used the work.
    """
    folder = artifacts_folder() / request.stage / request.key
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{request.key}.lock")):
        stored = find(request.stage, request.key)
        if stored is not None:
            return stored
        with write_aside(folder, alone=True) as aside:
            aside.mkdir()
            with measured() as cost:
                earlier_seconds = write(aside) or 0.0
            artifact = Artifact(
                stage=request.stage,
                version=request.version,
                key=request.key,
                folder=folder,
                parameters=request.parameters,
                inputs=request.inputs,
                outputs={
                    str(path.relative_to(aside)): StoredFile.of(path)
                    for path in sorted(aside.rglob("*"))
                    if path.is_file()
                },
                seconds=round(earlier_seconds + cost.seconds, 3),
                peak_memory_bytes=cost.peak_memory_bytes,
                created=datetime.now(UTC),
            )
            (aside / RECORD).write_text(
                artifact.model_dump_json(exclude={"folder", "cached"}, indent=1), encoding="utf-8"
            )
    return artifact
