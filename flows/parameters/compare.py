"""The parameters of the flow ``compare``."""

from typing import Literal

from pydantic import Field

from flows.parameters.search import SearchFlowParameters
from optishear.parameters.base import Natural, Positive, Seed
from optishear.parameters.search import Algorithm, RatioPrior


class CompareParameters(SearchFlowParameters):
    """Search with several algorithms at one budget.

    The defaults differ from the search's where they would hide the algorithms: all candidates are evaluated on the
    same tokens, and no sweep, prior or descent goes before. The space is the paper's.
    """

    algorithms: list[Algorithm] = Field(
        ["nsga3", "nsga2", "evopress", "random"], min_length=1, description="Algorithms to compare."
    )
    seeds: list[Seed] = Field([0, 1, 2], min_length=1, description="Seeds; each algorithm runs once per seed.")
    rounds: Positive = Field(1, description="Selection rounds.")
    metric_space: Literal["meta", "power"] = Field("meta", description="Space of the metrics, as for search.")
    metric_scope: Literal["model", "kind", "path"] = Field("model", description="Scope of a metric, as for search.")
    order: Literal["joint", "sequential"] = Field(
        "joint", description="Metric and ratios together, or the metric first and then the ratios."
    )
    ratio_priors: list[RatioPrior] = Field(
        ["uniform"], min_length=1, description="Ratios to begin with, as for search."
    )
    descent_steps: Natural = Field(0, description="Gradient steps on the ratios.")
