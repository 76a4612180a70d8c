"""Model → evaluation: perplexity and tasks, with the settings that they hold for."""

from pydantic import BaseModel, ConfigDict
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from optishear.calibration.calibrate import check_context
from optishear.calibration.text import check_source, read_documents
from optishear.evaluation.harness import Measure, check_tasks, run_tasks
from optishear.evaluation.perplexity import perplexity, text_windows
from optishear.parameters import EvaluationParameters

# Evaluation text is what a data set keeps for it, so that calibration never sees it.
_SPLITS = ("test", "validation", "train")
# More than a token holds of common text: where only some windows are asked for, the rest need not be read.
_CHARACTERS_PER_TOKEN = 8


class EvaluationSettings(BaseModel):
    """What the scores hold for; two evaluations compare only where these are equal.

    Attributes:
        text: source of the perplexity's text.
        window_length: tokens per window.
        windows: number of windows, counted.
        limit: examples per task, None for all.
        fewshot: few-shot examples, None for each task's own.
        batch_size: sequences per forward pass.
        seed: of few-shot examples and sampled answers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    window_length: int
    windows: int
    limit: int | None
    fewshot: int | None
    batch_size: int
    seed: int


class Evaluation(BaseModel):
    """The scores of one model.

    Attributes:
        perplexity: over equal windows of the text; lower is better.
        tasks: for each task metric name to value and standard error, or ``{"error": reason}``.
        settings: what the scores hold for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    perplexity: float
    tasks: dict[str, dict[str, Measure | str]]
    settings: EvaluationSettings


def check_evaluation(parameters: EvaluationParameters) -> None:
    """Refuse what cannot be evaluated, before a model is loaded: the text, the task names and the tasks' data.

    Raises:
        InputError: naming what is wrong.
    """
    check_source(parameters.evaluation_text)
    check_tasks(parameters.tasks, parameters.include_path)


def evaluate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, parameters: EvaluationParameters, seed: int = 0
) -> Evaluation:
    """Judge a model on perplexity and tasks.

    Raises:
        InputError: if the windows are longer than the model's context, the text is too short, or a task is unknown.
    """
    check_context(model, "window_length", parameters.window_length)
    windows = evaluation_windows(tokenizer, parameters)
    return Evaluation(
        perplexity=perplexity(model, windows, parameters.batch_size),
        tasks=run_tasks(
            model,
            tokenizer,
            parameters.tasks,
            include_path=parameters.include_path,
            limit=parameters.limit,
            fewshot=parameters.fewshot,
            batch_size=parameters.batch_size,
            seed=seed,
        ),
        settings=EvaluationSettings(
            text=parameters.evaluation_text,
            window_length=parameters.window_length,
            windows=len(windows),
            limit=parameters.limit,
            fewshot=parameters.fewshot,
            batch_size=parameters.batch_size,
            seed=seed,
        ),
    )


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
