"""A model that overflows in float16 is refused at its first pass, or before it is loaded where its family is known."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import Gemma2Config, Gemma3TextConfig, GemmaConfig, LlamaConfig, PreTrainedTokenizerFast
from transformers.modeling_utils import PreTrainedModel

from families.families import family_model
from optishear.calibration.calibrate import calibrate
from optishear.divergence.model_divergence import ModelDivergence
from optishear.errors import InputError
from optishear.evaluation.perplexity import perplexity
from optishear.models.finite import check_float16, check_weights, first_not_finite
from optishear.models.load import load_model
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.pruning.apply import apply_recipe
from optishear.recipes.recipe import named_recipe
from optishear.reconstruction.reconstruct import reconstruct
from optishear.statistics.collect import collect_statistics
from optishear.statistics.gradients import collect_gradients
from tiny import random_calibration, tiny_model
from wording import refused

FIX = ("not finite", "float16", 65504, "dtype", "auto", "bfloat16", "float32")


@pytest.fixture
def overflowing() -> PreTrainedModel:
    """A model of three blocks, the second of which has activations beyond float16."""
    model = tiny_model(layers=3)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[3] *= 3000
        model.model.layers[1].mlp.up_proj.weight *= 30
    return model


@pytest.fixture
def stored_in_float16(tmp_path: Path, overflowing: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> str:
    overflowing.half().save_pretrained(tmp_path / "model")
    tiny_tokenizer.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def test_it_is_refused_when_it_is_loaded_in_float16_with_the_module_that_overflows(stored_in_float16: str) -> None:
    with refused("model.layers.1.mlp.down_proj", *FIX):
        load_model(stored_in_float16, dtype="float16", device="cpu")


@pytest.mark.parametrize("native", [True, False])
def test_auto_computes_it_in_what_has_the_range(
    stored_in_float16: str, processor: Callable[..., None], native: bool
) -> None:
    processor(native=native, bfloat16_time=0.5 if native else 8.0)
    model = load_model(stored_in_float16, device="cpu").model
    statistics = collect_statistics(model, random_calibration(), progress=False)
    assert all(values.isfinite().all() for values in statistics.squared_norms.values())


def test_a_model_within_the_range_is_loaded_in_float16(model_folder: Path) -> None:
    assert load_model(str(model_folder), dtype="float16", device="cpu").model.dtype == torch.float16


def test_every_later_pass_refuses_it_too(overflowing: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model = overflowing.half()
    tokens = random_calibration()
    with refused("model.layers.2.self_attn.q_proj", *FIX):
        collect_statistics(model, tokens, progress=False)
    with refused("outputs", *FIX):
        calibrate(model, tiny_tokenizer, calibration="self", sequences=2, sequence_length=8)
    with refused("outputs", *FIX):
        perplexity(model, tokens.tokens)
    with refused("gradients", *FIX):
        collect_gradients(model, tokens, progress=False)


def test_what_overflows_behind_the_last_layer_is_seen(tiny_llama: PreTrainedModel) -> None:
    with torch.no_grad():
        tiny_llama.model.layers[1].mlp.down_proj.weight *= 5e4
    with refused("hidden states", *FIX):
        collect_statistics(tiny_llama.half(), random_calibration(), progress=False)


def test_damaged_weights_are_no_question_of_the_precision(tiny_llama: PreTrainedModel) -> None:
    with torch.no_grad():
        tiny_llama.model.layers[1].mlp.up_proj.weight[0, 0] = torch.nan
    with refused("model.layers.1.mlp.up_proj.weight", 1, "float32", "checkpoint"):
        collect_statistics(tiny_llama, random_calibration(), progress=False)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ["model.layers.1.mlp.up_proj.weight", "model.norm.weight", "lm_head.weight"])
def test_one_damaged_weight_of_a_checkpoint(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast, name: str, value: float
) -> None:
    model = tiny_model("mistral")
    with torch.no_grad():
        model.get_parameter(name).view(-1)[5] = value
    model.save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)

    with refused(name, 1, "checkpoint"):
        load_model(str(tmp_path), device="cpu")


def test_a_damaged_expert(tmp_path: Path) -> None:
    model = family_model("mixtral")
    with torch.no_grad():
        model.model.layers[1].mlp.experts.down_proj[2, 0, 0] = torch.nan
    with refused("model.layers.1.mlp.experts.down_proj"):
        check_weights(model)


@pytest.mark.parametrize("where", ["weight", "statistics"])
def test_nothing_is_pruned_by_numbers_that_are_not_finite(tiny_llama: PreTrainedModel, where: str) -> None:
    statistics = collect_statistics(tiny_llama, random_calibration(), progress=False)
    name = "model.layers.1.mlp.up_proj"
    if where == "weight":
        with torch.no_grad():
            tiny_llama.get_parameter(f"{name}.weight")[0, 0] = torch.nan
    else:
        statistics.squared_norms[name][3] = torch.nan
    query = tiny_llama.get_parameter("model.layers.0.self_attn.q_proj.weight")
    before = query.clone()

    with pytest.raises(InputError, match=name):
        apply_recipe(tiny_llama, named_recipe("magnitude", "0.5"), statistics)
    with pytest.raises(InputError, match=name):
        reconstruct(
            tiny_llama,
            named_recipe("wanda", "0.5"),
            statistics,
            random_calibration(),
            ReconstructionParameters(reconstruction="admm"),
            progress=False,
        )
    assert torch.equal(query, before)


def test_the_search_does_not_begin_with_outputs_that_are_not_finite() -> None:
    model = tiny_model("mistral")
    with torch.no_grad():
        model.lm_head.weight *= 1e38
    with refused("outputs", "float32"):
        ModelDivergence(model, random_calibration().tokens, ("kl",))


def test_the_first_module_is_named(tiny_llama: PreTrainedModel) -> None:
    tokens = random_calibration().tokens
    assert first_not_finite(tiny_llama, tokens) is None
    with torch.no_grad():
        tiny_llama.lm_head.weight[0, 0] = torch.inf  # tied to the embedding, of which the tokens use other rows
    assert first_not_finite(tiny_llama, tokens) == "lm_head"


@pytest.mark.parametrize("config", [GemmaConfig(), Gemma2Config(), Gemma3TextConfig()])
def test_a_family_that_is_known_to_overflow_is_refused_before_it_is_loaded(config: GemmaConfig) -> None:
    for stored in (torch.bfloat16, torch.float32, None):
        config.dtype = stored
        with pytest.raises(InputError, match=f"the family '{config.model_type}' pass 65504"):
            check_float16("a model", config, "float16")
        check_float16("a model", config, "float32")
        check_float16("a model", config, "auto")
    config.dtype = torch.float16
    check_float16("a model", config, "float16")
    check_float16("a model", LlamaConfig(dtype="bfloat16"), "float16")


def test_the_family_is_looked_at_before_the_weights(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_model("gemma").save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    monkeypatch.setattr("optishear.models.load._weights", lambda *_: pytest.fail("loaded"))

    with pytest.raises(InputError, match="cannot be computed in float16"):
        load_model(str(tmp_path), dtype="float16", device="cpu")
