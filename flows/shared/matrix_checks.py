"""Checks of the flows that fill a matrix."""

from flows.parameters.cross_model import CrossModelParameters
from flows.parameters.cross_task import CrossTaskParameters
from flows.parameters.matrix import MatrixParameters
from flows.shared.matrix_names import models_by_name, texts_by_name
from optishear.calibration.calibrate import check_calibration
from optishear.errors import InputError
from optishear.evaluation.evaluate import NO_TEXT
from optishear.evidence.crossed import check_places
from optishear.parameters.evaluation import EvaluationParameters
from optishear.searching.universal import check_universal


def check_perplexity(_: MatrixParameters, evaluation: EvaluationParameters) -> None:
    """Refuse a matrix without an evaluation text.

    Raises:
        InputError: names the parameter.
    """
    if evaluation.evaluation_text == NO_TEXT:
        raise InputError(
            f"The parameter evaluation_text is {NO_TEXT!r}, but a matrix compares perplexities; give a text."
        )


def check_models(parameters: CrossModelParameters) -> None:
    """Refuse models without names of their own, and a universal recipe that cannot be searched.

    Raises:
        InputError: names the model or the parameter.
    """
    check_places(models_by_name(parameters), "model")
    if parameters.universal:
        check_universal(parameters)


def check_texts(parameters: CrossTaskParameters) -> None:
    """Refuse texts without names of their own, and texts that cannot be read.

    Raises:
        InputError: names the text.
    """
    texts = texts_by_name(parameters)
    check_places(texts, "text")
    for source in texts.values():
        check_calibration(source)
