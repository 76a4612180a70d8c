"""Benchmark tasks through the Language Model Evaluation Harness (lm-eval), on a model that is already in memory.

With equal settings the scores are those of lm-eval's own command line: the requests, the order within a task, the
model class, the seeds and the standard errors are lm-eval's. Its defaults are the defaults here, too.
"""

import copy
import functools
import math
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, field_validator
from tqdm import tqdm
from typing_extensions import TypedDict

from optishear.batch_size import BatchSize, DoesNotFit
from optishear.evaluation.examples import Examples
from optishear.evaluation.identity import digest_of_code, set_fewshot, task_identity
from optishear.evaluation.part import Keep, Load, Part, measure_always
from optishear.evaluation.task_files import load_tasks, quiet_harness, reason, without_groups
from optishear.extras import require


class Measure(TypedDict):
    """A metric of a task: its value, and the standard error if the harness computes one."""

    value: float
    stderr: float | None


# Metric name to measure; or the one key "error" with the reason why the task failed.
TaskResult = dict[str, Measure | str]


def measures_of(result: TaskResult) -> dict[str, Measure]:
    """The measures of a task, by metric; none for a task that failed."""
    return {metric: measure for metric, measure in result.items() if not isinstance(measure, str)}


def failure_of(result: TaskResult) -> str | None:
    """The reason why a task failed; ``None`` for one that has measures."""
    reason = result.get("error")
    return reason if isinstance(reason, str) else None


class Seeds(BaseModel):
    """The seeds of Python's, NumPy's and PyTorch's generators and of the few-shot examples.

    lm-eval's own, each with ``seed`` added: those of its command line for the seed 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    python: int
    numpy: int
    torch: int
    fewshot: int

    @classmethod
    def of(cls, seed: int) -> "Seeds":
        """The four seeds for one."""
        return cls(python=seed, numpy=1234 + seed, torch=1234 + seed, fewshot=1234 + seed)

    def set(self) -> None:
        """Set the generators; the few-shot examples have one of their own."""
        random.seed(self.python)
        np.random.seed(self.numpy % 2**32)
        torch.manual_seed(self.torch)


class TaskSettings(BaseModel):
    """Settings of a task's scores.

    Attributes:
        examples: number of evaluated examples.
        fewshot: examples in the prompt.
        max_length: tokens of context.
        version: version in the task file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    examples: int
    fewshot: int
    max_length: int
    version: str


