"""A Hugging Face tokenizer → the tokens, merges and rules that llama.cpp tokenizes by."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from optishear.errors import InputError
from optishear.models.gguf import PRE_KEY

if TYPE_CHECKING:
    from gguf import GGUFWriter

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CAPITALS, _SMALL = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_LLAMA3 = _CONTRACTIONS + "|" + _WORDS + r"|\p{N}{1,3}|" + _SIGNS
_QWEN2 = _CONTRACTIONS + "|" + _WORDS + r"|\p{N}|" + _SIGNS
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?" + _CAPITALS + "*" + _SMALL + r"+|[^\r\n\p{L}\p{N}]?" + _CAPITALS + "+" + _SMALL + "*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# What splits a text before the merges, and whether whole words are looked up first; llama.cpp's name for it. Its own
# list of names is in src/llama-vocab.cpp.
_PRE_TOKENIZERS = {
    (("gpt2",), False): "gpt-2",
    (("digits", "gpt2"), False): "smollm",
    ((_LLAMA3,), True): "llama-bpe",
    ((_LLAMA3,), False): "smaug-bpe",
    ((_QWEN2,), False): "qwen2",
    ((_TEKKEN,), True): "tekken",
}
# A score below that of any merge.
_UNMERGED = -1e6


@dataclass(frozen=True)
class GgufTokenizer:
    """A tokenizer as a GGUF file has it.

    Attributes:
        model: ``gpt2``, byte-level merges, or ``llama``, merges of characters by their scores.
        pre: the name of what splits a text before the merges.
        tokens: by their numbers, as many as the embedding has rows.
        types: of each token, the numbers of ``gguf.TokenType``.
        merges: for ``gpt2``, pairs with a space between, in their order.
        scores: for ``llama``, of each token; the highest is merged first.
        space_prefix: whether a space is put before a text.
        special: numbers of the special tokens, by their name in the format.
        adds: whether a token is put at an end of a text, for ``bos`` and ``eos``.
        chat_template: for conversations; several by their names.
    """

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    scores: list[float]
    space_prefix: bool
    special: dict[str, int]
    adds: dict[str, bool]
    chat_template: str | Mapping[str, str] | None


def read_tokenizer(tokenizer: PreTrainedTokenizerBase, rows: int) -> GgufTokenizer:
    """Describe a tokenizer for llama.cpp.

    Args:
        tokenizer: of the checkpoint.
        rows: of the embedding. Tokens that the tokenizer lacks are unused ones.

    Raises:
        InputError: if llama.cpp has no such tokenizer, or the embedding has no row for a token.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise _unknown(f"{type(tokenizer).__name__} has no tokenizer.json")
    state: dict[str, Any] = json.loads(backend.to_str())
    kind = state["model"]["type"]
    if kind != "BPE":
        raise _unknown(f"the tokenizer is of the type {kind}")
    byte_level = _components(state["decoder"], "decoders")[-1:] == [{"type": "ByteLevel"}]
    if not byte_level and not state["model"].get("byte_fallback"):
        raise _unknown("it neither merges bytes nor falls back to them")
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in state["model"]["merges"]]
    tokens, types = _tokens(state, rows, byte_level)
    return GgufTokenizer(
        model="gpt2" if byte_level else "llama",
        pre=_pre(tokenizer, state) if byte_level else "default",
        tokens=tokens,
        types=types,
        merges=merges if byte_level else [],
        scores=[] if byte_level else _scores(merges, tokens, types),
        space_prefix=not byte_level and backend.encode("a", add_special_tokens=False).tokens[0].startswith("▁"),
        special=_special(tokenizer),
        adds=_adds(tokenizer),
        chat_template=tokenizer.chat_template,
    )


def add_tokenizer(writer: "GGUFWriter", tokenizer: GgufTokenizer) -> None:
    """Add a tokenizer to a file's metadata."""
    writer.add_tokenizer_model(tokenizer.model)
    writer.add_tokenizer_pre(tokenizer.pre)
    writer.add_token_list(tokenizer.tokens)
    writer.add_token_types(tokenizer.types)
    if tokenizer.model == "gpt2":
        writer.add_token_merges(tokenizer.merges)
    else:
        writer.add_token_scores(tokenizer.scores)
    writer.add_add_space_prefix(tokenizer.space_prefix)
    for name, number in tokenizer.special.items():
        getattr(writer, f"add_{name}_token_id")(number)
    for name, added in tokenizer.adds.items():
        getattr(writer, f"add_add_{name}_token")(added)
    template = tokenizer.chat_template
    if isinstance(template, str):
        writer.add_chat_template(template)
    elif template:
        writer.add_chat_template([{"name": name, "template": text} for name, text in template.items()])


