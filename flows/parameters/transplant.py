"""The parameters of the flow ``transplant``."""

from typing import Literal

from pydantic import Field

from flows.parameters.matrix import MatrixParameters
from flows.parameters.recipe import RecipeParameters
from flows.parameters.statistics import StatisticsParameters
from tasks.stages.parameters import EvaluateStageParameters
from tasks.tracking.parameters import TrackedParameters

MetricChoice = Literal["magnitude", "wanda", "ria", "pruner_zero", "sparsegpt", "recipe"]
RatioChoice = Literal["owl", "dlp", "alphapruning", "searched"]


class TransplantParameters(
    RecipeParameters, EvaluateStageParameters, StatisticsParameters, TrackedParameters, MatrixParameters
):
    """Combine a recipe's layer ratios with other metrics, beside other methods' ratios."""

    pruning_metrics: list[MetricChoice] = Field(
        ["magnitude", "wanda", "ria", "pruner_zero", "sparsegpt", "recipe"],
        min_length=1,
        description="Pruning metrics: magnitude, wanda, ria, pruner_zero, sparsegpt (its masks and its update of the "
        "kept weights), or recipe for the recipe's own.",
    )
    layer_ratios: list[RatioChoice] = Field(
        ["owl", "dlp", "alphapruning", "searched"],
        min_length=1,
        description="Layer ratios beside uniform: owl, dlp, alphapruning, or searched for the recipe's.",
    )