class TaskRun(BaseModel):
    """Results of the harness on one task.

    Attributes:
        raw: metrics under the harness's names (``acc,none``).
        settings: settings of the scores.
        examples: by metric, for metrics with one number per example.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    raw: dict[str, Any]
    settings: TaskSettings
    examples: dict[str, Examples]

    @field_validator("raw")
    @classmethod
    def _numbers(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """JSON has no NaN and no infinity; they are written as text."""
        return {key: float(value) if value in ("nan", "inf", "-inf") else value for key, value in raw.items()}


@dataclass(frozen=True)
class TaskScores:
    """The scores on all tasks.

    Attributes:
        results: for every task and group a dict of metrics, or ``{"error": reason}``.
        settings: settings by task.
        examples: by task and metric.
    """

    results: dict[str, TaskResult] = field(default_factory=dict)
    settings: dict[str, TaskSettings] = field(default_factory=dict)
    examples: dict[tuple[str, str], Examples] = field(default_factory=dict)


def run_tasks(
    load: Load,
    tasks: Sequence[str],
    *,
    include_path: Path | None = None,
    limit: int | None = None,
    fewshot: int | None = None,
    batch: BatchSize | None = None,
    max_length: int | None = None,
    seed: int = 0,
    keep: Keep = measure_always,
) -> TaskScores:
    """Evaluate a model on tasks.

    Args:
        load: returns the model and its tokenizer.
        tasks: names of tasks, groups or tags; a group's own score comes before those of its tasks.
        include_path: folder with the user's task files.
        limit: examples per task; all if not given.
        fewshot: examples shown in the prompt; each task's own number if not given. As in lm-eval, a task whose
            file sets 0 keeps it.
        batch: sequences per forward pass, one if not given; where memory runs out, the task is repeated with half.
        max_length: tokens of context; the model's own if not given.
        seed: seed of the few-shot examples and of sampled answers.
        keep: may return a stored result of a task.

    Returns:
        The scores; a failed task does not affect the others.

    Raises:
        InputError: as ``load_tasks``; or if one sequence is too much for the memory.
    """
    if not tasks:
        return TaskScores()
    require(["lm_eval"], f"The task {tasks[0]!r}")
    from lm_eval.api.group import Group

    items = load_tasks(list(tasks), include_path)
    batch = batch or BatchSize(1)
    code = digest_of_code(include_path)

    @functools.lru_cache(maxsize=1)
    def harness_model(batch_size: int) -> Any:
        return _harness_model(load, batch_size, max_length)

    def run(task: Any, batch_size: int) -> TaskRun:
        inputs = {"task": task_identity(task, limit), "code": code}
        settings = {"limit": limit, "fewshot": fewshot, "batch_size": batch_size}
        settings |= {"max_length": max_length, "seed": seed}
        identity = {**inputs, **settings, "lm_eval": version("lm-eval")}
        measure = functools.partial(_run, functools.partial(harness_model, batch_size), task, limit, Seeds.of(seed))
        return keep(Part(f"task {task.task_name}", identity, TaskRun, measure))

    runs: dict[str, TaskRun] = {}
    failures: dict[str, str] = {}
    with tqdm(without_groups(items).values(), desc="tasks") as progress:
        for task in progress:
            name = task.task_name
            progress.set_postfix_str(name)
            try:
                with quiet_harness():
                    set_fewshot(task, fewshot)
                    runs[name] = batch.run(functools.partial(run, task))
            except (DoesNotFit, MemoryError):
                raise
            except Exception as error:
                failures[name] = reason(error)
    return TaskScores(
        results={
            name: _group_result(item, runs)
            if isinstance(item, Group)
            else {"error": failures[name]}
            if name in failures
            else clean(runs[name].raw)
            for name, item in items.items()
            if not isinstance(item, Group) or item.has_aggregation
        },
        settings={name: run.settings for name, run in runs.items()},
        examples={(name, metric): examples for name, run in runs.items() for metric, examples in run.examples.items()},
    )


def _group_result(group: Any, runs: Mapping[str, TaskRun]) -> TaskResult:
    failed = [task.task_name for task in group.get_all_tasks() if task.task_name not in runs]
    if failed:
        return {"error": f"{len(failed)} of its tasks failed: {', '.join(failed)}"}
    return clean(dict(group.aggregate({name: run.raw for name, run in runs.items()})))


def clean(raw: Mapping[str, Any]) -> TaskResult:
    """The harness's flat metrics (``acc,none``, ``acc_stderr,none``) as name to value and standard error.

    The filter's name is kept where it is not ``none``: ``exact_match,strict-match`` is ``exact_match/strict-match``.
    """
    measures: TaskResult = {}
    for key, value in raw.items():
        metric, comma, filtered = key.partition(",")
        number = _number(value)
        if comma and number is not None and not metric.endswith("_stderr"):
            stderr = _number(raw.get(f"{metric}_stderr,{filtered}"))
            measures[_metric_name(metric, filtered)] = {"value": number, "stderr": stderr}
    return measures


def _metric_name(metric: str, filtered: str) -> str:
    return metric if filtered == "none" else f"{metric}/{filtered}"


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return None if math.isnan(number) else number


def _harness_model(load: Load, batch_size: int, max_length: int | None) -> Any:
    from lm_eval.models.huggingface import HFLM

    # Its pool of processes for resampling would fork this one, threads and all; the resamples are the same.
    os.environ.setdefault("DISABLE_MULTIPROC", "1")
    model, tokenizer = load()
    # The harness sets a padding token where there is none, which the checkpoint's tokenizer must not get.
    return HFLM(
        pretrained=model, tokenizer=copy.deepcopy(tokenizer), batch_size=batch_size, max_length=max_length or None
    )


def _run(harness_model: Any, task: Any, limit: int | None, seeds: Seeds) -> TaskRun:
    from lm_eval.evaluator import evaluate

    model = harness_model()
    # Each task starts from the same state, so that its result does not depend on the tasks before it.
    seeds.set()
    task.set_fewshot_seed(seeds.fewshot)
    name = task.task_name
    # simple_evaluate() would list every installed package in each task's results, which takes seconds.
    results = evaluate(model, {"tasks": {name: task}, "groups": {}, "group_map": {}}, limit=limit, log_samples=True)
    raw = dict(results["results"][name])
    return TaskRun(
        raw=raw,
        settings=TaskSettings(
            examples=raw["sample_len"],
            fewshot=results["n-shot"][name],
            max_length=model.max_length,
            version=str(results["versions"][name]),
        ),
        examples=_examples(task, results["samples"][name]),
    )


def _examples(task: Any, samples: list[dict[str, Any]]) -> dict[str, Examples]:
    """One number per example, for the metrics that are their mean or a perplexity."""
    from lm_eval.api import metrics

    examples: dict[str, Examples] = {}
    for metric, aggregate in task.aggregation().items():
        for filtered in dict.fromkeys(sample["filter"] for sample in samples):
            values = [sample[metric] for sample in samples if sample["filter"] == filtered and metric in sample]
            name = _metric_name(metric, filtered)
            if aggregate is metrics.weighted_perplexity:
                examples[name] = Examples(
                    values=[-likelihood for likelihood, _ in values],
                    weights=[weight for _, weight in values],
                    logarithmic=True,
                )
            elif aggregate is metrics.perplexity:
                examples[name] = Examples(
                    values=[-likelihood for likelihood in values], weights=[1.0] * len(values), logarithmic=True
                )
            elif aggregate is metrics.mean and values:
                examples[name] = Examples(values=[float(value) for value in values], weights=[1.0] * len(values))
    return examples
