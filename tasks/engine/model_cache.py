"""The model that this process loaded last, so that a flow in one process loads the dense model once.

It is forgotten where a stage uses no model or another one, where a stage fails, and at the end of a flow.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate.utils.memory import clear_device_cache

from optishear.errors import InputError, causes
from optishear.inference.footprint import memory_bytes
from optishear.models.load import LoadedModel, load_model
from optishear.parameters.model import ModelParameters
from optishear.streaming.disk_model import DiskModel
from tasks.store.model_sources import find_model

_Key = tuple[str, str, str, bool]
_last: tuple[_Key, LoadedModel] | None = None
_kept_between_flows = False


@contextmanager
def shared_model(parameters: ModelParameters) -> Iterator[LoadedModel]:
    """Lend the model as it was loaded. A caller that changes its weights restores them; an error clears the cache."""
    loaded = take_model(parameters)
    yield loaded
    global _last
    _last = (_key(parameters), loaded)


def take_model(parameters: ModelParameters) -> LoadedModel:
    """Remove the model from the cache for a caller that changes its weights; the next caller loads it again."""
    global _last
    key = _key(parameters)
    last, _last = _last, None
    if last is not None and last[0] == key:
        return last[1]
    del last
    return load_model(
        parameters.model,
        dtype=parameters.dtype,
        device=parameters.device,
        trust_remote_code=parameters.trust_remote_code,
    )


def open_on_disk(parameters: ModelParameters) -> DiskModel:
    """The model with its decoder blocks on disk; a model in memory is let go first.

    Raises:
        InputError: as ``DiskModel``; or if code of the checkpoint is to be run.
    """
    if parameters.trust_remote_code:
        raise InputError("A model on disk runs no code of its checkpoint; unset trust_remote_code or give a device.")
    release_model()
    return DiskModel(parameters.model, parameters.dtype)


def keep_between_flows() -> None:
    """Let ``release_after_flow`` keep the model, in a process that computes stage after stage of one run."""
    global _kept_between_flows
    _kept_between_flows = True


def release_after_flow() -> None:
    """Forget the model at the end of a flow, unless this process goes on with the next stage."""
    if not _kept_between_flows:
        release_model()


def release_model() -> None:
    """Forget the model, and give the memory that nobody uses back to the device."""
    global _last
    _last = None
    clear_device_cache(garbage_collection=True)


def release_failed(error: BaseException) -> None:
    """Forget the model and the variables of the functions that an error ended, which an error keeps as it is raised."""
    for cause in causes(error):
        traceback.clear_frames(cause.__traceback__)
    release_model()


def held_bytes(device: torch.device) -> int:
    """Bytes of the kept model's weights on a device: of the next stage's model, or freed before that is loaded."""
    return 0 if _last is None else memory_bytes(_last[1].model, device)


def _key(parameters: ModelParameters) -> _Key:
    fingerprint = find_model(parameters.model).fingerprint
    return fingerprint, parameters.dtype, parameters.device, parameters.trust_remote_code
