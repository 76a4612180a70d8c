"""A run as it comes out of the pipeline: its metrics, its recipe, its trials."""

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from optishear.diagnosis.alignment import alignment, alignment_table
from optishear.diagnosis.diagnosis import Diagnosis
from optishear.diagnosis.distributions import Distributions
from optishear.diagnosis.layer_errors import BLOCK_SCHEMA, LAYER_SCHEMA
from optishear.metrics.metric import WANDA, MetaMetric
from optishear.models.layers import Kind, PrunableLayer
from optishear.recipes.recipe import Recipe

LAYERS = 30
PATHS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
KIND_OF: dict[str, Kind] = {
    **dict.fromkeys(PATHS[:3], "attention_in"),
    PATHS[3]: "attention_out",
    **dict.fromkeys(PATHS[4:6], "mlp_in"),
    PATHS[6]: "mlp_out",
}
SEARCHED = MetaMetric(activation_operation="log")


def make_ratios(sparsity: float, seed: int = 0) -> list[float]:
    """One of {s - d, s, s + d} per decoder layer, shifted a little as the exact budget asks."""
    levels = np.random.default_rng(seed).choice([-0.05, 0.0, 0.05], LAYERS)
    levels[:3], levels[10:14] = -0.05, 0.05
    return [round(float(value), 4) for value in sparsity + levels - levels.mean()]


def make_recipe(sparsity: str = "0.5", scope: str = "decoder_layer") -> Recipe:
    """A searched recipe; ``scope`` is none, decoder_layer or linear."""
    ratios: dict[str, list[float]] = {}
    if scope == "decoder_layer":
        ratios = {"all": make_ratios(float(sparsity))}
    if scope == "linear":
        ratios = {path: make_ratios(float(sparsity), seed) for seed, path in enumerate(PATHS)}
    return Recipe(
        name="searched",
        sparsity=sparsity,
        metrics={"all": SEARCHED},
        sparsity_ratios=ratios,
        objectives={"kl": 0.704},
        origin={"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "algorithm": "nsga3", "trials": 300, "seed": 7},
    )


def make_trials(objectives: tuple[str, ...] = ("kl", "sparsity_distance"), per_band: int = 75) -> pa.Table:
    """References on all 4 sequences, then two stages on 1, 2 and 4 sequences, then the final evaluation."""
    random = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []

    def add(stage: str, round_: int, sequences: int, kl: float, distance: float, name: str = "") -> None:
        values = {
            "kl": kl,
            "frobenius": 90 * kl**0.5,
            "kl/math": 1.3 * kl + 0.8 * float(random.random()),
            "sparsity_distance": distance,
        }
        rows.append(
            {
                "trial": len(rows),
                "round": round_,
                "sequences": sequences,
                "stage": stage,
                "name": name,
                "metrics": json.dumps({"all": (SEARCHED if not name else WANDA).model_dump()}),
                "sparsity_ratios": json.dumps({}),
                "achieved_sparsity": 0.5 - distance,
                **{objective: values[objective] for objective in objectives},
                "seconds": 2.5,
                "on_front": False,
                "chosen": False,
            }
        )

    for name, kl in (("magnitude", 3.41), ("wanda", 0.862), ("ria", 0.94)):
        add("reference", 3, 4, kl, 0.0, name)
    floor = 1.05
    for stage in ("metric", "ratios"):
        for round_, sequences in enumerate((1, 2, 4), start=1):
            for _ in range(per_band // round_):
                floor = max(0.70, floor * 0.998)
                distance = 0.0 if stage == "metric" else float(abs(random.normal(0, 0.012)))
                kl = floor * (1 + random.exponential(0.5)) * (1 - 4 * distance) + 0.05 / sequences
                add(stage, round_, sequences, math.nan if random.random() < 0.02 else kl, distance)
    for index in range(6):
        add("final", 3, 4, 0.74 - 0.012 * index, 0.002 * index)
    longest = [row for row in rows if row["sequences"] == 4 and math.isfinite(row[objectives[0]])]
    for row in longest:
        row["on_front"] = not any(
            all(other[name] <= row[name] for name in objectives) and other is not row for other in longest
        )
    front = [row for row in longest if row["on_front"]]
    min(front, key=lambda row: row[objectives[0]] + 20 * row.get("sparsity_distance", 0.0))["chosen"] = True
    return pa.Table.from_pylist(rows)


def make_diagnosis(methods: tuple[str, ...] = ("wanda", "pruned"), routed: bool = False) -> Diagnosis:
    """A diagnosis of all layers, in which each further method does a little better."""
    aligned, errors, blocks = [], [], []
    distributions = Distributions()
    for depth in range(LAYERS):
        for path in PATHS:
            kind: Kind = KIND_OF[path]
            layer = PrunableLayer(f"model.layers.{depth}.{path}", nn.Linear(2, 2), depth, kind)
            for rank, method in enumerate(methods):
                weights, activations = torch.linspace(-4 + rank, -1, 40).reshape(4, 10), torch.linspace(-1, 1, 10)[None]
                aligned.append(alignment(layer, method, weights, activations / (1 + rank)))
                distributions.add(layer, method, weights, activations)
                errors.append(
                    {
                        "layer": layer.name, "decoder_layer": depth, "kind": kind, "method": method,
                        "relative_error": (0.2 + depth / 100) / (1 + rank),
                    }
                )  # fmt: skip
        for rank, method in enumerate(methods):
            blocks.append({"decoder_layer": depth, "method": method, "relative_error": (1 + depth) / 50 / (1 + rank)})
    return Diagnosis(
        alignment_table(aligned),
        distributions.table(),
        pa.Table.from_pylist(errors, schema=LAYER_SCHEMA),
        pa.Table.from_pylist([] if routed else blocks, schema=BLOCK_SCHEMA),
    )
