"""Make a calibration set from any calibration source."""

import logging

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from optishear.calibration.blocks import draw_blocks
from optishear.calibration.calibration_set import CalibrationSet
from optishear.calibration.self_generated import generate
from optishear.calibration.text import check_source, read_documents
from optishear.errors import InputError
from optishear.models.token_ids import check_token_ids
from optishear.parameters.bos import Bos

SELF = "self"
logger = logging.getLogger(__name__)


def check_calibration(calibration: str) -> None:
    """Refuse a calibration source that cannot be read, before the model is loaded.

    Raises:
        InputError: names the source and the reason.
    """
    if calibration != SELF:
        check_source(calibration)


def calibrate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    calibration: str = SELF,
    sequences: int = 32,
    sequence_length: int = 512,
    seed: int = 0,
    bos: Bos = "each-window",
) -> CalibrationSet:
    """Make the calibration set of a dense model.

    Args:
        calibration: ``self``, text sampled from the model, or a source of ``read_documents``.
        sequences: number of token blocks.
        sequence_length: tokens per block.
        seed: seed of the sampling, or of the order of the documents and the places of the pieces.
        bos: where the tokenizer's BOS goes, as for ``draw_blocks``; text of the model always begins with it.

    Raises:
        InputError: if the blocks are longer than the model's context, or the source gives too little text
            or tokens that the model has no embedding for.
    """
    check_context(model, "sequence_length", sequence_length)
    if calibration == SELF:
        return generate(model, tokenizer, sequences, sequence_length, seed)
    documents = read_documents(calibration, seed=seed)
    blocks = draw_blocks(documents, tokenizer, sequences, sequence_length, calibration, seed=seed, bos=bos)
    check_token_ids(model, blocks.tokens, tokenizer)
    logger.info("%s", describe(blocks))
    return blocks


def describe(blocks: CalibrationSet) -> str:
    """The size of a calibration set, its documents and its BOS, in a sentence."""
    sequences, length = blocks.tokens.shape
    words = f"Calibration on {sequences} sequences of {length} tokens of {blocks.source}"
    if blocks.documents is not None:
        words += f", from {blocks.documents} document{'' if blocks.documents == 1 else 's'}"
    if blocks.bos is not None:
        words += ", each beginning with BOS" if blocks.bos == "each-window" else ", with BOS where a document starts"
    return f"{words}."


def check_context(model: PreTrainedModel, parameter: str, length: int) -> None:
    """Refuse token blocks that are longer than the model's context.

    Raises:
        InputError: names the parameter, its value and the model's context.
    """
    longest = longest_sequence(model)
    if longest is not None and length > longest:
        raise InputError(f"The parameter {parameter} cannot be {length}: the model's context is {longest} tokens.")


def longest_sequence(model: PreTrainedModel) -> int | None:
    """The model's context in tokens; ``None`` where its configuration gives none."""
    longest: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return longest
