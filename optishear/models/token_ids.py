"""Token ids that a model has no embedding for."""

from typing import Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.modeling_utils import PreTrainedModel

from optishear.errors import InputError


def check_token_ids(model: PreTrainedModel, tokens: Tensor, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
    """Refuse tokens beyond the rows of a model's embedding, as of a tokenizer that was extended without the model.

    Args:
        model: the model.
        tokens: int64 of any shape.
        tokenizer: to name the token.

    Raises:
        InputError: naming the largest token, the number of rows and of such tokens.
    """
    embedding: Any = model.get_input_embeddings()
    rows = len(embedding.weight)
    largest = int(tokens.max()) if tokens.numel() else 0
    if largest >= rows:
        count = int((tokens >= rows).sum())
        name = f"{tokenizer.convert_ids_to_tokens(largest)!r}, number {largest}" if tokenizer else f"number {largest}"
        raise InputError(
            f"The text has the token {name}, but the model's embedding has {rows} rows ({count} such tokens); give the "
            "model's own tokenizer, a text without these tokens, or a model whose embedding was extended."
        )
