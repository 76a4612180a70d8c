"""What an evaluation computes, counted from its text and from a few examples of each task."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict
from transformers import PreTrainedTokenizerBase

from optishear.evaluation.evaluate import NO_TEXT, evaluation_windows
from optishear.evaluation.identity import set_fewshot
from optishear.evaluation.task_files import load_tasks, quiet_harness, suites_of, without_groups
from optishear.parameters.evaluation import EvaluationParameters

# Examples of a task whose requests are tokenized, to know the others' lengths.
_SAMPLED = 4
_GENERATED = 256


class Requests(BaseModel):
    """Requests of one length.

    Attributes:
        tokens: of each, prompt and continuation.
        count: how many forward passes they take.
        generated: tokens that each generates, at most.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: int
    count: float
    generated: int = 0


class EvaluationWork(BaseModel):
    """What one model's evaluation computes.

    Attributes:
        windows: of the perplexity.
        requests: of the tasks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    windows: int = 0
    requests: tuple[Requests, ...] = ()


def evaluation_work(
    tokenizer: PreTrainedTokenizerBase, parameters: EvaluationParameters, context: int
) -> EvaluationWork:
    """Count the windows, and estimate the tasks' requests from a few examples of each.

    Args:
        tokenizer: the model's.
        parameters: of the evaluation.
        context: the model's longest sequence, in tokens.

    Raises:
        InputError: if the text is too short or a task is unknown.
    """
    windows = 0
    if parameters.evaluation_text != NO_TEXT:
        windows = parameters.windows or len(evaluation_windows(tokenizer, parameters))
    requests = [
        request
        for suite in suites_of(parameters)
        for task in without_groups(load_tasks(list(suite.tasks), parameters.include_path)).values()
        for request in _requests(task, tokenizer, suite.fewshot, parameters.limit, parameters.max_length or context)
    ]
    return EvaluationWork(windows=windows, requests=tuple(requests))


def _requests(
    task: Any, tokenizer: PreTrainedTokenizerBase, fewshot: int | None, limit: int | None, longest: int
) -> Iterator[Requests]:
    with quiet_harness():
        set_fewshot(task, fewshot)
        examples = len(task.eval_docs) if limit is None else min(limit, len(task.eval_docs))
        task.build_all_requests(limit=min(_SAMPLED, examples))
    sampled = max(1, min(_SAMPLED, examples))
    prompts: set[str] = set()
    for instance in task.instances:
        prompt = str(instance.args[0])
        if instance.request_type == "generate_until":
            options = instance.args[1] if len(instance.args) > 1 else {}
            generated = int(options.get("max_gen_toks", _GENERATED))
            prompt_tokens = min(_length(tokenizer, prompt), longest)
            yield Requests(tokens=prompt_tokens, count=examples / sampled, generated=generated)
            continue
        if instance.request_type == "loglikelihood_rolling":
            # The whole text, in windows of the model's context.
            windows, rest = divmod(_length(tokenizer, prompt), longest)
            if windows:
                yield Requests(tokens=longest, count=windows * examples / sampled)
            yield Requests(tokens=rest, count=examples / sampled)
            continue
        continuation = str(instance.args[1]) if len(instance.args) > 1 else ""
        if _length(tokenizer, continuation) <= 1:
            # Continuations of one token share the forward pass of their prompt.
            if prompt in prompts:
                continue
            prompts.add(prompt)
        tokens = min(_length(tokenizer, prompt + continuation), longest)
        yield Requests(tokens=tokens, count=examples / sampled)


def _length(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    return len(tokenizer(text, verbose=False)["input_ids"])
