"""The types of ``metrics.json``: one for a pruned model, one for an evaluation alone, one for a sweep.

A change that an old reader would misread gets the next ``SCHEMA_VERSION``, and ``run_metrics.file`` a migration.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue, SerializerFunctionWrapHandler, model_serializer

from optishear.diagnosis.diagnosis import DiagnosisSummary
from optishear.evaluation.differences import Differences
from optishear.models.coverage import Coverage
from optishear.models.precision import Precision
from optishear.recovery.summary import RecoverySummary
from optishear.run_metrics.checkpoint import ReconstructionMetrics
from optishear.run_metrics.evaluated_model import EvaluatedModel

SCHEMA_VERSION: Literal[1] = 1
Model = Literal["dense", "wanda", "sparsegpt", "pruned"]
# What the pruned model is compared with.
OtherModel = Literal["dense", "wanda", "sparsegpt"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StageCost(_Section):
    """What a stage took.

    Attributes:
        seconds: of the process that computed it.
        peak_memory_bytes: the largest memory of that process meanwhile.
        cached: whether it was in the store.
    """

    seconds: float
    peak_memory_bytes: int
    cached: bool


class StageTime(_Section):
    """What a stage was expected to take, and what it took.

    Attributes:
        stage: its label: ``search``, ``evaluate wanda``.
        expected_seconds: before the run began; ``None`` where it could not be estimated.
        seconds: what it took; ``None`` before it has ended.
        cached: whether it was in the store.
    """

    stage: str
    expected_seconds: float | None
    seconds: float | None = None
    cached: bool = False


class ExpertTokens(_Section):
    """On how many tokens the experts of routed models were measured.

    Attributes:
        layers: number of layers of experts.
        smallest_tokens: an expert with fewer tokens is pruned on the statistics of all experts of its block.
        few_tokens: the layers that got fewer tokens, and how many.
    """

    layers: int
    smallest_tokens: int
    few_tokens: dict[str, int]


class DensePoint(_Section):
    """A recipe on the front of a search over the share of dense weights.

    Attributes:
        share: of dense weights.
        objectives: the divergences by name.
    """

    share: float
    objectives: dict[str, float]


class DenseLayers(_Section):
    """Layers of an N:M model that are dense.

    Attributes:
        asked: share of dense weights that was asked for.
        share: of the checkpoint, as counted in ``optishear.recipes.density``.
        names: of the layers without a zero.
        denser: by pattern, the names of layers that keep more than the N:M pattern and are not dense.
        front: of the search, by rising share; empty where a given recipe was used.
    """

    asked: float
    share: float
    names: list[str]
    denser: dict[str, list[str]] = {}
    front: list[DensePoint] = []


class ReconstructionSection(ReconstructionMetrics):
    """What reconstruction did, and the same in words."""

    in_words: str


class SearchMetrics(_Section):
    """What the search measured.

    Attributes:
        trials: number of measured candidates, the references included.
        seconds: of the search.
        algorithm: its name.
        objectives: the recipe's, by name.
        wanda_objectives: those of Wanda on the same sequences; empty where Wanda was not measured on them.
        ratio_priors: the first objective of each prior of the ratios, the best first, on all search sequences; empty
            where no ratios were searched.
    """

    trials: int
    seconds: float
    algorithm: str
    objectives: dict[str, float]
    wanda_objectives: dict[str, float]
    ratio_priors: dict[str, float] = {}


class Registration(_Section):
    """The registered version of the pruned model.

    Attributes:
        name: the registered model's.
        version: its number.
        champion: whether it has the alias ``champion``.
        reason: why, or why not, in a sentence.
    """

    name: str
    version: str
    champion: bool
    reason: str


class Metrics(_Section):
    """What all kinds of ``metrics.json`` have. A section that is not given is not written.

    Attributes:
        schema_version: of the file's shape.
        model: name of the dense model.
        parameters: of the run, by name.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    model: str
    parameters: dict[str, JsonValue]

    @model_serializer(mode="wrap")
    def _without_missing_sections(self, serialize: SerializerFunctionWrapHandler) -> dict[str, object]:
        return {name: section for name, section in serialize(self).items() if section is not None}


