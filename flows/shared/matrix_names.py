"""The models and the texts of a matrix, by name."""

from flows.parameters.cross_model import CrossModelParameters
from flows.parameters.cross_task import CrossTaskParameters
from optishear.errors import InputError
from optishear.named_source import NamedModel
from tasks.store.model_sources import find_model
from tasks.store.provenance import public_source


def models_by_name(parameters: CrossModelParameters) -> dict[str, str]:
    """The models of a matrix, by name.

    Raises:
        InputError: if there are fewer than two, or two of one name.
    """
    named = [_name_and_model(model) for model in (NamedModel("", parameters.model), *parameters.other_models)]
    models = dict(named)
    if len(models) < len(named):
        double = next(name for name in models if sum(name == model for model, _ in named) > 1)
        raise InputError(f"Two models are named {double!r}; give one a name of its own: other_models NAME=MODEL.")
    if len(models) < 2:
        raise InputError("A matrix over models needs at least two; name the others in other_models.")
    return models


def texts_by_name(parameters: CrossTaskParameters) -> dict[str, str]:
    """The texts of a matrix, by name.

    Raises:
        InputError: if there are fewer than two, or two of one name.
    """
    first = parameters.calibration
    named = [(public_source(first), first), *((text.name, text.source) for text in parameters.other_calibrations)]
    texts = dict(named)
    if len(texts) < len(named):
        raise InputError(f"Two of the texts {', '.join(name for name, _ in named)} have one name; rename one.")
    if len(texts) < 2:
        raise InputError("A matrix over texts needs at least two; name the others in other_calibrations.")
    return texts


def _name_and_model(named: NamedModel) -> tuple[str, str]:
    name = named.name or find_model(named.source).public_name.removeprefix("package:").rsplit("/", 1)[-1]
    return name, named.source
