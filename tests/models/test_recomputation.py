"""Activations that are computed again give the same gradients, and leave the model as it was."""

import pytest
import torch

from optishear.models.recomputation import recomputed_activations
from tiny import FAMILIES, random_calibration, tiny_model


@pytest.mark.parametrize("kind", FAMILIES)
def test_gradients_are_the_same(kind: str) -> None:
    model = tiny_model(kind)
    tokens = random_calibration(2, 16).tokens

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        model(tokens, use_cache=False).logits.square().mean().backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    expected = gradients()
    with recomputed_activations(model):
        again = gradients()
    assert all(map(torch.equal, expected, again))
    assert not any("forward" in vars(module) for module in model.modules())


def test_blocks_run_twice() -> None:
    model = tiny_model("mistral")
    runs = []
    layer = model.model.layers[0].mlp.down_proj
    layer.register_forward_hook(lambda *_: runs.append(1))
    with recomputed_activations(model):
        model(random_calibration(1, 8).tokens, use_cache=False).logits.sum().backward()
    assert len(runs) == 2
