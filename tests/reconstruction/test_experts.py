"""Experts of one shape are solved together, with the result of solving one after another."""

import pytest
import torch

from families.families import family_model
from optishear.models.layers import prunable_layers
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.pattern import DENSE, Pattern, parse_pattern
from optishear.reconstruction.layers import LayerTask, solve_groups, solve_layers
from optishear.reconstruction.support import largest


def groups_of(pattern: Pattern, masked: bool) -> list[tuple[list[LayerTask], torch.Tensor]]:
    """Each expert of a block with a second moment and a sparsity of its own; one expert has no tokens."""
    generator = torch.Generator().manual_seed(0)
    groups = []
    for index, layer in enumerate(prunable_layers(family_model("mixtral"))):
        if layer.decoder_layer == 0:
            width = layer.module.in_features
            read = torch.randn(96, width, generator=generator) * torch.rand(width, generator=generator)
            read[:, 3] = 0
            sparsity = pattern.fraction if pattern.is_structured else 0.4 + 0.02 * index
            mask = largest(layer.module.weight.float(), pattern, sparsity) if masked else None
            moment = torch.zeros(width, width) if index == 6 else read.T @ read / 96
            groups.append(([LayerTask(layer, mask, pattern, sparsity)], moment))
    return groups


@pytest.mark.parametrize("pattern", ["0.5", "2:4"])
@pytest.mark.parametrize(
    ("method", "masks"), [("admm", "refined"), ("admm", "recipe"), ("sparsegpt", "refined"), ("sparsegpt", "recipe")]
)
def test_together_as_one_after_another(method: str, masks: str, pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = ReconstructionParameters(reconstruction=method, reconstruction_masks=masks)
    groups = groups_of(parse_pattern(pattern), masked=method == "admm" or masks == "recipe")
    # In parts of three experts.
    monkeypatch.setattr("optishear.reconstruction.layers._STACK_BYTES", 3 * 4 * 48 * 48)

    together = solve_groups(groups, parameters)

    assert len(together) == len(groups) == 12
    for (tasks, moment), (found,) in zip(groups, together, strict=True):
        (expected,) = solve_layers(tasks, moment, parameters)
        name = tasks[0].layer.name
        assert torch.equal(found.mask, expected.mask), name
        torch.testing.assert_close(found.weight, expected.weight, rtol=1e-3, atol=1e-5)
        assert found.converged == expected.converged
        assert found.is_solved == expected.is_solved == bool(moment.any())
        assert bool((found.weight[~found.mask] == 0).all())


@pytest.mark.parametrize("method", ["admm", "sparsegpt"])
def test_experts_are_solved_together(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = ReconstructionParameters(reconstruction=method)
    sizes: list[int] = []
    monkeypatch.setattr(
        "optishear.reconstruction.layers._solve_stack",
        lambda groups, _: sizes.append(len(groups)) or [solve_layers(*group, parameters) for group in groups],
    )

    solve_groups(groups_of(parse_pattern("0.5"), masked=method == "admm"), parameters)

    assert sorted(sizes) == [3, 4]


@pytest.mark.parametrize("method", ["admm", "sparsegpt"])
def test_experts_of_unlike_patterns(method: str) -> None:
    parameters = ReconstructionParameters(reconstruction=method)
    patterns = [parse_pattern("2:4"), DENSE, parse_pattern("3:4")]
    groups = []
    for index, ((task,), moment) in enumerate(groups_of(parse_pattern("2:4"), masked=method == "admm")):
        pattern = patterns[index % 3]
        mask = largest(task.layer.module.weight.float(), pattern, pattern.fraction) if method == "admm" else None
        groups.append(([LayerTask(task.layer, mask, pattern, pattern.fraction)], moment))
    for index, ((tasks, moment), (found,)) in enumerate(zip(groups, solve_groups(groups, parameters), strict=True)):
        if patterns[index % 3] == DENSE:
            assert torch.equal(found.weight, tasks[0].layer.module.weight.float())
            assert bool(found.mask.all())
            assert not found.is_solved
            continue
        (expected,) = solve_layers(tasks, moment, parameters)
        assert torch.equal(found.mask, expected.mask)
        torch.testing.assert_close(found.weight, expected.weight, rtol=1e-3, atol=1e-5)
        assert float((~found.mask).float().mean()) == patterns[index % 3].fraction
