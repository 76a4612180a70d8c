"""Every family: what is pruned, on which statistics, and what transformers alone reads back."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from family_table import PAGE, row
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    PreTrainedTokenizerFast,
)
from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.self_generated import generate
from optishear.errors import InputError
from optishear.models.coverage import block_matrices, coverage
from optishear.models.layers import by_parameter, is_router, prunable_layers
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.pruning.apply import apply_recipe
from optishear.pruning.checkpoint import measured_sparsity, save_checkpoint
from optishear.recipes.recipe import named_recipe
from optishear.reconstruction.reconstruct import reconstruct
from optishear.recovery.budget import Budget
from optishear.recovery.recover import recover
from optishear.searching.search import run_search
from optishear.statistics.collect import collect_statistics
from optishear.statistics.statistics import EXPERT_TOKENS, Statistics
from recovery_text import words_text
from tiny import make_tokenizer, random_calibration

from .families import FAMILIES, MIXTURES, OTHERS, family_model

# Enough tokens that most experts get more than the smallest number.
CALIBRATION = random_calibration(sequences=8, length=32)
MASKS = {"0.5": named_recipe("wanda", 0.5), "2:4": named_recipe("wanda", "2:4")}


def observed(model: PreTrainedModel) -> Statistics:
    return collect_statistics(model, CALIBRATION, progress=False)


class _Products(TorchFunctionMode):
    """The inputs of every matrix product, by the address of the weight that is multiplied."""

    def __init__(self, addresses: dict[int, str]) -> None:
        super().__init__()
        self.addresses = addresses
        self.squares: dict[str, Tensor] = {}
        self.tokens: dict[str, int] = {}

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        name = getattr(function, "__name__", "")
        if name in ("linear", "matmul", "__matmul__", "bmm", "addmm") and len(arguments) > 1:
            read, weight = arguments[-2:] if name == "addmm" else arguments[:2]
            pairs = zip(read, weight, strict=True) if name == "bmm" else [(read, weight)]
            for inputs, slice_ in pairs:
                layer = self.addresses.get(slice_.data_ptr())
                if layer is not None:
                    rows = inputs.detach().reshape(-1, inputs.shape[-1]).double()
                    rows = rows[rows.any(dim=1)] if name == "bmm" else rows
                    self.squares[layer] = self.squares.get(layer, 0) + rows.square().sum(dim=0)
                    self.tokens[layer] = self.tokens.get(layer, 0) + len(rows)
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize("model_type", FAMILIES)
def test_statistics_are_of_the_inputs_that_each_weight_multiplies(model_type: str) -> None:
    model = family_model(model_type)
    layers = prunable_layers(model)
    found = observed(model)
    model.set_experts_implementation("eager")
    addresses = {layer.module.weight.data_ptr(): layer.name for layer in layers}
    with _Products(addresses) as products, torch.no_grad():
        model(CALIBRATION.tokens, use_cache=False)

    sequences, length = CALIBRATION.tokens.shape
    checked = 0
    for layer in layers:
        if layer.expert is None:
            expected = products.squares[layer.name] / sequences
        elif found.tokens[layer.name] >= EXPERT_TOKENS:
            assert found.tokens[layer.name] == products.tokens[layer.name]
            expected = products.squares[layer.name] / products.tokens[layer.name] * length
        else:
            continue
        assert torch.allclose(found.squared_norms[layer.name].double(), expected, rtol=1e-3, atol=1e-7), layer.name
        checked += 1
    assert checked > len(layers) / 2


@pytest.mark.parametrize(
    ("model_type", "pattern"),
    [(name, "0.5") for name in FAMILIES] + [(name, "2:4") for name in (*MIXTURES, *OTHERS)],
)
def test_the_claimed_sparsity_is_what_transformers_reads_back(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast, model_type: str, pattern: str
) -> None:
    recipe = MASKS[pattern]
    model = family_model(model_type)
    dense = {name: value.clone() for name, value in model.named_parameters()}
    summary = apply_recipe(model, recipe, observed(model))
    save_checkpoint(tmp_path / "model", model, tiny_tokenizer, recipe, "")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")

    parameters = by_parameter(prunable_layers(model))
    pruned = {name for name, parameter in model.named_parameters() if parameter in parameters}
    values = dict(loaded.named_parameters())
    assert values.keys() == dense.keys()
    for name, value in values.items():
        assert torch.equal(value, model.get_parameter(name)), name
        assert torch.equal(value, dense[name]) == (name not in pruned), name
    matrices = [values[name] for name in block_matrices(model)]
    zeros = sum(int((matrix == 0).sum()) for matrix in matrices)
    before = sum(int((dense[name] == 0).sum()) for name in block_matrices(model))
    measured = measured_sparsity(tmp_path / "model", model)
    assert measured.all_matrices == summary.sparsity_of_all_matrices == zeros / sum(m.numel() for m in matrices)
    assert measured.prunable == summary.achieved_sparsity == pytest.approx(0.5, abs=0.01)
    claimed = summary.achieved_sparsity * coverage(model).prunable_weights
    assert zeros - before == pytest.approx(claimed, abs=0.5)
    if pattern == "2:4":
        for layer in prunable_layers(loaded):
            groups = layer.module.weight.reshape(-1, 4)
            assert bool(((groups == 0).sum(dim=1) >= 2).all()), layer.name


@pytest.mark.parametrize("model_type", MIXTURES)
def test_experts_are_layers_and_routers_are_not(model_type: str) -> None:
    model = family_model(model_type)
    layers = prunable_layers(model)

    assert sum(layer.expert is not None for layer in layers) >= 8
    # Of LongCat, the weights of experts that only copy their input are left out.
    assert coverage(model).prunable_share > (0.85 if model_type == "longcat_flash" else 0.95)
    assert not any(is_router(layer.name) for layer in layers)
    # A view writes through to the parameter of the model.
    for layer in layers:
        layer.module.weight.data[0, 0] = 7.0
        assert layer.view(model.get_parameter(layer.parameter_name).detach())[0, 0] == 7.0


# One of each way to store experts.
@pytest.mark.parametrize("model_type", ["mixtral", "deepseek_v3", "dbrx", "llama4_text", "nemotron_h", "jamba"])
def test_reconstruction_brings_the_experts_nearer_to_the_dense_model(model_type: str) -> None:
    model = family_model(model_type)
    statistics = observed(model)
    masked, solved = (
        reconstruct(
            family_model(model_type),
            MASKS["0.5"],
            statistics,
            CALIBRATION,
            ReconstructionParameters(reconstruction=method, tuning_steps=0),
        )
        for method in ("none", "admm")
    )

    experts = [layer.name for layer in prunable_layers(model) if layer.expert is not None]
    assert solved.pruning.achieved_sparsity == pytest.approx(masked.pruning.achieved_sparsity, abs=1e-3)
    errors = [sum(made.layer_errors[name] for name in experts) for made in (solved, masked)]
    assert errors[0] < 0.9 * errors[1]


@pytest.mark.parametrize("method", ["sparsegpt", "admm"])
def test_tuning_and_recovery_keep_the_zeros_of_experts(method: str, tmp_path: Path) -> None:
    model, dense = family_model("mixtral"), family_model("mixtral")
    parameters = ReconstructionParameters(reconstruction=method, tuning_steps=4)
    reconstruct(model, MASKS["0.5"], observed(model), CALIBRATION, parameters)
    zeros = {layer.name: layer.module.weight == 0 for layer in prunable_layers(model)}
    recover(model, dense, prunable_layers(model), words_text(tmp_path, dense), Budget(None, 512), rate=0.01)

    for layer in prunable_layers(model):
        assert float(zeros[layer.name].float().mean()) == pytest.approx(0.5, abs=0.02), layer.name
        assert torch.equal(layer.module.weight == 0, zeros[layer.name])


def test_a_search_of_experts() -> None:
    model = family_model("mixtral")
    before = {name: value.clone() for name, value in model.named_parameters()}
    parameters = SearchParameters(trials=30, population=4, descent_steps=2, search_sequences=2)
    found = run_search(
        model, {"": CALIBRATION}, observed(model), parameters, parse_pattern("0.5"), seed=0, progress=False
    )

    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
    summary = apply_recipe(model, found.recipe, observed(model))
    assert summary.sparsity_of_all_matrices == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("model_type", [*MIXTURES, *OTHERS])
def test_text_of_its_own_is_what_a_pass_without_a_cache_gives_or_is_refused(model_type: str) -> None:
    model, tokenizer = family_model(model_type), make_tokenizer()
    if model_type in {"minimax", "rwkv"}:
        with pytest.raises(InputError, match=f"'{model_type}' give other outputs token by token"):
            generate(model, tokenizer, 4, 12, seed=0)
        return
    blocks = generate(model, tokenizer, 4, 12, seed=0)

    random = torch.Generator().manual_seed(0)
    chances = torch.rand(4, 11, generator=random, dtype=torch.float64)
    chances[:, 0] = (chances[:, 0] + torch.randperm(4, generator=random)) / 4
    with torch.no_grad():
        logits = model(blocks.tokens, use_cache=False).logits[:, :-1, : len(tokenizer)]
    cumulative = logits.softmax(dim=-1).cumsum(dim=-1, dtype=torch.float64)
    expected = (cumulative <= chances[..., None] * cumulative[..., -1:]).sum(dim=-1)
    assert torch.equal(blocks.tokens[:, 1:], expected)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_the_page_of_the_families_is_current(model_type: str) -> None:
    assert row(model_type) in PAGE.read_text(encoding="utf-8").splitlines()


def test_the_page_has_no_other_families() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if re.match(r"\| `[a-z0-9_-]+` \|", line)]
    assert len(rows) == len(FAMILIES)


def test_the_language_model_of_a_multimodal_one_is_pruned_and_the_rest_is_copied(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    text = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8,
        "num_key_value_heads": 2, "vocab_size": 128, "max_position_embeddings": 256, "sliding_window": 16,
    }  # fmt: skip
    # The vision tower is larger than the language model.
    vision = {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 2,
        "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=120)
    torch.manual_seed(0)
    model = Gemma3ForConditionalGeneration(config).eval()
    dense = {name: value.clone() for name, value in model.named_parameters()}

    layers = prunable_layers(model)
    summary = apply_recipe(model, MASKS["0.5"], observed(model))
    save_checkpoint(tmp_path / "model", model, tiny_tokenizer, MASKS["0.5"], "")
    loaded = Gemma3ForConditionalGeneration.from_pretrained(tmp_path / "model")

    assert len(layers) == 14
    assert all(layer.name.startswith("model.language_model.layers.") for layer in layers)
    pruned = {layer.parameter_name for layer in layers}
    for name, value in loaded.named_parameters():
        assert torch.equal(value, model.get_parameter(name)), name
        assert torch.equal(value, dense[name]) == (name not in pruned), name
    assert measured_sparsity(tmp_path / "model", model).all_matrices == summary.sparsity_of_all_matrices
    assert summary.achieved_sparsity == pytest.approx(0.5, abs=0.01)


def test_of_a_real_mixture_of_experts_nearly_all_weights_are_prunable() -> None:
    """Mixtral 8x7B, without weights."""
    config = AutoConfig.for_model(
        "mixtral", hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, num_local_experts=8, num_experts_per_tok=2, vocab_size=32000,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)

    covered = coverage(model)

    routers = 32 * 8 * 4096
    assert covered.left_out == {"mlp.gate.weight": routers}
    assert covered.prunable_weights == 32 * (3 * 8 * 4096 * 14336 + 4096 * (2 * 4096 + 2 * 1024))