class EvaluationMetrics(Metrics):
    """The metrics of ``evaluate``.

    Attributes:
        precision: the dtype that was computed in, and why.
        evaluation: of the model.
        stages: by the stage's name.
    """

    precision: Precision
    evaluation: EvaluatedModel
    stages: dict[str, StageCost]


class RunMetrics(Metrics):
    """The metrics of a pruned model: those of ``run`` and ``transfer``.

    Attributes:
        sparsity: the target, a fraction or N:M.
        calibration: source of the calibration text.
        calibration_documents: number of documents that it is from; ``None`` where the model wrote it.
        precision: the dtype that was computed in, and why.
        dense: evaluation of the dense model.
        wanda: of the model pruned by Wanda at the same sparsity.
        sparsegpt: of the model whose masks and weights SparseGPT made at the same sparsity, on the same calibration;
            ``None`` where it was not compared.
        pruned: of the result.
        masked: of the pruned model before its weights were reconstructed or recovered, where they were.
        reconstructed: of the pruned model between the two, where both were done.
        differences: of the pruned model from each of the others, with their noise.
        making_seconds: what it took to make each model but the dense one, once the calibration text is there: the
            statistics and the masks of Wanda, SparseGPT's stage, and all stages behind the pruned one.
        achieved_sparsity: fraction of zeros over the prunable layers' weights.
        sparsity_of_all_matrices: fraction of zeros over all matrices of the decoder blocks.
        coverage: how much of these matrices is prunable.
        dense_layers: ``None`` where all layers have the pattern.
        experts: ``None`` for a model that is not routed.
        reconstruction: ``None`` where there was none.
        recovery: ``None`` where there was none.
        stages: by the stage's name.
        search: ``None`` where a given recipe was used.
        diagnosis: ``None`` where it was not made.
        times: expected and actual time of each stage; ``None`` in the metrics that reports are made from, since they
            differ when a run is repeated.
        registered: ``None`` before the model is registered.
    """

    sparsity: str
    calibration: str
    calibration_documents: int | None = None
    precision: Precision
    dense: EvaluatedModel
    wanda: EvaluatedModel
    sparsegpt: EvaluatedModel | None = None
    pruned: EvaluatedModel
    masked: EvaluatedModel | None = None
    reconstructed: EvaluatedModel | None = None
    differences: dict[OtherModel, Differences]
    making_seconds: dict[Model, float] = {}
    achieved_sparsity: float
    sparsity_of_all_matrices: float
    coverage: Coverage
    dense_layers: DenseLayers | None = None
    experts: ExpertTokens | None = None
    reconstruction: ReconstructionSection | None = None
    recovery: RecoverySummary | None = None
    stages: dict[str, StageCost]
    search: SearchMetrics | None = None
    diagnosis: DiagnosisSummary | None = None
    times: list[StageTime] | None = None
    registered: Registration | None = None

    @property
    def compared_models(self) -> dict[Model, EvaluatedModel]:
        """The models that were evaluated, in the order in which they are compared."""
        models: dict[Model, EvaluatedModel | None] = {
            "dense": self.dense,
            "wanda": self.wanda,
            "sparsegpt": self.sparsegpt,
            "pruned": self.pruned,
        }
        return {name: model for name, model in models.items() if model is not None}

    @property
    def steps(self) -> dict[str, EvaluatedModel]:
        """The pruned model before each step that changed its weights, in their order: ``masked``, ``reconstructed``."""
        steps = {"masked": self.masked, "reconstructed": self.reconstructed}
        return {name: model for name, model in steps.items() if model is not None}

    @property
    def asked_dense_share(self) -> float:
        """The share of dense weights that was asked for; 0 where all layers have the pattern."""
        return self.dense_layers.asked if self.dense_layers else 0.0

    def repeatable(self) -> "RunMetrics":
        """The metrics without what this run found in the store, and how long it took: the same when it is repeated."""
        stages = {name: cost.model_copy(update={"cached": False}) for name, cost in self.stages.items()}
        return self.model_copy(update={"stages": stages, "times": None})


class SweepMetrics(Metrics):
    """The metrics of ``sweep``.

    Attributes:
        sparsities: the metrics of each sparsity that did not fail, by a fraction or N:M.
        failures: the reasons of the others.
    """

    sparsities: dict[str, RunMetrics]
    failures: dict[str, str]
