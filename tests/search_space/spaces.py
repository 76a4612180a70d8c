"""Search spaces of tiny models, and hypothesis strategies that draw them."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from optishear.metrics.metric import WANDA
from optishear.models.layers import prunable_layers
from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.search_space.space import Genome, Space, search_space
from tiny import tiny_model

# Llama has seven paths inside a block, OPT six; the widths are 16, 32 and 64.
MODELS = {family: prunable_layers(tiny_model(family, layers=3)) for family in ("llama", "opt")}
LAYERS = MODELS["llama"]

STAGES = ("coordinates", "metric", "descent", "ratios", "joint")


def make_space(stage: str = "joint", sparsity: str = "0.5", family: str = "llama", **parameters: Any) -> Space:
    """The space of a stage; metrics that are not searched are Wanda."""
    fixed = {"all": WANDA} if stage in ("descent", "ratios") else {}
    return search_space(stage, SearchParameters(**parameters), MODELS[family], parse_pattern(sparsity), fixed)


def genomes(space: Space) -> st.SearchStrategy[Genome]:
    """Any genome of a space, its corners among them."""
    unit = st.floats(0, 1, exclude_max=True)
    corners = st.sampled_from([0.0, np.nextafter(1.0, 0.0)])
    return st.lists(unit | corners, min_size=space.size, max_size=space.size).map(
        lambda point: space.from_unit(np.array(point))
    )


@st.composite
def spaces(draw: st.DrawFn, stages: tuple[str, ...] = STAGES, exact: bool | None = None) -> Space:
    """Any space with at least one gene."""
    stage = draw(st.sampled_from(stages))
    scope = draw(
        st.sampled_from(["decoder_layer", "linear", "none"] if stage == "joint" else ["decoder_layer", "linear"])
    )
    budget = draw(st.sampled_from(["exact", "objective"])) if exact is None else ("exact" if exact else "objective")
    return make_space(
        stage,
        sparsity=f"{draw(st.integers(10, 90)) / 100:g}",
        family=draw(st.sampled_from(sorted(MODELS))),
        metric_space=draw(st.sampled_from(["meta", "power"])),
        metric_scope=draw(st.sampled_from(["model", "kind", "path"])),
        ratio_scope=scope,
        ratio_step=draw(st.sampled_from([0.01, 0.02, 0.05, 0.1])),
        ratio_levels=draw(st.sampled_from([3, 5, 15, 31])),
        sparsity_budget=budget,
    )


@st.composite
def spaces_and_genomes(draw: st.DrawFn, **kinds: Any) -> tuple[Space, Genome]:
    """Any space, and one of its genomes."""
    space = draw(spaces(**kinds))
    return space, draw(genomes(space))
