import math
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import pytest
import torch
from tokenizers import processors
from transformers import PreTrainedTokenizerFast
from transformers.modeling_utils import PreTrainedModel

from optishear.batch_size import BatchSize
from optishear.calibration.text import read_documents
from optishear.errors import InputError
from optishear.evaluation.evaluate import Evaluation, check_evaluation, evaluate, evaluation_windows
from optishear.evaluation.harness import run_tasks
from optishear.evaluation.perplexity import perplexity, text_windows, window_losses
from optishear.parameters.bos import Bos
from optishear.parameters.evaluation import EvaluationParameters
from task_folder import TaskFolder
from wording import refused


def test_an_evaluation_holds_scores_and_settings(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, task_folder: TaskFolder
) -> None:
    parameters = EvaluationParameters(
        window_length=32,
        windows=3,
        tasks=[task_folder.add("parity")],
        include_path=task_folder.path,
        limit=4,
        batch_size=2,
    )
    evaluation = evaluate(lambda: (tiny_llama, tiny_tokenizer), parameters, seed=5).evaluation
    windows = evaluation_windows(tiny_tokenizer, parameters)
    assert evaluation.perplexity == perplexity(tiny_llama, windows, 2)
    assert (
        evaluation.tasks
        == run_tasks(
            lambda: (tiny_llama, tiny_tokenizer), ["parity"], include_path=task_folder.path, limit=4, batch=BatchSize(2)
        ).results
    )
    assert evaluation.settings.model_dump() == {
        "text": "python-docs",
        "window_length": 32,
        "bos": "each-window",
        "windows": 3,
        "suite": None,
        "limit": 4,
        "fewshot": None,
        "batch_size": 2,
        "seeds": {"python": 5, "numpy": 1239, "torch": 1239, "fewshot": 1239},
        "lm_eval": version("lm-eval"),
        "tasks": {"parity": {"examples": 4, "fewshot": 0, "max_length": 256, "version": "Yaml"}},
    }


def test_an_evaluation_survives_json() -> None:
    evaluation = Evaluation.model_validate(
        {
            "perplexity": 22.9,
            "tasks": {"a": {"acc": {"value": 0.5, "stderr": None}}, "b": {"error": "KeyError"}},
            "settings": {
                "text": "python-docs",
                "window_length": 8,
                "windows": 1,
                "suite": None,
                "limit": None,
                "fewshot": None,
                "batch_size": 8,
                "seeds": {"python": 0, "numpy": 1234, "torch": 1234, "fewshot": 1234},
                "lm_eval": None,
                "tasks": {},
            },
        }
    )
    assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation
    assert evaluation.tasks["a"]["acc"] == {"value": 0.5, "stderr": None}


@pytest.mark.parametrize("bos", get_args(Bos))
def test_the_settings_say_where_the_bos_is(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, bos: Bos
) -> None:
    parameters = EvaluationParameters(window_length=32, windows=2, bos=bos)
    evaluation = evaluate(lambda: (tiny_llama, tiny_tokenizer), parameters).evaluation
    assert evaluation.settings.bos == bos
    assert evaluation.perplexity == perplexity(tiny_llama, evaluation_windows(tiny_tokenizer, parameters), 1)
    tiny_tokenizer.backend_tokenizer.post_processor = None
    assert evaluate(lambda: (tiny_llama, tiny_tokenizer), parameters).evaluation.settings.bos is None


def test_none_of_several_opening_tokens_is_predicted(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    tiny_tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<pad> <s> $A", pair="<pad> <s> $A $B", special_tokens=[("<pad>", 0), ("<s>", 1)]
    )
    parameters = EvaluationParameters(window_length=32, windows=2)
    windows = evaluation_windows(tiny_tokenizer, parameters)
    assert windows[:, :2].tolist() == [[0, 1], [0, 1]]
    losses = window_losses(tiny_llama, windows, opening=2)
    evaluation = evaluate(lambda: (tiny_llama, tiny_tokenizer), parameters).evaluation
    assert evaluation.perplexity == pytest.approx(math.exp(sum(losses) / 2))


@pytest.mark.parametrize("bos", get_args(Bos))
@pytest.mark.parametrize("windows", [None, 1, 5, 40])
def test_windows_are_those_of_the_documents_joined_by_blank_lines(
    tiny_tokenizer: PreTrainedTokenizerFast, windows: int | None, bos: Bos
) -> None:
    parameters = EvaluationParameters(window_length=64, windows=windows, bos=bos)
    text = "\n\n".join(read_documents("python-docs"))
    expected = text_windows(tiny_tokenizer, text, 64, windows, bos)
    assert torch.equal(evaluation_windows(tiny_tokenizer, parameters), expected)


def test_only_as_much_text_is_read_as_the_windows_need(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    path = tmp_path / "text.jsonl"
    path.write_text('{"text": "' + "words " * 200 + '"}\nnot JSON', encoding="utf-8")
    parameters = EvaluationParameters(evaluation_text=str(path), window_length=16, windows=2)
    assert evaluation_windows(tiny_tokenizer, parameters).shape == (2, 16)
    with pytest.raises(InputError, match="not JSON"):
        evaluation_windows(tiny_tokenizer, parameters.model_copy(update={"windows": None}))


def test_windows_longer_than_the_context_are_refused(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    with refused("window_length", 1024, 256):
        evaluate(lambda: (tiny_llama, tiny_tokenizer), EvaluationParameters())


def test_the_check_refuses_text_and_tasks_that_are_not_there(task_folder: TaskFolder) -> None:
    check_evaluation(EvaluationParameters(tasks=[task_folder.add("parity")], include_path=task_folder.path))
    with pytest.raises(InputError, match=r"none.txt"):
        check_evaluation(EvaluationParameters(evaluation_text="none.txt"))
    with pytest.raises(InputError, match="nowhere"):
        check_evaluation(EvaluationParameters(include_path=task_folder.path / "nowhere"))
