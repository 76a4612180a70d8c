"""Greedy continuation of a prompt, with its speed and memory."""

from dataclasses import dataclass

from optishear.errors import InputError
from optishear.inference.decode import decode
from optishear.inference.fast_layers import use_sparse_layers
from optishear.inference.footprint import memory_bytes
from optishear.models.load import load_model
from optishear.models.token_ids import check_token_ids
from optishear.parameters.generation import GenerateParameters


@dataclass(frozen=True)
class Generated:
    """A continuation.

    Attributes:
        text: the generated text.
        tokens: number of generated tokens.
        tokens_per_second: speed after the first token.
        sparse_layers: number of layers that ran on a sparse kernel.
        memory_bytes: size of the weights in memory.
    """

    text: str
    tokens: int
    tokens_per_second: float
    sparse_layers: int
    memory_bytes: int


def generate(parameters: GenerateParameters) -> Generated:
    """Load a model and let it continue a text.

    Raises:
        InputError: if the model cannot be loaded, or the prompt has no tokens or some that the model does not know.
    """
    loaded = load_model(
        parameters.model,
        dtype=parameters.dtype,
        device=parameters.device,
        trust_remote_code=parameters.trust_remote_code,
    )
    model, tokenizer = loaded.model, loaded.tokenizer
    prompt = tokenizer(parameters.prompt, return_tensors="pt")["input_ids"].to(model.device)
    if not prompt.numel():
        raise InputError(f"The prompt {parameters.prompt!r} has no tokens; give some words.")
    check_token_ids(model, prompt, tokenizer)
    sparse = use_sparse_layers(model) if parameters.sparse_layers else 0
    end = model.generation_config.eos_token_id
    ends = frozenset(end if isinstance(end, list) else [] if end is None else [end])
    decoded = decode(model, prompt.long(), parameters.new_tokens, ends=ends)
    return Generated(
        text=str(tokenizer.decode(decoded.tokens, skip_special_tokens=True)),
        tokens=len(decoded.tokens),
        tokens_per_second=decoded.tokens_per_second,
        sparse_layers=sparse,
        memory_bytes=memory_bytes(model),
    )