def _tokens(state: Mapping[str, Any], rows: int, byte_level: bool) -> tuple[list[str], list[int]]:
    """Texts and types of all tokens, by their numbers."""
    from gguf import TokenType

    vocabulary: dict[str, int] = state["model"]["vocab"]
    added = {token["id"]: token for token in state["added_tokens"]}
    largest = max([*vocabulary.values(), *added])
    if largest >= rows:
        raise InputError(
            f"The tokenizer has a token of the number {largest}, and the embedding {rows} rows; give a checkpoint "
            "whose tokenizer fits."
        )
    tokens = [f"[PAD{number}]" for number in range(rows)]
    types = [int(TokenType.UNUSED)] * rows
    for text, number in vocabulary.items():
        tokens[number] = text
        is_byte = not byte_level and len(text) == 6 and text.startswith("<0x") and text.endswith(">")
        types[number] = int(TokenType.BYTE if is_byte else TokenType.NORMAL)
    for number, token in added.items():
        # llama.cpp looks for these in the text as it is, where a space is no mark yet.
        tokens[number] = token["content"] if byte_level or token["special"] else token["content"].replace("▁", " ")
        types[number] = int(TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED)
    unknown = vocabulary.get(state["model"].get("unk_token") or "")
    if unknown is not None and not byte_level:
        types[unknown] = int(TokenType.UNKNOWN)
    return tokens, types


def _scores(merges: list[str], tokens: list[str], types: list[int]) -> list[float]:
    """The scores that make llama.cpp merge in the order of the merges: a token's is that of the first that makes it."""
    from gguf import TokenType

    order: dict[str, int] = {}
    for place, pair in enumerate(merges):
        first, _, second = pair.partition(" ")
        order.setdefault(first + second, place)
    return [
        float(-1 - order[token]) if token in order else _UNMERGED if kind == TokenType.NORMAL else 0.0
        for token, kind in zip(tokens, types, strict=True)
    ]


def _pre(tokenizer: PreTrainedTokenizerBase, state: Mapping[str, Any]) -> str:
    stored = tokenizer.init_kwargs.get(PRE_KEY)
    if isinstance(stored, str):
        return stored
    normalizers = [part["type"] for part in _components(state["normalizer"], "normalizers")]
    if not set(normalizers) <= {"NFC"}:  # Qwen's, which llama.cpp does without
        raise _unknown(f"it normalizes texts by {', '.join(normalizers)}")
    splits = tuple(filter(None, map(_split, _components(state["pre_tokenizer"], "pretokenizers", whole=True))))
    name = _PRE_TOKENIZERS.get((splits, bool(state["model"].get("ignore_merges"))))
    if name is None:
        raise _unknown(f"it splits texts by {' and '.join(map(repr, splits)) or 'nothing'}")
    return name


def _split(part: Mapping[str, Any]) -> str:
    """What a part of a pre-tokenizer splits by; empty where it splits nothing."""
    match part:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": use_regex}:
            return "gpt2" if use_regex else ""
        case {"type": "Digits", "individual_digits": True}:
            return "digits"
        case {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}:
            return str(pattern)
        case _:
            return json.dumps(part)


def _components(part: Mapping[str, Any] | None, key: str, *, whole: bool = False) -> list[Mapping[str, Any]]:
    """The parts of a sequence in a tokenizer.json, or the part itself; only their types unless ``whole``."""
    if part is None:
        return []
    parts = part[key] if part["type"] == "Sequence" else [part]
    return [each if whole else {"type": each["type"]} for each in parts]


def _special(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    numbers = {name: getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "unk", "pad")}
    return {name: number for name, number in numbers.items() if number is not None}


def _adds(tokenizer: PreTrainedTokenizerBase) -> dict[str, bool]:
    """What the tokenizer puts at the ends of a text, as it does it."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    ids = tokenizer("a")["input_ids"]
    before, after = ids[: len(ids) - len(plain)], ids[len(plain) :]
    return {
        "bos": ids != plain and before[:1] == [tokenizer.bos_token_id],
        "eos": ids != plain and after[-1:] == [tokenizer.eos_token_id],
    }


def _unknown(reason: str) -> InputError:
    return InputError(
        f"llama.cpp has no tokenizer like this one ({reason}); export with --format dense and convert with llama.cpp's "
        "own convert_hf_to_gguf.py."
    )
