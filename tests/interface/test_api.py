"""The library on models in memory."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase
from transformers.modeling_utils import PreTrainedModel

import optishear
from optishear.calibration.calibration_set import CalibrationSet
from optishear.interface import api
from optishear.models.layers import prunable_layers
from optishear.recipes.recipe import named_recipe
from optishear.statistics.collect import collect_statistics
from optishear.statistics.statistics import Statistics
from tiny import random_calibration, random_text, tiny_model


def test_search_and_prune(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    model = tiny_model()
    recipe = optishear.search(
        model, tiny_tokenizer, sparsity=0.5, sequences=4, sequence_length=32, trials=12, progress=False
    )
    assert isinstance(recipe, optishear.Recipe)
    summary = optishear.prune(model, recipe, calibration=random_calibration(), progress=False)
    zeros = sum(int((layer.module.weight == 0).sum()) for layer in prunable_layers(model))
    total = sum(layer.module.weight.numel() for layer in prunable_layers(model))
    assert zeros / total == summary.achieved_sparsity == pytest.approx(0.5, abs=0.001)


def test_prune_reconstructs_where_asked() -> None:
    masked, rebuilt = tiny_model(), tiny_model()
    calibration = random_calibration(4, 32)
    optishear.prune(masked, "wanda", "2:4", calibration=calibration, progress=False)
    summary = optishear.prune(
        rebuilt,
        "wanda",
        "2:4",
        calibration=calibration,
        progress=False,
        reconstruction="admm",
        reconstruction_masks="recipe",
    )
    assert summary.achieved_sparsity == 0.5
    for one, other in zip(prunable_layers(masked), prunable_layers(rebuilt), strict=True):
        assert torch.equal(one.module.weight == 0, other.module.weight == 0)
        assert not torch.equal(one.module.weight, other.module.weight)
    with pytest.raises(optishear.InputError, match="reconstruction cannot be 'magic'"):
        optishear.prune(rebuilt, "wanda", calibration=calibration, reconstruction="magic")  # type: ignore[arg-type]


@pytest.mark.parametrize("sparsity", ["0.5", "2:4", "4:8", "1:4"])
@pytest.mark.parametrize("name", ["magnitude", "wanda", "ria"])
def test_published_recipes_on_every_family(family: str, name: str, sparsity: str) -> None:
    model = tiny_model(family)
    recipe = named_recipe(name, sparsity)
    summary = optishear.prune(model, recipe, calibration=random_calibration(), progress=False)
    assert summary.achieved_sparsity == pytest.approx(recipe.sparsity.fraction, abs=0.001)
    assert torch.isfinite(model(random_calibration().tokens).logits).all()
    group = recipe.sparsity.group
    if group is not None:
        for layer in prunable_layers(model):
            kept = (layer.module.weight != 0).reshape(-1, group).sum(dim=1)
            assert (kept <= recipe.sparsity.kept).all()


def test_bad_input_is_told_before_anything_is_done(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(optishear.InputError, match="'trails'"):
        optishear.search(tiny_model(), tiny_tokenizer, trails=3)  # type: ignore[call-arg]
    with pytest.raises(optishear.InputError, match="neither a fraction"):
        optishear.search(tiny_model(), tiny_tokenizer, sparsity=1.2)
    model = tiny_model()
    before = model.state_dict()["model.layers.0.mlp.up_proj.weight"].clone()
    with pytest.raises(optishear.InputError, match="3:5 does not divide the 32 inputs"):
        optishear.prune(model, "wanda", "3:5", calibration=random_calibration(), progress=False)
    with pytest.raises(optishear.InputError, match="parameter tokenizer"):
        optishear.prune(model, "wanda")
    assert torch.equal(before, model.state_dict()["model.layers.0.mlp.up_proj.weight"])


def test_prune_sets_the_size_of_the_calibration(
    tiny_tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []

    def collect(model: PreTrainedModel, blocks: CalibrationSet, progress: bool) -> Statistics:
        shapes.append(tuple(blocks.tokens.shape))
        return collect_statistics(model, blocks, progress=progress)

    monkeypatch.setattr(api, "collect_statistics", collect)
    optishear.prune(tiny_model(), "wanda", tokenizer=tiny_tokenizer, sequences=3, sequence_length=24, progress=False)
    assert shapes == [(3, 24)]


def test_sizes_that_would_have_no_effect_are_refused() -> None:
    model, calibration = tiny_model(), random_calibration()
    statistics = collect_statistics(model, calibration, progress=False)
    with pytest.raises(optishear.InputError, match="sequences cannot be 3"):
        optishear.prune(model, "wanda", calibration=calibration, sequences=3)
    with pytest.raises(optishear.InputError, match="sequence_length cannot be 24"):
        optishear.prune(model, "wanda", statistics=statistics, sequence_length=24)


def test_recipes_that_need_gradients() -> None:
    model, calibration = tiny_model(), random_calibration()
    statistics = collect_statistics(model, calibration, progress=False)
    for given in (None, statistics):
        summary = optishear.prune(
            tiny_model(), "pruner_zero", calibration=calibration, statistics=given, progress=False
        )
        assert summary.achieved_sparsity == pytest.approx(0.5, abs=0.001)


def test_further_calibration_sets_have_objectives_of_their_own(
    tiny_tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text(random_text(20), encoding="utf-8")
    recipe = optishear.search(
        tiny_model(),
        tiny_tokenizer,
        calibration=random_calibration(6, 32),
        search_calibrations=[f"notes={text}"],
        trials=12,
        progress=False,
    )
    assert {"kl", "kl/notes"} <= set(recipe.objectives)
    with pytest.raises(optishear.InputError, match=r"absent\.txt"):
        optishear.search(tiny_model(), tiny_tokenizer, search_calibrations=["absent=absent.txt"], progress=False)


def test_evaluate(tiny_tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text(random_text(20), encoding="utf-8")
    evaluation = optishear.evaluate(
        tiny_model(), tiny_tokenizer, evaluation_text=str(text), window_length=64, windows=2
    )
    assert evaluation.settings.windows == 2
    assert evaluation.perplexity is not None
    assert evaluation.perplexity > 1
    with pytest.raises(optishear.InputError, match=r"absent\.txt"):
        optishear.evaluate(tiny_model(), tiny_tokenizer, evaluation_text="absent.txt")


def test_models_without_decoder_blocks_are_refused() -> None:
    with pytest.raises(optishear.InputError, match="no prunable layers"):
        optishear.prune(torch.nn.Linear(4, 4), "wanda", calibration=random_calibration())  # type: ignore[arg-type]


def test_every_family_from_search_to_a_checkpoint_that_loads(
    family: str, tiny_tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    model = tiny_model(family)
    calibration = random_calibration(6, 32)
    # Of six sequences five evaluate, so that none are left to doubt the result, which a random model's would be.
    recipe = optishear.search(
        model, tiny_tokenizer, calibration=calibration, trials=16, population=4, search_sequences=5, progress=False
    )
    assert recipe.sparsity_ratios
    optishear.prune(model, recipe, calibration=calibration, progress=False)
    optishear.save_checkpoint(tmp_path / "pruned", model, tiny_tokenizer, recipe, card="# pruned\n")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "pruned")
    layers = prunable_layers(loaded)
    zeros = sum(int((layer.module.weight == 0).sum()) for layer in layers)
    assert zeros / sum(layer.module.weight.numel() for layer in layers) == pytest.approx(0.5, abs=0.001)
    with torch.no_grad():
        expected, found = (each(calibration.tokens).logits for each in (model, loaded))
    torch.testing.assert_close(found, expected)
    assert optishear.Recipe.load(tmp_path / "pruned" / "recipe.yaml") == recipe
