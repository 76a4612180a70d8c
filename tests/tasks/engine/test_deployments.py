"""What a deployment is handed, how often it is started, and what is told of its end."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import yaml
from prefect import Flow
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Completed, Crashed, Failed, State

from flows.parameters.cross_model import CrossModelParameters
from flows.parameters.pipeline import PipelineParameters
from optishear.errors import InputError
from optishear.named_source import NamedSource
from optishear.parameters.model import ModelParameters
from optishear.pattern import parse_pattern
from optishear.recipes.recipe import named_recipe
from tasks.engine import deployments as deployed
from tasks.engine import handover
from tasks.engine.deployments import UnfinishedRunError, deployment_arguments, failure, finish_deployment
from tasks.engine.parameter_groups import with_absolute_paths
from tasks.stages.calibrate import calibrate_stage
from tasks.stages.diagnose import diagnose_stage
from tasks.stages.evaluate import evaluate_stage
from tasks.stages.evaluate_held_out import evaluate_held_out_stage
from tasks.stages.footprint import footprint_stage
from tasks.stages.gradients import gradients_stage
from tasks.stages.parameters import (
    CalibrateStageParameters,
    EvaluateStageParameters,
    ReconstructStageParameters,
    RecoverStageParameters,
    SearchStageParameters,
)
from tasks.stages.prune import prune_stage
from tasks.stages.ratios import ratios_stage
from tasks.stages.reconstruct import reconstruct_stage
from tasks.stages.recover import recover_stage
from tasks.stages.search import search_stage
from tasks.stages.statistics import statistics_stage
from tasks.stages.universal_search import MemberArtifacts, universal_search_stage
from tasks.store.artifacts import Artifact, Request, make_once


@pytest.fixture
def artifact() -> Artifact:
    request = Request("calibrate", 1, "calibrate-0", {}, {})
    return make_once(request, lambda outputs: (outputs / "a.txt").touch())


class Runs:
    """Stands for ``run_deployment``: ends in one given state after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *ends: State[Any], run_count: int = 1) -> None:
        self._ends = list(ends)
        self.keys: list[str] = []
        self.times: list[datetime | None] = []
        monkeypatch.setattr(deployed, "run_deployment", self)
        monkeypatch.setattr(deployed, "parent", SimpleNamespace(id="parent", run_count=run_count))

    def __call__(self, _name: str, idempotency_key: str, scheduled_time: datetime | None, **_: Any) -> FlowRun:
        self.times.append(scheduled_time)
        self.keys.append(idempotency_key)
        return FlowRun(flow_id=uuid4(), state=self._ends.pop(0))


def finish() -> None:
    finish_deployment("search-stage/search", {}, "search", "key")


def test_a_stage_after_another_in_its_pool_is_scheduled_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_completed", {})
    runs = Runs(monkeypatch, *[Completed()] * 3, Crashed(message="lost"), *[Completed()] * 2)
    for pool in ("gpu", "shard", "gpu", "gpu"):
        finish_deployment("search-stage/search", {}, "search", "key", pool=pool)
    first, in_other_pool, third, fourth, after_a_crash = runs.times
    assert first is in_other_pool is after_a_crash is None
    for later in (third, fourth):
        assert later is not None
        assert timedelta(seconds=10) < later - datetime.now(UTC) <= handover.HANDOVER
    monkeypatch.setattr(handover, "SECONDS_TO_WAIT", 0.0)  # the process has ended
    finish_deployment("search-stage/search", {}, "search", "key", pool="gpu")
    assert runs.times[-1] is None


@pytest.mark.parametrize(("wait", "later"), [("0", False), ("20", True), ("", True)])
def test_a_stage_is_scheduled_for_later_only_where_a_process_waits(
    wait: str, later: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTISHEAR_STAGE_WAIT", wait)
    monkeypatch.setattr(handover, "_completed", {})
    runs = Runs(monkeypatch, Completed(), Completed())
    for _ in range(2):
        finish_deployment("search-stage/search", {}, "search", "key", pool="gpu")
    assert (runs.times[1] is not None) == later


def test_a_run_that_completes_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch, Completed())
    finish()
    assert runs.keys == ["parent:key:1:0"]


def test_a_crashed_run_is_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch, Crashed(message="lost"), Crashed(message="lost"), Completed())
    finish()
    assert runs.keys == ["parent:key:1:0", "parent:key:1:1", "parent:key:1:2"]


def test_a_run_that_always_crashes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    Runs(monkeypatch, *[Crashed(message="No heartbeat for 90 seconds.")] * 3)
    with pytest.raises(UnfinishedRunError, match=r"search-stage/search.*\(No heartbeat"):
        finish()


def test_a_retry_of_the_parent_starts_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch, Completed(), run_count=2)
    finish()
    assert runs.keys == ["parent:key:2:0"]


@pytest.mark.parametrize(
    ("end", "error", "sentence"),
    [
        (
            Failed(message="Flow run encountered an exception: InputError: The text is too short."),
            InputError,
            "The text is too short.",
        ),
        (
            Failed(message="Flow run encountered an exception: OutOfMemoryError: CUDA out of memory."),
            UnfinishedRunError,
            "The run 'search' of 'search-stage/search' failed: OutOfMemoryError: CUDA out of memory.",
        ),
        (Cancelled(), UnfinishedRunError, "The run 'search' of 'search-stage/search' failed: it ended cancelled"),
    ],
)
def test_a_failure_is_not_tried_again_and_gives_its_reason(
    monkeypatch: pytest.MonkeyPatch, end: State[Any], error: type[Exception], sentence: str
) -> None:
    runs = Runs(monkeypatch, end)
    with pytest.raises(error) as caught:
        finish()
    assert str(caught.value) == sentence
    assert len(runs.keys) == 1


