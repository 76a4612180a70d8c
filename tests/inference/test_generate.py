"""A prompt that the model cannot read is refused."""

from pathlib import Path

from optishear.inference.generate import generate
from optishear.parameters.generation import GenerateParameters
from tiny import VOCABULARY, make_tokenizer, tiny_model
from wording import refused


def test_a_prompt_with_tokens_beyond_the_embedding_is_refused(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([f"<{number}>" for number in range(VOCABULARY)])
    last = len(tokenizer) - 1
    tiny_model().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    known = GenerateParameters(model=str(tmp_path), prompt="the rest", new_tokens=2, dtype="float32", device="cpu")
    assert generate(known).tokens >= 1
    unknown = known.model_copy(update={"prompt": f"the <{VOCABULARY - 1}>"})
    with refused(last, VOCABULARY):
        generate(unknown)
