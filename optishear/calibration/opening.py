"""The tokens that a tokenizer puts before a text by itself, such as the BOS of Gemma and Llama."""

from transformers import PreTrainedTokenizerBase

# Any text that every tokenizer has a token for.
_SAMPLE = "a"


def opening_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that the tokenizer puts before a text: mostly one (BOS) or none; GLM-4 has two.

    They are those that it writes, whatever its settings say.
    """
    plain: list[int] = tokenizer(_SAMPLE, add_special_tokens=False)["input_ids"]
    whole: list[int] = tokenizer(_SAMPLE)["input_ids"]
    starts = (start for start in range(len(whole)) if whole[start : start + len(plain)] == plain)
    return whole[: next(starts, 0)]
