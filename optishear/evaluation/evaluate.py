"""Model → evaluation: perplexity and tasks, with their settings."""

import functools
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from optishear.batch_size import BatchSize
from optishear.calibration.calibrate import check_context
from optishear.calibration.opening import opening_tokens
from optishear.calibration.text import check_source, read_documents, text_digest
from optishear.evaluation.examples import Examples
from optishear.evaluation.harness import Measure, Seeds, TaskScores, TaskSettings, run_tasks
from optishear.evaluation.identity import identify_tasks
from optishear.evaluation.part import Keep, Load, Part, measure_always
from optishear.evaluation.perplexity import text_windows, window_losses
from optishear.evaluation.task_files import check_folder, suites_of
from optishear.parameters.bos import Bos
from optishear.parameters.evaluation import EvaluationParameters

# The text name for an evaluation without perplexity.
NO_TEXT = "none"
# The test split is preferred, so that evaluation and calibration use different text.
_SPLITS = ("test", "validation", "train")
# More characters than a token has in common text; limits how much text is read for a given number of windows.
_CHARACTERS_PER_TOKEN = 8


class EvaluationSettings(BaseModel):
    """Settings of an evaluation; only evaluations with equal settings are comparable.

    Attributes:
        text: source of the perplexity's text.
        window_length: tokens per window.
        bos: where the windows have the tokenizer's BOS, which is not predicted: ``each-window`` begins with it, or only
            the first (``text-start``). None where the tokenizer adds none, and without a perplexity.
        windows: number of windows; None without a perplexity.
        suite: name of the suite.
        limit: examples per task, None for all.
        fewshot: few-shot examples, None for the suite's or each task's own.
        batch_size: sequences per forward pass; the smallest number that was used, where memory ran out.
        seeds: seeds of few-shot examples and sampled answers.
        lm_eval: version of lm-eval; None without tasks.
        tasks: settings and version by task.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    window_length: int
    bos: Bos | None = None
    windows: int | None
    suite: str | None
    limit: int | None
    fewshot: int | None
    batch_size: int
    seeds: Seeds
    lm_eval: str | None
    tasks: dict[str, TaskSettings]


class WindowLosses(Examples):
    """Each window's loss, as the examples of the perplexity.

    Attributes:
        bos: as in ``EvaluationSettings``.
    """

    bos: Bos | None


class Evaluation(BaseModel):
    """The scores of one model.

    Attributes:
        perplexity: over equal windows of the text; lower is better; None if it was not measured.
        tasks: by task, value and standard error by metric name, or ``{"error": reason}``.
        settings: settings of the scores.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    perplexity: float | None
    tasks: dict[str, dict[str, Measure | str]]
    settings: EvaluationSettings


@dataclass(frozen=True)
class EvaluationResult:
    """An evaluation, and the examples of its scores by task and metric."""

    evaluation: Evaluation
    examples: dict[tuple[str, str], Examples]


def check_evaluation(parameters: EvaluationParameters) -> None:
    """Check the text, the task names and the tasks' data, before a model is loaded.

    Raises:
        InputError: if one of them cannot be used; the message names it.
    """
    if parameters.evaluation_text != NO_TEXT:
        check_source(parameters.evaluation_text)
    check_folder(parameters.include_path)
    for suite in suites_of(parameters):
        identify_tasks(suite.tasks, parameters.include_path, suite.fewshot)


def default_batch_size(device: torch.device) -> int:
    """Sequences per forward pass where none are given: lm-eval's 1 on a CPU, and many on a GPU, which 1 leaves idle."""
    return 1 if device.type == "cpu" else 64


