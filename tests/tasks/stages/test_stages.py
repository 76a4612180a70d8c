"""The stages over the library, on a tiny model: what they read, what they write, and what they leave alone."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.calibration_set import CalibrationSet
from optishear.divergence.model_divergence import Divergence, ModelDivergence
from optishear.evaluation import evaluate as evaluation
from optishear.evaluation import harness, identity, perplexity
from optishear.evaluation.examples import read_examples
from optishear.file_names import CALIBRATION, CHECKPOINT, FRONT, STATISTICS, TRIALS
from optishear.named_source import NamedSource
from optishear.pattern import parse_pattern
from optishear.recipes.recipe import Recipe, named_recipe
from optishear.workers import Workers
from task_folder import TaskFolder
from tasks.engine import model_cache
from tasks.engine.model_cache import release_model, shared_model, take_model
from tasks.stages import evaluate
from tasks.stages.calibrate import calibrate_stage, load_calibration
from tasks.stages.evaluate import EVALUATION, EXAMPLES, evaluate_stage, forget_failures
from tasks.stages.parameters import EvaluateStageParameters, SearchStageParameters
from tasks.stages.prune import SUMMARY, prune_stage
from tasks.stages.search import load_recipe, search_stage
from tasks.stages.statistics import load_statistics, statistics_stage
from tasks.store.artifacts import Artifact, find


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("the rest of this heat is on that other hand, and it has no end. " * 40)
    return path


@pytest.fixture
def parameters(model_folder: Path, text: Path) -> SearchStageParameters:
    return SearchStageParameters(
        model=str(model_folder),
        calibration=str(text),
        sequences=4,
        sequence_length=32,
        search_sequences=2,
        trials=300,
        population=8,
        rounds=1,
    )


@pytest.fixture
def settings(parameters: SearchStageParameters, text: Path) -> EvaluateStageParameters:
    return EvaluateStageParameters(model=parameters.model, evaluation_text=str(text), window_length=64, windows=2)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that were loaded."""
    release_model()
    loaded: list[str] = []
    load = model_cache.load_model

    def noting(model: str, **options: object) -> object:
        loaded.append(Path(model).name)
        return load(model, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(model_cache, "load_model", noting)
    return loaded


def observe(parameters: SearchStageParameters) -> tuple[Artifact, Artifact]:
    blocks = calibrate_stage.make(parameters)
    return blocks, statistics_stage.make(parameters, blocks)


def test_calibration_and_statistics_say_where_they_came_from(parameters: SearchStageParameters) -> None:
    blocks, observed = observe(parameters)
    assert load_calibration(blocks).tokens.shape == (4, 32)
    assert set(load_statistics(observed).squared_norms) > {"model.layers.0.self_attn.q_proj"}
    metadata = pq.read_schema(observed.path(STATISTICS)).metadata
    assert metadata[b"model"] == b"tiny-llama"
    assert metadata[b"calibration_digest"].decode() == CalibrationSet.load(blocks.path(CALIBRATION)).digest


def test_a_flow_in_one_process_loads_the_dense_model_once_before_it_is_pruned(
    parameters: SearchStageParameters, settings: EvaluateStageParameters, loads: list[str]
) -> None:
    parameters = parameters.model_copy(update={"trials": 12})
    blocks, observed = observe(parameters)
    search_stage.make(parameters, blocks, observed)
    evaluate_stage.make(settings)
    evaluate_stage.make(settings, named_recipe("wanda", 0.5), observed)
    assert loads == ["tiny-llama"]
    prune_stage.make(parameters, named_recipe("wanda", 0.5), observed)
    assert loads == ["tiny-llama", "tiny-llama"]


def test_the_search_leaves_the_dense_model_as_it_was(parameters: SearchStageParameters) -> None:
    parameters = parameters.model_copy(update={"trials": 12})
    blocks, observed = observe(parameters)
    before = take_model(parameters).model.state_dict()
    search_stage.make(parameters, blocks, observed)
    with shared_model(parameters) as loaded:
        after = loaded.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_a_model_is_forgotten_after_an_error(parameters: SearchStageParameters, loads: list[str]) -> None:
    with pytest.raises(RuntimeError), shared_model(parameters) as loaded:
        loaded.model.get_input_embeddings().weight.zero_()
        raise RuntimeError("half-way")
    with shared_model(parameters) as again:
        assert again.model.get_input_embeddings().weight.abs().sum() > 0
    assert len(loads) == 2


def test_wanda_is_evaluated_in_memory_as_its_checkpoint_would_be(
    parameters: SearchStageParameters, settings: EvaluateStageParameters
) -> None:
    wanda = named_recipe("wanda", "2:4")
    _, observed = observe(parameters)
    dense = evaluate_stage.make(settings).read_json(EVALUATION)
    in_memory = evaluate_stage.make(settings, wanda, observed).read_json(EVALUATION)
    checkpoint = prune_stage.make(parameters, wanda, observed)
    written = settings.model_copy(update={"model": str(checkpoint.path(CHECKPOINT))})
    on_disk = evaluate_stage.make(written).read_json(EVALUATION)
    assert on_disk["perplexity"] == pytest.approx(in_memory["perplexity"])
    assert on_disk["sparsity"] == in_memory["sparsity"] == checkpoint.read_json(SUMMARY)["achieved_sparsity"] == 0.5
    assert dense["perplexity"] != pytest.approx(in_memory["perplexity"])
    assert dense["sparsity"] == 0
    assert in_memory["masking_seconds"] > 0
    assert dense["masking_seconds"] is on_disk["masking_seconds"] is None
    assert Recipe.load(checkpoint.path(CHECKPOINT) / "recipe.yaml") == wanda
    AutoModelForCausalLM.from_pretrained(checkpoint.path(CHECKPOINT))


def test_keys_know_content_and_neither_device_nor_path(
    parameters: SearchStageParameters,
    settings: EvaluateStageParameters,
    task_folder: TaskFolder,
    tmp_path: Path,
) -> None:
    blocks, observed = observe(parameters)
    moved = tmp_path / "moved"
    Path(parameters.model).rename(moved)
    other_text = tmp_path / "other.txt"
    Path(parameters.calibration).rename(other_text)
    elsewhere = parameters.model_copy(
        update={
            "model": str(moved), "calibration": str(other_text), "device": "cpu", "output": tmp_path / "o",
            "tracking_uri": "http://127.0.0.1:1", "experiment": "e", "memory_budget": 1.0, "workers": Workers(2),
        }
    )  # fmt: skip
    assert calibrate_stage.request(elsewhere).key == blocks.key
    assert statistics_stage.request(elsewhere, blocks).key == observed.key
    key = search_stage.request(elsewhere, blocks, observed).key
    changed = settings.model_copy(update={"model": str(moved), "evaluation_text": str(other_text)})

    assert search_stage.request(elsewhere.model_copy(update={"population": 9}), blocks, observed).key != key
    assert (
        search_stage.request(elsewhere.model_copy(update={"sparsity": parse_pattern("0.6")}), blocks, observed).key
        != key
    )
    named = elsewhere.model_copy(update={"search_calibrations": [NamedSource("more", str(other_text))]})
    key_with_more = search_stage.request(named, blocks, observed).key
    assert key_with_more != key
    copy = tmp_path / "copy.txt"
    copy.write_bytes(other_text.read_bytes())
    renamed = elsewhere.model_copy(update={"search_calibrations": [NamedSource("more", str(copy))]})
    assert search_stage.request(renamed, blocks, observed).key == key_with_more

    other_bos = {"bos": "text-start"}
    assert calibrate_stage.request(elsewhere.model_copy(update=other_bos)).key != blocks.key
    # The main set is the same here; the further ones are not.
    assert search_stage.request(named.model_copy(update=other_bos), blocks, observed).key != key_with_more
    asking = {"tasks": [task_folder.add("parity")], "include_path": task_folder.path}
    keys = {
        evaluate_stage.request(changed.model_copy(update=change)).key
        for change in ({}, {"device": "cpu"}, {"windows": 1}, other_bos, asking, {**asking, "limit": 3})
    }
    assert len(keys) == 5
    other_text.write_text("other words")
    assert calibrate_stage.request(elsewhere).key != blocks.key


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tasks that were run, in order."""
    names: list[str] = []
    run = harness._run

    def noting(model: Any, task: Any, *rest: Any) -> harness.TaskRun:
        names.append(task.task_name)
        return run(model, task, *rest)

    monkeypatch.setattr(harness, "_run", noting)
    return names


def test_one_more_task_costs_that_task_alone(
    settings: EvaluateStageParameters, task_folder: TaskFolder, asked: list[str], loads: list[str]
) -> None:
    parity = settings.model_copy(update={"tasks": [task_folder.add("parity")], "include_path": task_folder.path})
    first = evaluate_stage.make(parity).read_json(EVALUATION)
    members = ["parity", task_folder.add("second", doc_to_text="Now {{question}}")]
    aggregate = [{"metric": "acc", "weight_by_size": False}]
    task_folder.write("both", {"group": "both", "task": members, "aggregate_metric_list": aggregate})
    more = evaluate_stage.make(parity.model_copy(update={"tasks": ["both"]})).read_json(EVALUATION)
    assert asked == ["parity", "second"]
    assert more["tasks"]["parity"] == first["tasks"]["parity"]
    assert list(more["tasks"]) == ["both", "parity", "second"]
    assert more["perplexity"] == first["perplexity"]
    # What is kept needs no model; other settings, other data or another dtype do.
    release_model()
    evaluate_stage.make(parity.model_copy(update={"tasks": ["second", "parity"]}))
    assert len(loads) == 1
    evaluate_stage.make(parity.model_copy(update={"limit": 3}))
    task_folder.data.write_text(task_folder.data.read_text().replace("1 is", "one is"))
    evaluate_stage.make(parity)
    assert asked == ["parity", "second", "parity", "parity"]


def test_data_beside_the_task_files_count(
    settings: EvaluateStageParameters, task_folder: TaskFolder, asked: list[str], tmp_path: Path
) -> None:
    outside = tmp_path / "data.jsonl"
    task_folder.data.rename(outside)
    files = {"data_files": {"test": str(outside)}, "cache_dir": str(tmp_path / "cache")}
    parity = task_folder.add("parity", dataset_kwargs=files)
    parameters = settings.model_copy(update={"tasks": [parity], "include_path": task_folder.path})
    first = evaluate_stage.make(parameters)
    outside.write_text(outside.read_text().replace("1 is", "one is"))
    identity._identify.cache_clear()  # another process
    assert evaluate_stage.make(parameters).key != first.key
    assert asked == ["parity", "parity"]


def test_only_a_failed_task_is_tried_again(
    settings: EvaluateStageParameters, task_folder: TaskFolder, asked: list[str]
) -> None:
    tasks = [task_folder.add_failing("broken", "KeyError('answer')"), task_folder.add("parity")]
    parameters = settings.model_copy(update={"tasks": tasks, "include_path": task_folder.path})
    failed = evaluate_stage.make(parameters)
    scores = failed.read_json(EVALUATION)["tasks"]
    assert scores["broken"] == {"error": "KeyError: 'answer'"}
    forget_failures([failed])
    assert find("evaluate", failed.key) is None
    task_folder.add("broken", doc_to_text="Mended {{question}}")
    mended = evaluate_stage.make(parameters)
    assert asked == ["broken", "parity", "broken"]
    assert mended.read_json(EVALUATION)["tasks"]["parity"] == scores["parity"]
    assert "acc" in mended.read_json(EVALUATION)["tasks"]["broken"]
    forget_failures([mended])
    assert find("evaluate", mended.key) is not None


def test_the_examples_of_an_evaluation_give_its_scores(
    settings: EvaluateStageParameters, task_folder: TaskFolder
) -> None:
    parameters = settings.model_copy(update={"tasks": [task_folder.add("parity")], "include_path": task_folder.path})
    artifact = evaluate_stage.make(parameters)
    evaluation = artifact.read_json(EVALUATION)
    examples = read_examples(pq.read_table(artifact.path(EXAMPLES)))
    assert examples["", "perplexity"].score == pytest.approx(evaluation["perplexity"])
    assert examples["parity", "acc"].score == pytest.approx(evaluation["tasks"]["parity"]["acc"]["value"])


def test_the_perplexity_can_be_left_out(settings: EvaluateStageParameters, task_folder: TaskFolder) -> None:
    changes = {"evaluation_text": "none", "tasks": [task_folder.add("parity")], "include_path": task_folder.path}
    evaluation = evaluate_stage.make(settings.model_copy(update=changes)).read_json(EVALUATION)
    assert evaluation["perplexity"] is None
    assert evaluation["sparsity"] == 0
    assert evaluation["settings"]["windows"] is None
    assert "acc" in evaluation["tasks"]["parity"]


# Slow enough to be killed in the middle.
SEARCH = """
import sys
import time
from optishear.searching.journal import Journal

put = Journal.put

def put_slowly(journal, key, measured):
    put(journal, key, measured)
    time.sleep(0.05)

Journal.put = put_slowly

from tasks.stages.parameters import SearchStageParameters
from tasks.stages.calibrate import calibrate_stage
from tasks.stages.search import search_stage
from tasks.stages.statistics import statistics_stage

parameters = SearchStageParameters.model_validate_json(sys.argv[1])
blocks = calibrate_stage.make(parameters)
search_stage.make(parameters, blocks, statistics_stage.make(parameters, blocks))
"""


def test_a_killed_search_goes_on_where_it_was(
    parameters: SearchStageParameters, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = subprocess.Popen([sys.executable, "-c", SEARCH, parameters.model_dump_json()])
    deadline = time.monotonic() + 120
    while (lines := journal_lines(home)) < 40:
        assert process.poll() is None, "the search ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    blocks, observed = observe(parameters)
    assert find("search", search_stage.request(parameters, blocks, observed).key) is None
    lines = journal_lines(home)
    continued = search_stage.make(parameters, blocks, observed)
    trials = len(load_trials(continued))
    assert 40 <= lines < trials
    assert continued.seconds > sum(load_trials(continued)["seconds"].to_pylist())

    monkeypatch.setenv("OPTISHEAR_HOME", str(home.with_name("undisturbed")))
    blocks, observed = observe(parameters)
    undisturbed = search_stage.make(parameters, blocks, observed)
    assert load_recipe(continued) == load_recipe(undisturbed)
    columns = ["metrics", "sparsity_ratios", "kl"]
    assert load_trials(continued).select(columns) == load_trials(undisturbed).select(columns)
    assert len(list(continued.path(FRONT).iterdir())) >= 1


def load_trials(artifact: Artifact) -> pa.Table:
    return pq.read_table(artifact.path(TRIALS))


def journal_lines(home: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in home.glob("journals/*.jsonl"))


def test_a_search_short_of_memory_goes_on_with_smaller_batches(
    parameters: SearchStageParameters, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks, observed = observe(parameters)
    measure_batch = ModelDivergence._measure_batch
    batches: list[int] = []

    def short_of_memory(self: ModelDivergence, batch: Tensor, at: int) -> list[dict[Divergence, float]]:
        batches.append(len(batch))
        if len(batches) == 40:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return measure_batch(self, batch, at)

    monkeypatch.setattr(ModelDivergence, "_measure_batch", short_of_memory)
    found = search_stage.make(parameters, blocks, observed)
    assert batches[40] == batches[39] // 2
    (journal,) = home.glob("journals/*.jsonl")
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    measured = [(record["key"], len(record["values"]["seconds"])) for record in records]
    assert len(measured) == len(set(measured))
    assert pq.read_table(found.path(TRIALS)).num_rows > 40


@pytest.mark.parametrize(
    ("given", "device", "first"), [(None, "cpu", 1), (None, "cuda", 64), (3, "cpu", 3), (3, "cuda", 3)]
)
def test_an_evaluation_begins_with_the_batch_of_its_device(
    settings: EvaluateStageParameters, given: int | None, device: str, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    losses = perplexity.window_losses

    def short_of_memory(model: PreTrainedModel, windows: Tensor, batch_size: int, opening: int) -> list[float]:
        begun.append(batch_size)
        if batch_size > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return losses(model, windows, batch_size, opening=opening)

    monkeypatch.setattr(evaluation, "window_losses", short_of_memory)
    monkeypatch.setattr(evaluate, "resolve_device", lambda _: torch.device(device))
    artifact = evaluate_stage.make(settings.model_copy(update={"batch_size": given}))
    assert begun[0] == first
    assert begun[-1] == 1
    assert artifact.read_json(EVALUATION)["settings"]["batch_size"] == 1
