"""Perplexity as the pruning papers report it: over equal, non-overlapping windows of one long text.

The text is tokenized once, as a whole, and cut into windows; each window's loss is the mean over the tokens that it
predicts (all but its first), and the perplexity is exp of the mean over windows (SparseGPT, arXiv 2301.00774; Wanda,
arXiv 2306.11695). It changes with the window length and the number of windows: compare only where both are equal.

Where the tokenizer adds a BOS, each window begins with it, which differs from the papers: models that were trained with
a BOS before every text, such as Gemma, lose some nats a token without it. The BOS is not predicted, and all tokens of
the text in a window are. ``text-start`` is the papers' protocol, with a BOS in the first window only.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from optishear.batch_size import BatchSize
from optishear.calibration.opening import opening_tokens
from optishear.errors import InputError
from optishear.models.finite import not_finite
from optishear.models.token_ids import check_token_ids
from optishear.parameters.bos import Bos

# Logits of one forward pass, and of one float32 softmax: bounds on memory that a large vocabulary would break.
_LOGITS_PER_PASS = 2**29
LOGITS_PER_SOFTMAX = 2**24


def text_windows(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    window_length: int,
    windows: int | None = None,
    bos: Bos = "each-window",
) -> Tensor:
    """Tokenize a text and cut it into windows from its start.

    Args:
        tokenizer: of the model.
        text: any.
        window_length: tokens of a window, BOS included.
        windows: number of windows; as many as there are where not given. The rest is dropped.
        bos: ``each-window``: each window begins with the tokens that the tokenizer puts before a text;
            ``text-start``: only the first one does.

    Returns:
        [windows, window_length] int64.

    Raises:
        InputError: if the text is too short, with the number of tokens found and needed.
    """
    opening = opening_tokens(tokenizer) if bos == "each-window" else []
    # What belongs at the start of a text is in the windows.
    tokens = tokenizer(text, add_special_tokens=not opening, verbose=False)["input_ids"]
    length = window_length - len(opening)
    count = len(tokens) // length if windows is None else windows
    needed = max(count, 1) * length
    if len(tokens) < needed:
        included = ", BOS included," if opening else ""
        raise InputError(
            f"The evaluation text has only {len(tokens)} tokens, and {max(count, 1)} windows of {window_length}"
            f"{included} need {needed}; give more text, or ask for fewer or shorter windows."
        )
    of_text = torch.tensor(tokens[:needed]).reshape(count, length)
    return torch.cat([torch.tensor(opening, dtype=torch.int64).expand(count, -1), of_text], dim=1)


def perplexity(model: PreTrainedModel, windows: Tensor, batch_size: int = 8) -> float:
    """Perplexity of a model over windows of tokens; the model is not changed.

    Args:
        windows: [windows, window_length] int64 token ids, window_length at least 2.
        batch_size: windows per forward pass at most; fewer where their logits would not fit in memory, and half where
            it runs out nevertheless.

    Returns:
        exp of the mean of ``window_losses``; infinite where that overflows, not a number where the model's outputs
        are none.
    """
    losses = BatchSize(batch_size, "window").run(lambda size: window_losses(model, windows, size))
    try:
        return math.exp(sum(losses) / len(losses))
    except OverflowError:
        return math.inf


def window_losses(
    model: PreTrainedModel, windows: Tensor, batch_size: int = 8, progress: bool = True, opening: int = 1
) -> list[float]:
    """Mean negative log-likelihood of each window in nats.

    Args:
        model: not changed.
        windows: as for ``perplexity``.
        batch_size: windows per forward pass at most; fewer where their logits would not fit in memory.
        progress: show a progress bar.
        opening: tokens at the start of a window that are not predicted, at least 1.

    Raises:
        InputError: if the model has no embedding for a token, or its outputs in float16 are not finite.
    """
    check_token_ids(model, windows)
    batch_size = windows_per_pass(batch_size, windows.shape[1], model.config.get_text_config().vocab_size)
    losses: list[float] = []
    with tqdm(total=len(windows), unit="window", desc="perplexity", disable=not progress) as bar:
        for batch in windows.split(batch_size):
            losses += _losses(model, batch.to(model.device), opening).tolist()
            if model.dtype == torch.float16 and not all(map(math.isfinite, losses)):
                raise not_finite("The model's outputs are", model.dtype)
            bar.update(len(batch))
    return losses


def windows_per_pass(batch_size: int, window_length: int, vocabulary: int) -> int:
    """Windows of one forward pass: as many as asked for, or as the logits in memory allow."""
    return max(1, min(batch_size, _LOGITS_PER_PASS // (window_length * vocabulary)))


@torch.inference_mode()
def _losses(model: PreTrainedModel, batch: Tensor, opening: int) -> Tensor:
    """Mean negative log-likelihood of each window: [batch] float64."""
    logits = model(batch, use_cache=False).logits
    tokens = max(1, LOGITS_PER_SOFTMAX // logits.shape[-1])
    losses = [
        cross_entropy(some.float(), following, reduction="none").double()
        for window, targets in zip(logits[:, opening - 1 : -1], batch[:, opening:], strict=True)
        for some, following in zip(window.split(tokens), targets.split(tokens), strict=True)
    ]
    return torch.cat(losses).reshape(len(batch), -1).mean(dim=1)
