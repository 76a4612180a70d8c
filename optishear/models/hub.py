"""Requests to the Hugging Face hub, tried again where it is late, answers with an error or sends half a file."""

import logging
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import CacheNotFound, HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.utils.tqdm import are_progress_bars_disabled
from tqdm.auto import tqdm

from optishear.errors import HubError, causes, first_line

logger = logging.getLogger("optishear.hub")
Answer = TypeVar("Answer")
# Seconds before each further try.
_WAITS = (1, 2, 4, 8, 8)
# An answer that another try may change.
_STATUSES = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
# Of the transport's own classes, whose module changes with the version of the hub's library: no answer in time, and a
# connection that is closed in the middle. One that cannot be made at all is not tried again.
_BROKEN = {"ReadTimeout", "WriteTimeout", "PoolTimeout", "ReadError", "WriteError", "RemoteProtocolError"}
# What the hub's library says of a file that is shorter than the hub has announced.
_HALF = "Consistency check failed"
# Neither a model in another format nor what lies in folders of its own, such as the weights in the author's format.
_LEFT_OUT = ["*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.onnx", "*.gguf", "*/*"]
_WEIGHTS = "*.safetensors"


class _LateBar(tqdm):  # type: ignore[type-arg]
    """A progress bar that a quick download does not show."""

    def __init__(self, *args: Any, **options: Any) -> None:
        shown = {"delay": 2, "leave": False, "disable": are_progress_bars_disabled()}
        super().__init__(*args, **{**options, **shown})


def asked(request: Callable[[], Answer]) -> Answer:
    """The hub's answer to a request, which is tried for half a minute where the hub fails to answer.

    Args:
        request: asks the hub's library.

    Raises:
        HubError: if the hub failed each time. All other errors are those of the hub's library.
    """
    for wait in _WAITS:
        try:
            return request()
        except Exception as error:  # the transport's errors share no base class across versions of the hub's library
            if not may_pass(error):
                raise
            logger.warning("%s. The next try is in %d s.", hub_error(error), wait)
        time.sleep(wait)
    try:
        return request()
    except Exception as error:
        if not may_pass(error):
            raise
        raise hub_error(error) from error


def hub_error(error: BaseException) -> HubError:
    """The error to raise from one of the hub's library."""
    *_, first = causes(error)
    return HubError(f"The hub {constants.ENDPOINT} did not give what was asked for ({first_line(first)})")


def may_pass(error: BaseException) -> bool:
    """Whether the hub was reached, and may answer the same request at another time."""
    return any(_passes(cause) for cause in causes(error))


def download(name: str, revision: str, *, weights: bool = True) -> Path:
    """The folder with a model's files, in the cache of the hub's library; it has whole files only.

    Args:
        name: the model's id on the hub.
        revision: its commit.
        weights: whether to download the weights, too.

    Raises:
        HubError: if the hub failed to give a file, also at further tries.
    """
    ignored = _LEFT_OUT if weights else [*_LEFT_OUT, _WEIGHTS]

    def request() -> str:
        return huggingface_hub.snapshot_download(
            name, revision=revision, ignore_patterns=ignored, max_workers=1, tqdm_class=_LateBar
        )

    return Path(asked(request))


def cached_snapshot(name: str) -> Path | None:
    """The folder of a model that was downloaded before as a whole; ``None`` where there is none on this machine.

    Args:
        name: the model's id on the hub.
    """
    try:
        repositories = huggingface_hub.scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return None
    commits = [
        commit
        for repository in repositories
        if (repository.repo_type, repository.repo_id) == ("model", name)
        for commit in repository.revisions
    ]
    # The newest one that the hub's library knows of, and the others as they were downloaded, the last one first.
    commits.sort(key=lambda commit: ("main" in commit.refs, commit.last_modified), reverse=True)
    return next((commit.snapshot_path for commit in commits if _is_whole(name, commit)), None)


def _is_whole(name: str, commit: huggingface_hub.CachedRevisionInfo) -> bool:
    """Whether all files of a commit are there; only of one that was downloaded by other means nobody knows."""
    if not any(file.file_name == "config.json" for file in commit.files):
        return False
    try:
        huggingface_hub.snapshot_download(
            name, revision=commit.commit_hash, ignore_patterns=_LEFT_OUT, local_files_only=True
        )
    except LocalEntryNotFoundError:
        return False
    return True


def _passes(error: BaseException) -> bool:
    if isinstance(error, HfHubHTTPError):
        return getattr(error.response, "status_code", None) in _STATUSES
    return type(error).__name__ in _BROKEN or _HALF in str(error)
