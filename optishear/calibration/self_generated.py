"""Dense model → token blocks: calibration text sampled from the model itself.

Text that the dense model writes calibrates as well as a corpus and needs no data set (Williams et al.,
"Self-calibration for language model quantization and pruning", arXiv 2410.17170).
"""

from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StaticCache,
)

from optishear.batch_size import BatchSize
from optishear.calibration.calibration_set import CalibrationSet
from optishear.calibration.opening import opening_tokens
from optishear.errors import InputError, first_line
from optishear.models.finite import not_finite

# Families, by model type, whose outputs with a cache are others in transformers 5.
_OTHER_WITH_CACHE = ("minimax", "rwkv")
# Texts that are written at a time.
TEXTS_PER_BATCH = 32
# Relative difference of the outputs with and without a cache. Rounding to half precision gives some 1 %, more where a
# router chooses another expert by it.
CACHE_TOLERANCE, CACHE_TOLERANCE_HALF = 0.01, 0.2
# Texts and tokens of each that are compared: some of any kind.
CHECKED_TOKENS = (4, 12)
# Share of the sampled tokens that must be the same.
SAME_TOKENS = 0.7


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sequences: int,
    sequence_length: int,
    seed: int,
    batch_size: int = TEXTS_PER_BATCH,
) -> CalibrationSet:
    """Sample ``sequences`` texts of ``sequence_length`` tokens from the model.

    Each starts with what the tokenizer puts before a text, which is mostly the beginning-of-sequence token (where it
    puts nothing: beginning-of-sequence, else end-of-sequence, else token 0). Every further token is drawn from the
    model's own distribution, at temperature 1. The first ones are drawn from as many equal shares of that distribution
    as there are texts, so that the texts open differently where it allows that. (Opening at a higher temperature gives
    more variety than a small model can go on from: its text stays odd, and pruning with it gets worse.) A text that
    ends goes on with the next one in the same row.

    Equal seeds give equal tokens on equal hardware and dtype; neither the model nor any random state is touched.

    Args:
        batch_size: texts written at a time. Throughput grows with it as long as reading the weights takes longer
            than reading the cache; the cache takes ``batch_size`` × ``sequence_length`` tokens. Halved where memory
            runs out.

    Raises:
        InputError: if the model's outputs are not finite, or are others with a cache than without.
    """
    _check_cache(model, tokenizer)
    random = torch.Generator().manual_seed(seed)
    drawn = sequence_length - len(_first_tokens(tokenizer))
    chances = torch.rand(sequences, drawn, generator=random, dtype=torch.float64)
    chances[:, :1] = (chances[:, :1] + torch.randperm(sequences, generator=random)[:, None]) / sequences
    progress: tqdm[Any]
    with tqdm(total=sequences * sequence_length, unit="token", desc="self-generated text") as progress:

        def write(texts: slice) -> Tensor:
            progress.update(texts.start * sequence_length - progress.n)  # what a failed batch has added
            return generate_rows(model, tokenizer, chances[texts], progress)

        rows = list(BatchSize(batch_size, "text", "batch").each(sequences, write))
    return CalibrationSet(torch.cat(rows), "self", bos="each-window" if opening_tokens(tokenizer) else None)


