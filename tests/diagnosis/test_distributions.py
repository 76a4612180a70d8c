"""Counts by bins of a tenth of an order of magnitude."""

import torch
from torch import nn

from optishear.diagnosis.distributions import Distributions
from optishear.diagnosis.scales import diagnose_scales
from optishear.models.layers import PrunableLayer, prunable_layers
from optishear.recipes.recipe import named_recipe
from optishear.statistics.collect import collect_statistics
from tiny import random_calibration, tiny_model

LAYER = PrunableLayer("model.layers.0.mlp.up_proj", nn.Linear(2, 2), 0, "mlp_in")


def test_values_are_counted_in_their_bins_and_zeros_nowhere() -> None:
    distributions = Distributions()
    weights = torch.tensor([[-0.05, -0.01, 0.0], [0.09, 1.25, -torch.inf]])
    distributions.add(LAYER, "wanda", weights, torch.tensor([[-99.0, torch.nan]]))
    distributions.add(LAYER, "wanda", weights, torch.tensor([[0.31]]))
    rows = distributions.table().to_pylist()
    counted = {(row["factor"], round(row["log10_low"], 3), round(row["log10_high"], 3)): row["count"] for row in rows}
    assert counted == {
        ("weights", -0.1, 0.0): 4,
        ("weights", 0.0, 0.1): 4,
        ("weights", 1.2, 1.3): 2,
        ("activations", -30.0, -29.9): 1,
        ("activations", 0.3, 0.4): 1,
    }


def test_every_weight_and_every_channel_of_a_model_is_counted_once_per_method() -> None:
    model = tiny_model()
    layers = prunable_layers(model)
    statistics = collect_statistics(model, random_calibration(), progress=False)
    recipes = {name: named_recipe(name, 0.5) for name in ("wanda", "ria")}
    aligned, distributions = diagnose_scales(layers, recipes, statistics)
    assert aligned.num_rows == 2 * len(layers)
    for method in recipes:
        counts = {"weights": 0, "activations": 0}
        for row in distributions.to_pylist():
            if row["method"] == method:
                counts[row["factor"]] += row["count"]
        assert counts["weights"] == sum(layer.module.weight.numel() for layer in layers)
        assert counts["activations"] == sum(layer.module.in_features for layer in layers)
    shares = {row["method"]: row["activation_share"] for row in aligned.to_pylist()}
    # RIA takes the square root of the norms.
    assert shares["ria"] < shares["wanda"]
