"""The search."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from optishear.named_source import NamedSource
from optishear.parameters.base import Natural, Parameters, Positive, Share, at_most
from optishear.parameters.roles import Role
from optishear.pattern import Pattern
from optishear.units import Duration
from optishear.workers import Workers

Algorithm = Literal["nsga3", "nsga2", "random", "qmc", "tpe", "exhaustive", "evopress"]
# All genomes of a generation are drawn at once.
_LARGEST_POPULATION = 10_000
# In GiB; no machine has as much.
_LARGEST_MEMORY = 10**9
RatioPrior = Literal["uniform", "linear", "owl", "dlp", "alphapruning"]


class SearchParameters(Parameters):
    """What is searched, how, and for how long."""

    heading: ClassVar[str] = "Search"

    algorithm: Algorithm = Field(
        "nsga3",
        description="Search algorithm; exhaustive tries every distinct metric of the meta space. Its default of "
        "metric_space is meta, and of metric_scope model.",
    )
    trials: Positive | None = Field(
        None, description="Stop after this many candidates; default: 300 if no budget is given."
    )
    budget: Duration | None = Field(None, description="Stop after this much search time: 90s, 10m or 2h.")
    population: Annotated[Positive, Field(ge=4), at_most(_LARGEST_POPULATION)] = Field(
        24, description="Candidates per generation."
    )
    search_sequences: Positive = Field(
        4, description="Calibration sequences that evaluate a candidate in the last round."
    )
    rounds: Positive = Field(
        3, description="Selection rounds; each evaluates on twice the tokens of the one before, the last on all."
    )
    divergences: list[Literal["kl", "frobenius"]] = Field(
        ["kl"],
        min_length=1,
        description="Divergences to minimise: kl (of the next-token distributions), frobenius (of the logits).",
    )
    search_calibrations: Annotated[list[NamedSource], Role.TEXT] = Field(
        [],
        description="Further calibration sets as NAME=SOURCE, each with its own objectives.",
    )
    metric_space: Literal["meta", "power"] = Field(
        "power",
        description="meta: the paper's 7x7x7x7 metrics; power: continuous exponents, with Wanda and RIA inside.",
    )
    metric_scope: Literal["model", "kind", "path"] = Field(
        "path",
        description="One metric for the whole model (the paper's), one per kind of layer (attention in and out, "
        "MLP in and out), or one per path of a layer inside its block (query, key, value and so on).",
    )
    ratio_scope: Literal["none", "decoder_layer", "linear", "expert"] = Field(
        "linear",
        description="What has its own sparsity ratio; none prunes all layers alike. In mixtures of experts, the "
        "experts of a block share one with linear, and each has its own with expert.",
    )
    ratio_step: Share = Field(0.02, description="Distance d between sparsity levels; the paper's is 0.05.")
    ratio_levels: Annotated[Positive, Field(ge=3)] = Field(
        31, description="Number of levels around the target, odd; the paper's 3 are {s-d, s, s+d}."
    )
    ratio_priors: list[RatioPrior] = Field(
        ["uniform", "linear", "owl", "dlp", "alphapruning"],
        min_length=1,
        description="Ratios that the search measures first, to begin with the best: uniform, linear (arithmetic "
        "progressions over the depth), owl, dlp, alphapruning. Not counted as trials; their time is.",
    )
    descent_steps: Natural = Field(
        24,
        description="Gradient steps on the ratios before the algorithm searches them; 0 turns the descent off.",
    )
    order: Literal["joint", "sequential"] = Field(
        "sequential", description="Metric and ratios together, or the metric first and then the ratios."
    )
    sparsity_budget: Literal["exact", "objective"] = Field(
        "exact",
        description="exact: every candidate meets the target; objective: the distance to it is a second objective, or "
        "with dense_share the share itself.",
    )
    dense_share: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="Beside an N:M pattern, share of the prunable weights in layers that stay dense, chosen by the "
        "search. They hold as many weights as whole layers can within the share, never more.",
    )
    denser_patterns: list[Pattern] = Field(
        [],
        description="With dense_share, N:M patterns that a layer may have in place of being dense; they keep more of "
        "groups of the same size, such as 6:8 beside 4:8. The share counts a layer by what it keeps and the pattern "
        "prunes: 6:8 beside 4:8 by half.",
    )
    reconstructed_finalists: Natural | None = Field(
        None,
        description="Number of best candidates of the last round that are pruned with a short reconstruction (ADMM) "
        "and evaluated again, to choose among them; 0 chooses by the masks. Each takes a layer-by-layer solve, not "
        "counted in the budget. Default: 3 in a run that reconstructs, otherwise 0.",
    )
    memory_budget: Annotated[Annotated[float, Field(gt=0), at_most(_LARGEST_MEMORY)] | None, Role.PLACE] = Field(
        None, description="Limit of the rank caches in GiB; default: what the other parts of the search leave."
    )
    workers: Annotated[Workers, Role.PLACE] = Field(
        "0",
        validate_default=True,
        description="Processes that share the candidates of a generation, with the result of none: a number on this "
        "machine, each with a copy of the model, and on GPUs with a GPU of its own; or the address of a Ray cluster, "
        "such as head:6379 or auto. A budget counts the seconds of all of them.",
    )

    @model_validator(mode="before")
    @classmethod
    def _enumerable(cls, values: Any) -> Any:
        """Every distinct metric can be tried where the whole model has one of the finite space."""
        if isinstance(values, dict) and values.get("algorithm") == "exhaustive":
            return {"metric_space": "meta", "metric_scope": "model", **values}
        return values

    @field_validator("ratio_levels")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd, so that the target itself is a level")
        return value
