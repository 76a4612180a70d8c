import copy
import math

import pytest
import torch
from transformers import PreTrainedTokenizerFast
from transformers.modeling_utils import PreTrainedModel

from optishear.evaluation import perplexity as module
from optishear.evaluation.perplexity import perplexity, text_windows, window_losses
from wording import refused

TEXT = "then he was here and there, in his heart, on and on; " * 20


@pytest.fixture
def windows() -> torch.Tensor:
    """Five windows of 24 tokens."""
    return torch.randint(0, 128, (5, 24), generator=torch.Generator().manual_seed(0))


def test_it_is_exp_of_the_mean_loss_of_the_windows(family_model: PreTrainedModel, windows: torch.Tensor) -> None:
    with torch.no_grad():
        losses = [family_model(window[None], labels=window[None]).loss.double() for window in windows]
    expected = math.exp(sum(losses) / len(losses))
    assert perplexity(family_model, windows) == pytest.approx(expected, rel=1e-6)


def test_it_equals_the_probabilities_multiplied_out(tiny_llama: PreTrainedModel, windows: torch.Tensor) -> None:
    with torch.no_grad():
        probabilities = tiny_llama(windows).logits.double().softmax(dim=-1)
    predicted = probabilities[:, :-1].gather(2, windows[:, 1:, None])
    assert perplexity(tiny_llama, windows) == pytest.approx(predicted.log().mean().neg().exp().item(), rel=1e-6)


def test_a_model_that_knows_nothing_is_as_perplexed_as_its_vocabulary_is_large(
    tiny_llama: PreTrainedModel, windows: torch.Tensor
) -> None:
    tiny_llama.get_output_embeddings().weight.data.zero_()
    assert perplexity(tiny_llama, windows) == pytest.approx(128, rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_the_batch_size_does_not_matter(tiny_llama: PreTrainedModel, windows: torch.Tensor, batch_size: int) -> None:
    assert perplexity(tiny_llama, windows, batch_size) == pytest.approx(perplexity(tiny_llama, windows), rel=1e-6)


@pytest.mark.parametrize("tokens", [0, 1, 7, 23])
def test_the_size_of_a_softmax_does_not_matter(
    tiny_llama: PreTrainedModel, windows: torch.Tensor, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = perplexity(tiny_llama, windows)
    monkeypatch.setattr(module, "LOGITS_PER_SOFTMAX", tokens * 128)
    assert perplexity(tiny_llama, windows) == pytest.approx(expected, rel=1e-6)


def test_a_batch_whose_logits_would_not_fit_is_split(
    tiny_llama: PreTrainedModel, windows: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOGITS_PER_PASS", 2 * 24 * 128)
    sizes: list[int] = []
    tiny_llama.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    perplexity(tiny_llama, windows, batch_size=64)
    assert sizes == [2, 2, 1]


def test_the_model_does_not_change(tiny_llama: PreTrainedModel, windows: torch.Tensor) -> None:
    weights, config = copy.deepcopy(tiny_llama.state_dict()), copy.deepcopy(tiny_llama.config.to_dict())
    perplexity(tiny_llama, windows)
    assert tiny_llama.config.to_dict() == config
    assert all(torch.equal(tensor, weights[name]) for name, tensor in tiny_llama.state_dict().items())


def test_a_perplexity_beyond_every_number_is_infinite(tiny_llama: PreTrainedModel, windows: torch.Tensor) -> None:
    tiny_llama.get_output_embeddings().weight.data.mul_(1e6)
    assert perplexity(tiny_llama, windows) == math.inf


def test_a_model_that_puts_out_no_numbers_has_none(tiny_llama: PreTrainedModel, windows: torch.Tensor) -> None:
    tiny_llama.get_output_embeddings().weight.data.fill_(math.nan)
    assert math.isnan(perplexity(tiny_llama, windows))


def test_a_text_is_tokenized_once_and_cut(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = tiny_tokenizer(TEXT)["input_ids"]
    assert tokens[0] == tiny_tokenizer.bos_token_id
    windows = text_windows(tiny_tokenizer, TEXT, 32, bos="text-start")
    assert windows.shape == (len(tokens) // 32, 32)
    assert windows.flatten().tolist() == tokens[: windows.numel()]
    assert torch.equal(text_windows(tiny_tokenizer, TEXT, 32, 3, bos="text-start"), windows[:3])


def test_each_window_begins_with_bos_and_loses_no_token_of_the_text(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = tiny_tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    windows = text_windows(tiny_tokenizer, TEXT, 32)
    assert windows.shape == (len(tokens) // 31, 32)
    assert windows[:, 0].tolist() == [tiny_tokenizer.bos_token_id] * len(windows)
    assert windows[:, 1:].flatten().tolist() == tokens[: len(windows) * 31]
    assert torch.equal(text_windows(tiny_tokenizer, TEXT, 32, 3), windows[:3])


def test_without_a_bos_of_the_tokenizer_windows_are_the_same_in_both_protocols(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    tiny_tokenizer.backend_tokenizer.post_processor = None
    windows = text_windows(tiny_tokenizer, TEXT, 32)
    assert torch.equal(windows, text_windows(tiny_tokenizer, TEXT, 32, bos="text-start"))
    assert windows.flatten().tolist() == tiny_tokenizer(TEXT)["input_ids"][: windows.numel()]


@pytest.mark.parametrize("opening", [1, 2, 5])
def test_the_opening_of_a_window_is_not_predicted(
    tiny_llama: PreTrainedModel, windows: torch.Tensor, opening: int
) -> None:
    with torch.no_grad():
        probabilities = tiny_llama(windows).logits.double().log_softmax(dim=-1)
    predicted = probabilities[:, :-1].gather(2, windows[:, 1:, None])[:, opening - 1 :, 0]
    losses = window_losses(tiny_llama, windows, opening=opening)
    assert losses == pytest.approx((-predicted.mean(dim=1)).tolist(), rel=1e-5)


def test_too_few_windows_are_refused_with_both_numbers(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    with refused(4, 2, 3, 6):
        text_windows(tiny_tokenizer, "xyz", 3, 2, bos="text-start")


def test_a_text_shorter_than_a_window_is_refused(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    with refused(3, 1, 8, 7):
        text_windows(tiny_tokenizer, "xyz", 8)
