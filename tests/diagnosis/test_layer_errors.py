"""Errors against the plain computation: one model after another, with hooks on the dense one's inputs."""

from pathlib import Path

import pyarrow as pa
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast
from transformers.modeling_utils import PreTrainedModel

from optishear.diagnosis.layer_errors import layer_errors
from optishear.diagnosis.pruned_weights import in_checkpoint, masked_by
from optishear.models.layers import decoder_blocks, prunable_layers
from optishear.models.write import write_checkpoint
from optishear.pruning.apply import apply_recipe
from optishear.recipes.recipe import Recipe, named_recipe
from optishear.statistics.collect import collect_statistics
from optishear.statistics.statistics import Statistics
from tiny import random_calibration, tiny_model

TOKENS = random_calibration(sequences=3).tokens


@pytest.fixture
def statistics(family_model: PreTrainedModel) -> Statistics:
    return collect_statistics(family_model, random_calibration(), progress=False)


def observed(model: PreTrainedModel) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The inputs of each linear layer, and the hidden states after each block."""
    inputs: dict[str, Tensor] = {}
    states: list[Tensor] = []
    for layer in prunable_layers(model):
        layer.module.register_forward_hook(
            lambda _, read, __, name=layer.name: inputs.__setitem__(name, read[0].detach().flatten(0, -2))
        )
    for block in decoder_blocks(model)[1]:
        block.register_forward_hook(
            lambda _, __, out: states.append((out[0] if isinstance(out, tuple) else out).detach())
        )
    with torch.no_grad():
        model.base_model(TOKENS, use_cache=False)
    return inputs, states


def value(table: pa.Table, **where: object) -> float:
    (row,) = [row for row in table.to_pylist() if all(row[key] == wanted for key, wanted in where.items())]
    return float(row["relative_error"])


def test_errors_equal_those_of_models_run_one_by_one(
    family: str, family_model: PreTrainedModel, statistics: Statistics
) -> None:
    layers = prunable_layers(family_model)
    recipes = {"wanda": named_recipe("wanda", 0.5), "magnitude": named_recipe("magnitude", "2:4")}
    before = {name: tensor.clone() for name, tensor in family_model.state_dict().items()}
    methods = {name: masked_by(recipe, layers, statistics) for name, recipe in recipes.items()}
    of_layers, of_blocks = layer_errors(family_model, TOKENS, methods)
    assert all(torch.equal(before[name], tensor) for name, tensor in family_model.state_dict().items())
    assert of_layers.num_rows == 2 * len(layers)
    assert of_blocks.num_rows == 2 * 2

    inputs, dense = observed(family_model)
    for method, recipe in recipes.items():
        pruned = tiny_model(family)
        apply_recipe(pruned, recipe, statistics)
        _, states = observed(pruned)
        for layer, thinned in zip(layers, prunable_layers(pruned), strict=True):
            read, weight = inputs[layer.name], layer.module.weight.detach()
            lost = read @ (weight - thinned.module.weight.detach()).T
            expected = torch.linalg.norm(lost) / torch.linalg.norm(read @ weight.T)
            assert value(of_layers, layer=layer.name, method=method) == pytest.approx(float(expected), rel=1e-4)
        for index, (state, reference) in enumerate(zip(states, dense, strict=True)):
            expected = torch.linalg.norm(state - reference) / torch.linalg.norm(reference)
            found = value(of_blocks, decoder_layer=index, method=method)
            assert found == pytest.approx(float(expected), rel=1e-3)


def test_the_dense_weights_make_no_error() -> None:
    of_layers, of_blocks = layer_errors(tiny_model(), TOKENS, {"dense": lambda layer: layer.module.weight})
    assert set(of_layers.column("relative_error").to_pylist()) == {0.0}
    assert max(of_blocks.column("relative_error").to_pylist()) < 1e-6


def test_a_checkpoint_is_read_as_it_was_written(
    tmp_path: Path, family: str, family_model: PreTrainedModel, statistics: Statistics,
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:  # fmt: skip
    recipe: Recipe = named_recipe("ria", 0.5)
    dense = tiny_model(family)
    masked = masked_by(recipe, prunable_layers(dense), statistics)
    apply_recipe(family_model, recipe, statistics)
    write_checkpoint(tmp_path, family_model, tiny_tokenizer)
    of_layers, of_blocks = layer_errors(dense, TOKENS, {"mask": masked, "file": in_checkpoint(tmp_path, dense)})
    for table in (of_layers, of_blocks):
        by_method = {
            method: [row["relative_error"] for row in table.to_pylist() if row["method"] == method]
            for method in ("mask", "file")
        }
        assert by_method["mask"] == pytest.approx(by_method["file"], rel=1e-4)
        assert min(by_method["mask"]) > 0.01


def test_routed_layers_have_errors_of_their_own_and_blocks_have_none() -> None:
    from torch import nn

    class Routed(nn.Module):
        """Sends every other token to the layer that it wraps."""

        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, hidden: Tensor) -> Tensor:
            flat = hidden.flatten(0, -2)
            return (
                torch.zeros_like(flat)
                .index_copy(0, torch.arange(0, len(flat), 2), self.inner(flat[::2]))
                .view(hidden.shape)
            )

    model = tiny_model()
    block = decoder_blocks(model)[1][0]
    block.mlp.down_proj = nn.Sequential(block.mlp.down_proj)
    block.mlp = Routed(block.mlp)
    statistics = collect_statistics(model, random_calibration(), progress=False)
    recipe = named_recipe("wanda", 0.5)
    layers = prunable_layers(model)
    of_layers, of_blocks = layer_errors(model, TOKENS, {"wanda": masked_by(recipe, layers, statistics)})
    assert of_blocks.num_rows == 0
    assert of_layers.num_rows == len(layers)
    assert min(of_layers.column("relative_error").to_pylist()) > 0.01
