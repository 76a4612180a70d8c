"""The stages that a run will call, in their order: expected time, steps to measure, and stored artifact of each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flows.parameters.prune_and_evaluate import PruneAndEvaluateParameters
from flows.parameters.recipe import RecipeParameters
from flows.parameters.search import SearchFlowParameters
from flows.parameters.statistics import StatisticsParameters
from flows.shared.recipes import recipe_of
from flows.shared.sparsegpt import sparsegpt_of
from optishear.calibration.calibrate import SELF
from optishear.file_names import CHECKPOINT
from optishear.recipes.recipe import Recipe, published_beside
from optishear.timing.evaluation_work import EvaluationWork
from optishear.timing.measure import Step
from optishear.timing.search_time import search_seconds
from optishear.timing.speed import Speed
from optishear.timing.stage_times import (
    calibrate_seconds,
    diagnose_seconds,
    evaluate_seconds,
    footprint_seconds,
    prune_seconds,
    reconstruct_seconds,
    recover_seconds,
    sparsegpt_seconds,
    statistics_seconds,
)
from tasks.engine.parameter_groups import belongs, part
from tasks.stages.calibrate import calibrate_stage
from tasks.stages.evaluate import evaluate_stage
from tasks.stages.parameters import EvaluateStageParameters
from tasks.stages.prune import prune_stage
from tasks.stages.reconstruct import reconstruct_stage
from tasks.stages.recover import recover_stage
from tasks.stages.search import load_recipe, search_stage
from tasks.stages.statistics import statistics_stage
from tasks.store.artifacts import Artifact

# Figures and page.
_REPORT_SECONDS = 3.0


class MissingArtifactError(Exception):
    """An artifact that a later stage reads is not in the store, so the key of that stage is not known."""


class Artifacts(dict[str, Artifact]):
    """Artifacts by the labels of their stages."""

    def __missing__(self, label: str) -> Artifact:
        """Raise ``MissingArtifactError``."""
        raise MissingArtifactError(label)


@dataclass(frozen=True)
class PlannedStage:
    """A stage that a run will call.

    Attributes:
        label: the stage's label in this run.
        seconds: the expected time; ``None`` if another machine than the measured one computes it.
        find: the stored artifact, from those of earlier stages; ``None`` if there is none. It raises
            ``MissingArtifactError`` if an earlier one is missing: the key is then not known before the run.
        steps: the steps to measure for ``seconds``. They do not depend on the store, so that a repeated run requests
            the same measurement.
        expensive: whether the stage justifies a measurement.
        announced: whether the stage runs after the announcement of the times.
    """

    label: str
    seconds: Callable[[Speed, EvaluationWork], float | None]
    find: Callable[[Artifacts], Artifact | None] = lambda _: None
    steps: frozenset[Step] = frozenset()
    expensive: bool = False
    announced: bool = True


def planned_stages(parameters: StatisticsParameters) -> list[PlannedStage]:
    """The stages of a run in the order in which they run."""
    return [stage for plan in _PLANS if belongs(parameters, plan) for stage in plan(parameters)]


def stored_artifacts(stages: list[PlannedStage]) -> Artifacts:
    """The artifacts that are in the store, by label, as far as their keys are known before the run."""
    artifacts = Artifacts()
    for stage in stages:
        try:
            artifact = stage.find(artifacts)
        except MissingArtifactError:
            continue
        if artifact is not None:
            artifacts[stage.label] = artifact
    return artifacts


def _statistics_plan(parameters: StatisticsParameters) -> Iterator[PlannedStage]:
    sequences, length = parameters.sequences, parameters.sequence_length
    generates = parameters.calibration == SELF
    yield PlannedStage(
        "calibrate",
        lambda speed, _: calibrate_seconds(speed, parameters),
        lambda _: calibrate_stage.find(parameters),
        frozenset({"decode"} if generates else ()),
        expensive=True,
        announced=generates,
    )
    yield PlannedStage(
        "statistics",
        lambda speed, _: statistics_seconds(speed, sequences, length),
        lambda artifacts: statistics_stage.find(parameters, artifacts["calibrate"]),
        frozenset({"statistics"}),
        expensive=True,
    )


def _search_plan(parameters: SearchFlowParameters) -> Iterator[PlannedStage]:
    sequences, length = parameters.sequences, parameters.sequence_length
    yield PlannedStage(
        "search",
        lambda speed, _: search_seconds(speed, parameters, parameters.sparsity, sequences, length),
        lambda artifacts: search_stage.find(parameters, artifacts["calibrate"], artifacts["statistics"]),
        frozenset({"search", "reconstruction"} if parameters.reconstructed_finalists else {"search"}),
        expensive=True,
    )


def _evaluation_plan(parameters: PruneAndEvaluateParameters) -> Iterator[PlannedStage]:
    """The stages of ``prune_and_evaluate`` and of the report."""
    sequences, length = parameters.sequences, parameters.sequence_length
    evaluation = part(parameters, EvaluateStageParameters)

    def recipe(artifacts: Artifacts) -> Recipe:
        return recipe_of(parameters) if isinstance(parameters, RecipeParameters) else load_recipe(artifacts["search"])

    def of_checkpoint(checkpoint: Artifact, **changes: list[str]) -> Artifact | None:
        return evaluate_stage.find(evaluation.model_copy(update={"model": str(checkpoint.path(CHECKPOINT)), **changes}))

    def evaluated(model: str, find: Callable[[Artifacts], Artifact | None]) -> PlannedStage:
        return PlannedStage(f"evaluate {model}", evaluate_seconds, find, frozenset({"window"}), expensive=True)

    yield evaluated("dense", lambda _: evaluate_stage.find(evaluation))
    yield evaluated(
        "wanda",
        lambda artifacts: evaluate_stage.find(
            evaluation, published_beside("wanda", recipe(artifacts)), artifacts["statistics"]
        ),
    )
    if parameters.with_sparsegpt:
        by_sparsegpt = sparsegpt_of(parameters)
        yield PlannedStage(
            "sparsegpt",
            lambda speed, _: sparsegpt_seconds(speed, by_sparsegpt, sequences, length),
            lambda artifacts: reconstruct_stage.find(
                by_sparsegpt,
                published_beside("wanda", recipe(artifacts)),
                artifacts["calibrate"],
                artifacts["statistics"],
            ),
            frozenset({"sparsegpt"}),
            expensive=True,
        )
        yield evaluated("sparsegpt", lambda artifacts: of_checkpoint(artifacts["sparsegpt"]))
    yield PlannedStage(
        "prune",
        lambda speed, _: prune_seconds(speed),
        lambda artifacts: prune_stage.find(parameters, recipe(artifacts), artifacts["statistics"]),
    )
    last = "prune"

    def before(label: str, checkpoint: str) -> PlannedStage:
        return PlannedStage(
            f"evaluate {label}",
            lambda speed, work: evaluate_seconds(speed, EvaluationWork(windows=work.windows)),
            lambda artifacts: of_checkpoint(artifacts[checkpoint], tasks=[]),
            frozenset({"window"}),
            expensive=True,
        )

    if parameters.reconstructs:
        yield before("masked", last)
        last = "reconstruct"
        yield PlannedStage(
            last,
            lambda speed, _: reconstruct_seconds(speed, parameters, sequences, length),
            lambda artifacts: reconstruct_stage.find(
                parameters, recipe(artifacts), artifacts["calibrate"], artifacts["statistics"]
            ),
            frozenset({"reconstruction"}),
            expensive=True,
        )
    if parameters.recovers:
        former = last
        yield before("reconstructed" if parameters.reconstructs else "masked", former)
        last = "recover"
        yield PlannedStage(
            last,
            lambda speed, _: recover_seconds(speed, parameters, length),
            lambda artifacts: recover_stage.find(parameters, recipe(artifacts), artifacts[former]),
            frozenset({"training"}),
            expensive=True,
        )
    yield evaluated("pruned", lambda artifacts: of_checkpoint(artifacts[last]))
    methods = 3 if parameters.reconstructs or parameters.recovers else 2
    yield PlannedStage("diagnose", lambda speed, _: diagnose_seconds(speed, sequences, length, methods=methods))
    if parameters.footprint:
        yield PlannedStage("footprint dense", lambda speed, _: footprint_seconds(speed))
        yield PlannedStage("footprint pruned", lambda speed, _: 2 * footprint_seconds(speed))
    yield PlannedStage("report", lambda *_: _REPORT_SECONDS)


# Each for the parameters of its group, in the order in which the stages run.
_PLANS: tuple[Callable[..., Iterator[PlannedStage]], ...] = (_statistics_plan, _search_plan, _evaluation_plan)
