"""Text to recover tiny models on."""

import random
from pathlib import Path

from transformers.modeling_utils import PreTrainedModel

from optishear.recovery.recovery_text import RecoveryText
from tiny import WORDS, make_tokenizer


def words_file(folder: Path, name: str = "words.txt", count: int = 20_000, seed: int = 0) -> Path:
    """A text of so many words, in an order drawn with a seed."""
    chance = random.Random(seed)
    path = folder / name
    path.write_text(" ".join(chance.choice(WORDS) for _ in range(count)), encoding="utf-8")
    return path


def words_text(folder: Path, dense: PreTrainedModel, length: int = 32, held_out: int = 8) -> RecoveryText:
    """Blocks of such a text."""
    source = str(words_file(folder))
    return RecoveryText([source], dense, make_tokenizer(), length, held_out, seed=0, bos="each-window")
