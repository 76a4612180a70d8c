"""The models of a run, each asked of the hub once."""

from optishear.errors import InputError
from optishear.models.source import ModelSource, resolve_model
from optishear.named_source import NamedModel
from optishear.parameters import CrossModelStage

_on_hub: dict[str, ModelSource] = {}


def find_model(model: str) -> ModelSource:
    """``resolve_model``, but a hub's answer holds for the whole process.

    Every stage's key needs the model's fingerprint. The hub's answer takes a moment, or a long time-out where there
    is no network, and all stages of a run must mean the same revision. Local files are looked at anew.

    Raises:
        InputError: if there is no such model.
    """
    if model not in _on_hub:
        source = resolve_model(model)
        if source.hub_id is None:
            return source
        _on_hub[model] = source
    return _on_hub[model]


def models_by_name(parameters: CrossModelStage) -> dict[str, str]:
    """The models of a matrix, by the names that they have in it.

    Raises:
        InputError: if there are fewer than two, or two of one name.
    """
    named = [_name_and_model(item) for item in (NamedModel("", parameters.model), *parameters.other_models)]
    models = dict(named)
    if len(models) < len(named):
        double = next(name for name in models if sum(name == each for each, _ in named) > 1)
        raise InputError(f"Two models are named {double!r}; give one a name of its own: other_models NAME=MODEL.")
    if len(models) < 2:
        raise InputError("A matrix over models needs at least two; name the others in other_models.")
    return models


def _name_and_model(named: NamedModel) -> tuple[str, str]:
    name = named.name or find_model(named.model).public_name.removeprefix("package:").rsplit("/", 1)[-1]
    return name, named.model
