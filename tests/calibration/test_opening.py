import pytest
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from optishear.calibration.opening import opening_tokens


def test_a_tokenizer_that_adds_bos(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    assert opening_tokens(tiny_tokenizer) == [tiny_tokenizer.bos_token_id]


@pytest.mark.parametrize(
    ("template", "expected"),
    [("$A", []), ("$A </s>", []), ("<s> $A </s>", [1]), ("<pad> <s> $A", [0, 1])],
)
def test_it_is_what_stands_before_the_text(
    tiny_tokenizer: PreTrainedTokenizerFast, template: str, expected: list[int]
) -> None:
    special = [("<pad>", 0), ("<s>", 1), ("</s>", 2)]
    tiny_tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=template, pair=f"{template} $B", special_tokens=special
    )
    assert opening_tokens(tiny_tokenizer) == expected