def evaluate(
    load: Load, parameters: EvaluationParameters, seed: int = 0, keep: Keep = measure_always
) -> EvaluationResult:
    """Evaluate a model by perplexity and tasks.

    Where memory runs out, the perplexity or the task is repeated with half the batch, and what follows begins with it.

    Args:
        load: returns the model and its tokenizer; called only for a measurement.
        parameters: text, tasks and limits; without a batch size, sequences are evaluated one at a time.
        seed: as for ``run_tasks``.
        keep: may return a stored result of a part.

    Raises:
        InputError: if the windows are longer than the model's context, the text is too short, or a task is unknown.
    """
    batch = BatchSize(parameters.batch_size or 1)
    losses = None
    if parameters.evaluation_text != NO_TEXT:
        losses = batch.run(lambda size: keep(_perplexity_part(load, parameters, size)))
    scores = [
        run_tasks(
            load,
            suite.tasks,
            include_path=parameters.include_path,
            limit=parameters.limit,
            fewshot=suite.fewshot,
            batch=batch,
            max_length=parameters.max_length,
            seed=seed,
            keep=keep,
        )
        for suite in suites_of(parameters)
    ]
    task_scores = TaskScores(
        results={name: result for suite_scores in scores for name, result in suite_scores.results.items()},
        settings={name: settings for suite_scores in scores for name, settings in suite_scores.settings.items()},
        examples={key: examples for suite_scores in scores for key, examples in suite_scores.examples.items()},
    )
    evaluation = Evaluation(
        perplexity=losses.score if losses else None,
        tasks=task_scores.results,
        settings=EvaluationSettings(
            text=parameters.evaluation_text,
            window_length=parameters.window_length,
            bos=losses.bos if losses else None,
            windows=len(losses.values) if losses else None,
            suite=parameters.suite and Path(parameters.suite).stem,
            limit=parameters.limit,
            fewshot=parameters.fewshot,
            batch_size=batch.size,
            seeds=Seeds.of(seed),
            lm_eval=version("lm-eval") if scores else None,
            tasks=task_scores.settings,
        ),
    )
    return EvaluationResult(evaluation, {**({("", "perplexity"): losses} if losses else {}), **task_scores.examples})


def _perplexity_part(load: Load, parameters: EvaluationParameters, batch_size: int) -> Part[WindowLosses]:
    text = parameters.evaluation_text
    identity: dict[str, Any] = {
        "text": text_digest(text),
        "window_length": parameters.window_length,
        "windows": parameters.windows,
        "batch_size": batch_size,
        "bos": parameters.bos,
    }
    return Part("perplexity", identity, WindowLosses, functools.partial(_losses, load, parameters, batch_size))


def _losses(load: Load, parameters: EvaluationParameters, batch_size: int) -> WindowLosses:
    model, tokenizer = load()
    check_context(model, "window_length", parameters.window_length)
    windows = evaluation_windows(tokenizer, parameters)
    added = len(opening_tokens(tokenizer))
    opening = max(1, added) if parameters.bos == "each-window" else 1
    losses = window_losses(model, windows, batch_size, opening=opening)
    return WindowLosses(
        values=losses, weights=[1.0] * len(losses), logarithmic=True, bos=parameters.bos if added else None
    )


def evaluation_windows(tokenizer: PreTrainedTokenizerBase, parameters: EvaluationParameters) -> Tensor:
    """The evaluation text's documents joined by blank lines, in windows: [windows, window_length] int64.

    With ``windows``, reads no more of the text than needed.

    Raises:
        InputError: if the text cannot be read or is too short.
    """
    length, count = parameters.window_length, parameters.windows
    documents = read_documents(parameters.evaluation_text, splits=_SPLITS)
    if count is None:
        return text_windows(tokenizer, "\n\n".join(documents), length, bos=parameters.bos)
    text = ""
    enough = _CHARACTERS_PER_TOKEN * length * count
    for document in documents:
        text = f"{text}\n\n{document}" if text else document
        if len(text) >= enough:
            # One token more than needed, so that no window ends at the cut.
            if len(tokenizer(text, verbose=False)["input_ids"]) > length * count:
                break
            enough *= 2
    return text_windows(tokenizer, text, length, count, parameters.bos)