def test_wording_has_the_reason_of_a_reason_once() -> None:
    inner = "Flow run encountered an exception: UnfinishedRunError: The run 'search' of 'a/b' failed: it ended crashed"
    assert failure(Failed(message=inner))[1] == "The run 'search' of 'a/b' failed: it ended crashed"


def test_a_task_tells_its_reason_too() -> None:
    told = Failed(message="Task run encountered an exception InputError: The text is too short.")
    assert failure(told) == ("InputError", "The text is too short.")


def test_references_travel_and_no_content(artifact: Artifact) -> None:
    recipe = named_recipe("wanda", 0.5)
    values = deployment_arguments(
        PipelineParameters(), EvaluateStageParameters, {"recipe": recipe, "statistics": artifact, "other": None}
    )
    assert set(values) == {"parameters", "recipe", "statistics"}
    assert values["statistics"] == {"stage": "calibrate", "key": "calibrate-0"}
    assert type(recipe)(**values["recipe"]) == recipe
    assert EvaluateStageParameters(**values["parameters"]) == EvaluateStageParameters(placement="in_process")


def test_artifacts_of_several_models_travel_too(artifact: Artifact) -> None:
    member = MemberArtifacts(
        parameters=SearchStageParameters(), calibration=artifact.reference, statistics=artifact.reference
    )
    values = deployment_arguments(
        SearchStageParameters(),
        SearchStageParameters,
        {"members": {"a": member}, "method": "owl", "sparsity": parse_pattern("2:4"), "run": None},
    )
    assert set(values) == {"parameters", "members", "method", "sparsity"}
    assert (values["method"], values["sparsity"]) == ("owl", "2:4")
    assert MemberArtifacts(**json.loads(json.dumps(values["members"]["a"]))) == member


def test_files_are_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("text.txt", "math.txt"):
        Path(name).touch()
    parameters = PipelineParameters(
        evaluation_text="text.txt", search_calibrations=["math=math.txt"], include_path="tasks", tracking_uri="x.db"
    )
    elsewhere = with_absolute_paths(parameters)
    changed = {
        name for name in PipelineParameters.model_fields if getattr(elsewhere, name) != getattr(parameters, name)
    }
    assert changed == {"evaluation_text", "search_calibrations", "include_path", "output"}
    assert elsewhere.evaluation_text == str(tmp_path / "text.txt")
    assert elsewhere.search_calibrations == [NamedSource("math", str(tmp_path / "math.txt"))]
    assert (elsewhere.include_path, elsewhere.output) == (tmp_path / "tasks", tmp_path / "optishear-output")
    matrix = CrossModelParameters(other_models=["text.txt", "a=text.txt", "some/hub"])
    assert [str(each) for each in with_absolute_paths(matrix).other_models] == [
        str(tmp_path / "text.txt"),
        f"a={tmp_path / 'text.txt'}",
        "some/hub",
    ]


def test_a_reference_that_leads_nowhere_is_one_sentence(artifact: Artifact) -> None:
    assert artifact.reference.artifact().key == artifact.key
    lost = artifact.reference.model_copy(update={"key": "calibrate-1"})
    with pytest.raises(InputError, match="let all workers have one OPTISHEAR_HOME"):
        lost.artifact()


def test_each_stage_on_the_gpu_has_a_flow_that_takes_what_it_is_handed() -> None:
    import inspect

    from flows import gpu_stages as stages

    handed = {
        calibrate_stage: (CalibrateStageParameters, set()),
        statistics_stage: (ModelParameters, {"calibration"}),
        search_stage: (SearchStageParameters, {"calibration", "statistics"}),
        gradients_stage: (ModelParameters, {"calibration", "statistics"}),
        prune_stage: (ModelParameters, {"recipe", "statistics"}),
        recover_stage: (RecoverStageParameters, {"recipe", "pruned"}),
        reconstruct_stage: (ReconstructStageParameters, {"recipe", "calibration", "statistics"}),
        diagnose_stage: (ModelParameters, {"calibration", "statistics", "recipe", "pruned"}),
        evaluate_stage: (EvaluateStageParameters, {"recipe", "statistics"}),
        footprint_stage: (ModelParameters, set()),
        universal_search_stage: (SearchStageParameters, {"members"}),
        ratios_stage: (ModelParameters, {"statistics", "method", "sparsity", "selection"}),
        evaluate_held_out_stage: (ModelParameters, {"blocks", "recipe", "statistics"}),
    }
    for stage, (group, arguments) in handed.items():
        flow = getattr(stages, stage.name.replace("-", "_"))
        taken = inspect.signature(flow.fn).parameters
        assert flow.name == f"{stage.name}-stage"
        assert stage.on_gpu is group is taken["parameters"].annotation
        written = set(inspect.signature(stage.write).parameters) - {"outputs", "parameters"}
        assert written == arguments == set(taken) - {"parameters", "run"}


def test_each_stage_on_the_gpu_has_a_deployment_on_its_pool() -> None:
    plan = yaml.safe_load((Path(__file__).parents[3] / "prefect.yaml").read_text())
    pools = {each["entrypoint"]: (each["name"], each["work_pool"]["name"]) for each in plan["deployments"]}
    from flows import gpu_stages as stages

    flows = {name: found for name, found in vars(stages).items() if isinstance(found, Flow)}
    assert len(flows) == 15
    for name, found in flows.items():
        assert pools[f"flows.gpu_stages.{name}"] == (found.name.removesuffix("-stage"), "gpu")
