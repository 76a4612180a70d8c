"""Dense model → token blocks: calibration text sampled from the model itself.

Text that the dense model writes calibrates as well as a corpus and needs no data set (Williams et al.,
"Self-calibration for language model quantization and pruning", arXiv 2410.17170).
"""

from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase, StaticCache

from optishear.calibration.calibration_set import CalibrationSet
from optishear.models.finite import not_finite


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sequences: int,
    sequence_length: int,
    seed: int,
    batch_size: int = 32,
) -> CalibrationSet:
    """Sample ``sequences`` texts of ``sequence_length`` tokens from the model.

    Each starts with the beginning-of-sequence token (where there is none: end-of-sequence, else token 0), and every
    further one is drawn from the model's own distribution, at temperature 1. The texts' second tokens are drawn
    from as many equal shares of that distribution as there are texts, so that they open differently where it
    allows that. (Opening at a higher temperature gives more variety than a small model can go on from: its text
    stays odd, and pruning with it gets worse.) A text that ends goes on with the next one in the same row.

    Equal seeds give equal tokens on equal hardware and dtype; neither the model nor any random state is touched.

    Args:
        batch_size: texts written at a time. Throughput grows with it as long as reading the weights takes longer
            than reading the cache; the cache takes ``batch_size`` × ``sequence_length`` tokens.

    Raises:
        InputError: if the model's outputs are not finite.
    """
    random = torch.Generator().manual_seed(seed)
    chances = torch.rand(sequences, sequence_length - 1, generator=random, dtype=torch.float64)
    chances[:, :1] = (chances[:, :1] + torch.randperm(sequences, generator=random)[:, None]) / sequences
    progress: tqdm[Any]
    with tqdm(total=sequences * sequence_length, unit="token", desc="self-generated text") as progress:
        rows = [generate_rows(model, tokenizer, part, progress) for part in chances.split(batch_size)]
    return CalibrationSet(torch.cat(rows), "self")


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
        chances: [texts, tokens - 1] float64 in [0, 1), which decide the tokens after the first.
        progress: advanced by the tokens.
        cache_length: tokens that a cache of fixed size is for; those of the texts where not given.

    Returns:
        [texts, tokens] int64, on the CPU.
    """
    rows, steps = chances.shape
    cache_length = cache_length or steps + 1
    chances = chances.to(model.device)
    # On the CPU, attention over a cache of fixed size is up to three times as fast as over a growing one.
    cache = StaticCache(model.config, max_cache_len=cache_length) if model._can_compile_fullgraph else None
    token = torch.full((rows, 1), _first_token(tokenizer), device=model.device)
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


def _first_token(tokenizer: PreTrainedTokenizerBase) -> int:
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0
