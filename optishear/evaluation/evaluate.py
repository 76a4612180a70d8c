"""Model → evaluation: perplexity and tasks, with the settings that they hold for."""

import functools
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from optishear.calibration.calibrate import check_context
from optishear.calibration.text import check_source, read_documents, text_digest
from optishear.evaluation.examples import Examples
from optishear.evaluation.harness import Measure, Seeds, TaskScores, TaskSettings, run_tasks
from optishear.evaluation.identity import identify_tasks
from optishear.evaluation.part import Keep, Load, Part, measure_anew
from optishear.evaluation.perplexity import text_windows, window_losses
from optishear.evaluation.task_files import check_folder, suites_of
from optishear.parameters.evaluation import EvaluationParameters

# The text that leaves the perplexity out.
NO_TEXT = "none"
# Evaluation text is what a data set keeps for it, so that calibration never sees it.
_SPLITS = ("test", "validation", "train")
# More than a token holds of common text: where only some windows are asked for, the rest need not be read.
_CHARACTERS_PER_TOKEN = 8


class EvaluationSettings(BaseModel):
    """What the scores hold for; two evaluations compare only where these are equal.

    Attributes:
        text: source of the perplexity's text.
        window_length: tokens per window.
        windows: number of windows, counted; None without a perplexity.
        suite: name of the suite.
        limit: examples per task, None for all.
        fewshot: few-shot examples, None for the suite's or each task's own.
        batch_size: sequences per forward pass.
        seeds: of few-shot examples and sampled answers.
        lm_eval: version of lm-eval; None without tasks.
        tasks: for each task the examples, few-shot examples and context that were used, and its version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    window_length: int
    windows: int | None
    suite: str | None
    limit: int | None
    fewshot: int | None
    batch_size: int
    seeds: Seeds
    lm_eval: str | None
    tasks: dict[str, TaskSettings]


class Evaluation(BaseModel):
    """The scores of one model.

    Attributes:
        perplexity: over equal windows of the text; lower is better; None where it was left out.
        tasks: for each task metric name to value and standard error, or ``{"error": reason}``.
        settings: what the scores hold for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    perplexity: float | None
    tasks: dict[str, dict[str, Measure | str]]
    settings: EvaluationSettings


@dataclass(frozen=True)
class Judgement:
    """An evaluation, and the examples that its scores are made of, by task and metric."""

    evaluation: Evaluation
    examples: dict[tuple[str, str], Examples]


def check_evaluation(parameters: EvaluationParameters) -> None:
    """Refuse what cannot be evaluated, before a model is loaded: the text, the task names and the tasks' data.

    Raises:
        InputError: naming what is wrong.
    """
    if parameters.evaluation_text != NO_TEXT:
        check_source(parameters.evaluation_text)
    check_folder(parameters.include_path)
    for suite in suites_of(parameters):
        identify_tasks(suite.tasks, parameters.include_path, suite.fewshot)


def evaluate(load: Load, parameters: EvaluationParameters, seed: int = 0, keep: Keep = measure_anew) -> Judgement:
    """Judge a model on perplexity and tasks.

    Args:
        load: gives the model and its tokenizer; called when something has to be measured.
        parameters: what it is judged on.
        seed: as for ``run_tasks``.
        keep: may give a part's result from before.

    Raises:
        InputError: if the windows are longer than the model's context, the text is too short, or a task is unknown.
    """
    losses = None if parameters.evaluation_text == NO_TEXT else keep(_perplexity_part(load, parameters))
    scores = [
        run_tasks(
            load,
            suite.tasks,
            include_path=parameters.include_path,
            limit=parameters.limit,
            fewshot=suite.fewshot,
            batch_size=parameters.batch_size,
            max_length=parameters.max_length,
            seed=seed,
            keep=keep,
        )
        for suite in suites_of(parameters)
    ]
    judged = TaskScores(
        results={name: result for some in scores for name, result in some.results.items()},
        settings={name: settings for some in scores for name, settings in some.settings.items()},
        examples={key: examples for some in scores for key, examples in some.examples.items()},
    )
    evaluation = Evaluation(
        perplexity=losses.score if losses else None,
        tasks=judged.results,
        settings=EvaluationSettings(
            text=parameters.evaluation_text,
            window_length=parameters.window_length,
            windows=len(losses.values) if losses else None,
            suite=parameters.suite and Path(parameters.suite).stem,
            limit=parameters.limit,
            fewshot=parameters.fewshot,
            batch_size=parameters.batch_size,
            seeds=Seeds.of(seed),
            lm_eval=version("lm-eval") if scores else None,
            tasks=judged.settings,
        ),
    )
    return Judgement(evaluation, {**({("", "perplexity"): losses} if losses else {}), **judged.examples})


def _perplexity_part(load: Load, parameters: EvaluationParameters) -> Part[Examples]:
    text = parameters.evaluation_text
    identity: dict[str, Any] = {
        "text": text_digest(text),
        "window_length": parameters.window_length,
        "windows": parameters.windows,
        "batch_size": parameters.batch_size,
    }
    return Part("perplexity", identity, Examples, functools.partial(_losses, load, parameters))


def _losses(load: Load, parameters: EvaluationParameters) -> Examples:
    """Each window's loss, as the examples of the perplexity."""
    model, tokenizer = load()
    check_context(model, "window_length", parameters.window_length)
    losses = window_losses(model, evaluation_windows(tokenizer, parameters), parameters.batch_size)
    return Examples(values=losses, weights=[1.0] * len(losses), logarithmic=True)


def evaluation_windows(tokenizer: PreTrainedTokenizerBase, parameters: EvaluationParameters) -> Tensor:
    """The evaluation text's documents joined by blank lines, in windows: [windows, window_length] int64.

    Where ``windows`` is given, reads only as much of the text as it needs.

    Raises:
        InputError: if the text cannot be read or is too short.
    """
    length, count = parameters.window_length, parameters.windows
    documents = read_documents(parameters.evaluation_text, splits=_SPLITS)
    if count is None:
        return text_windows(tokenizer, "\n\n".join(documents), length)
    text = ""
    enough = _CHARACTERS_PER_TOKEN * length * count
    for document in documents:
        text = f"{text}\n\n{document}" if text else document
        if len(text) >= enough:
            # One token more than needed, so that no window ends where the text was cut.
            if len(tokenizer(text, verbose=False)["input_ids"]) > length * count:
                break
            enough *= 2
    return text_windows(tokenizer, text, length, count)
