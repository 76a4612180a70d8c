"""The models of a run; each is looked up on the hub once."""

from optishear.models.source import ModelSource, resolve_model

_on_hub: dict[str, ModelSource] = {}


def find_model(model: str) -> ModelSource:
    """``resolve_model``, with the hub's answer cached for the whole process.

    Every stage's key needs the model's fingerprint. The hub's answer takes a moment, or a long time-out without a
    network, and all stages of a run must use the same revision. Local files are read again each time.

    Raises:
        InputError: if there is no such model.
    """
    if model not in _on_hub:
        source = resolve_model(model)
        if source.hub_id is None:
            return source
        _on_hub[model] = source
    return _on_hub[model]
