"""The models of a run, each asked of the hub once."""

from optishear.models.source import ModelSource, resolve_model

_on_hub: dict[str, ModelSource] = {}


def find_model(model: str) -> ModelSource:
    """``resolve_model``, but a hub's answer holds for the whole process.

    Every stage's key needs the model's fingerprint. The hub's answer takes a moment, or a long time-out where there
    is no network, and all stages of a run must mean the same revision. Local files are read again each time.

    Raises:
        InputError: if there is no such model.
    """
    if model not in _on_hub:
        source = resolve_model(model)
        if source.hub_id is None:
            return source
        _on_hub[model] = source
    return _on_hub[model]
