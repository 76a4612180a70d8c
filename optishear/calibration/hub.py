"""Data sets of the Hugging Face hub, streamed; a hub that cannot be reached at all is found out at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import OfflineModeIsEnabled

from optishear.errors import InputError, first_line
from optishear.models.hub import hub_error, may_pass

_SECONDS = 10.0
# Each is half a minute of tries of the hub's library. By default it is 20, before the stage is tried again.
_TRIES = 2
# Of the transport's own classes, whose module changes with the version of the hub's library.
_NO_CONNECTION = ("ConnectError", "ConnectTimeout", "ProxyError")


def stream_data_set(source: str, name: str, config: str | None) -> Any:
    """The splits of a data set by name, as streams.

    Args:
        source: as the user gave it, for the messages.
        name: of the data set.
        config: its configuration; its only one where not given.

    Raises:
        InputError: if there is no such data set, or the hub cannot be reached and the data set is not on this machine.
        HubError: if the hub answers, but not this, also at further tries.
    """
    # Slow to import, and needed by no other source.
    import datasets

    datasets.config.STREAMING_OPEN_MAX_RETRIES = datasets.config.STREAMING_READ_MAX_RETRIES = _TRIES
    reason = why_unreachable()
    try:
        with _without_tries(reason is not None), _failing_as_hub():
            return datasets.load_dataset(name, config, streaming=True)
    except datasets.exceptions.FileNotFoundDatasetsError as error:
        raise InputError(f"The hub has no data set for {source!r} ({first_line(error)}).") from None
    except (ValueError, RuntimeError) as error:
        raise InputError(f"The data set {source!r} cannot be used ({first_line(error)}).") from None
    except ConnectionError:
        if reason is None:
            raise
        raise InputError(
            f"The text {source!r} is on the hub, which cannot be reached ({reason}); connect this machine to it, or "
            "give a .txt, .jsonl or .parquet file."
        ) from None


def received(stream: Any) -> Iterator[Any]:
    """The rows of a stream.

    Raises:
        HubError: if the hub can be reached but stops answering in the middle; worth another try.
    """
    with _failing_as_hub():
        yield from stream


@contextmanager
def _failing_as_hub() -> Iterator[None]:
    """Let a failure of the hub in the body be a ``HubError``."""
    try:
        yield
    except Exception as error:
        if not may_pass(error):
            raise
        raise hub_error(error) from error


def why_unreachable() -> str | None:
    """Why no connection to the hub can be made; ``None`` where it can, whatever the hub then answers."""
    try:
        huggingface_hub.get_session().head(constants.ENDPOINT, timeout=_SECONDS)
    except OfflineModeIsEnabled:
        return "HF_HUB_OFFLINE is set"
    except Exception as error:
        return first_line(error) if type(error).__name__ in _NO_CONNECTION else None
    return None


@contextmanager
def _without_tries(wanted: bool) -> Iterator[None]:
    """Let the hub's library take what is on this machine, and not try for half a minute to reach the hub."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or wanted
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