@torch.no_grad()
def generate_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    chances: Tensor,
    progress: "tqdm[Any]",
    cache_length: int | None = None,
) -> Tensor:
    """Sample one text a row, token by token.

    Args:
        chances: [texts, tokens] float64 in [0, 1), which decide the tokens after the first one (or ones, where the
            tokenizer puts more before a text).
        progress: advanced by the tokens.
        cache_length: tokens that a cache of fixed size is for; those of the texts where not given.

    Returns:
        [texts, first and other tokens] int64, on the CPU.
    """
    rows, steps = chances.shape
    token = torch.tensor(_first_tokens(tokenizer), device=model.device).repeat(rows, 1)
    cache_length = cache_length or token.shape[1] + steps
    chances = chances.to(model.device)
    if not _takes_cache(model):
        return _rows_by_library(model, tokenizer, chances, progress)
    # On the CPU, attention over a cache of fixed size is up to three times as fast as over a growing one.
    cache = StaticCache(model.config, max_cache_len=cache_length) if model._can_compile_fullgraph else None
    tokens = [token]
    for step in range(steps):
        output = model(token, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        # The embedding may be padded beyond the vocabulary, with rows that were never trained.
        token = _sample(output.logits[:, -1, : len(tokenizer)], chances[:, step : step + 1])
        tokens.append(token)
        progress.update(rows)
    progress.update(rows)
    return torch.cat(tokens, dim=1).cpu()


def _takes_cache(model: PreTrainedModel) -> bool:
    """Whether a model gives a cache of keys and values; recurrent ones have states under other names."""
    output = model(torch.zeros(1, 1, dtype=torch.int64, device=model.device), use_cache=True)
    return getattr(output, "past_key_values", None) is not None


def _rows_by_library(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, chances: Tensor, progress: "tqdm[Any]"
) -> Tensor:
    """As ``generate_rows``, with the states passed on by transformers, which knows each family's method.

    All scores but that of the token that is sampled here are taken away, so that greedy generation takes it.
    """
    rows, steps = chances.shape
    first = torch.tensor(_first_tokens(tokenizer), device=model.device).repeat(rows, 1)

    def choose(tokens: Tensor, logits: Tensor) -> Tensor:
        step = tokens.shape[1] - first.shape[1]
        token = _sample(logits[:, : len(tokenizer)], chances[:, step : step + 1])
        progress.update(rows)
        return torch.full_like(logits, -torch.inf).scatter_(1, token, 0.0)

    own, config = model.generation_config, GenerationConfig(max_new_tokens=steps, use_cache=True, pad_token_id=0)
    try:
        # Its end of a text would end the row.
        model.generation_config = config
        generated: Tensor = model.generate(  # type: ignore[operator]
            first, attention_mask=torch.ones_like(first), logits_processor=LogitsProcessorList([choose])
        )
    finally:
        model.generation_config = own
    progress.update(rows)
    return generated.cpu()


def check_own_text(model_type: str) -> None:
    """Refuse a family that is known to write other text with a cache than without, before its weights are loaded.

    Raises:
        InputError: naming the family.
    """
    if model_type in _OTHER_WITH_CACHE:
        raise _other_text(model_type)


@torch.no_grad()
def _check_cache(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a model that writes other text token by token than it gives the same text on the whole.

    By the outputs where they are at hand, else by the tokens.
    """
    try:
        differs = _differs_with_cache(model, tokenizer)
    except (torch.OutOfMemoryError, InputError):
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError) as error:
        raise InputError(
            f"The model, of the type {model.config.model_type!r}, cannot write calibration text with transformers "
            f"({first_line(error)}); set calibration to a text."
        ) from error
    if differs:
        raise _other_text(model.config.model_type)


def _differs_with_cache(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether most outputs, or tokens, are others with a cache."""
    if _takes_cache(model):
        random = torch.Generator().manual_seed(0)
        tokens = torch.randint(len(tokenizer), CHECKED_TOKENS, generator=random).to(model.device)
        whole = model(tokens, use_cache=False).logits.float()
        cache, steps = None, []
        for token in tokens.split(1, dim=1):
            output = model(token, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            steps.append(output.logits.float())
        distances = (torch.cat(steps, dim=1) - whole).norm(dim=-1) / whole.norm(dim=-1)
        tolerance = CACHE_TOLERANCE if model.dtype == torch.float32 else CACHE_TOLERANCE_HALF
        # The median, since rounding alone moves the outputs after some tokens (special ones, say) by more than half.
        # Not the other way round: outputs that are not finite are refused in words of their own.
        return float(distances.median()) > tolerance
    ascending = torch.linspace(0.05, 0.95, 9, dtype=torch.float64, device=model.device)
    chances = torch.stack([ascending, ascending.flip(0)])
    tokens = _rows_by_library(model, tokenizer, chances, tqdm(disable=True)).to(model.device)
    sampled = tokens[:, -chances.shape[1] :]
    logits = model(tokens, use_cache=False).logits[:, -chances.shape[1] - 1 : -1, : len(tokenizer)]
    same = _sample(logits.flatten(0, 1), chances.reshape(-1, 1)) == sampled.reshape(-1, 1)
    return float(same.float().mean()) < SAME_TOKENS


def _other_text(model_type: str) -> InputError:
    return InputError(
        f"Models of the type {model_type!r} give other outputs token by token than on the whole text, by an error in "
        "transformers, so they cannot write calibration text; set calibration to a text."
    )


def _sample(logits: Tensor, chances: Tensor) -> Tensor:
    """The token at which the cumulative probability passes each row's chance: [rows, 1] int64.

    One number per row is all the randomness, so it can be drawn on the CPU and the tokens do not depend on the
    device's generator.
    """
    cumulative = logits.float().softmax(dim=-1).cumsum(dim=-1, dtype=torch.float64)
    total = cumulative[:, -1:]
    if not bool(torch.isfinite(total).all()):
        raise not_finite("The model's outputs are", logits.dtype)
    token = torch.searchsorted(cumulative, chances * total, right=True)
    return token.clamp_(max=logits.shape[-1] - 1)


def _first_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    known = (tokenizer.bos_token_id, tokenizer.eos_token_id, 0)
    return opening_tokens(tokenizer) or [next(int(token) for token in known if token is not None)]
