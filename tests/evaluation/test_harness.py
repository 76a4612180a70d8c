import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast
from transformers.modeling_utils import PreTrainedModel

from optishear.batch_size import DoesNotFit
from optishear.errors import InputError
from optishear.evaluation import task_files
from optishear.evaluation.harness import TaskResult, clean, run_tasks
from optishear.evaluation.identity import identify_tasks
from task_folder import QUESTIONS, TaskFolder
from wording import refused

SHARED = Path(os.environ.get("OPTISHEAR_SHARED", Path(__file__).resolve().parents[3] / "shared"))


@pytest.fixture
def only_own_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the thousands of task files that lm-eval ships, which take many seconds to read."""
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr(
        task_files,
        "_shipped_and_own",
        lambda path: TaskManager(include_path=path and str(path), include_defaults=False),
    )


def scores(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tasks: list[str], **settings: Any
) -> dict[str, TaskResult]:
    return run_tasks(lambda: (model, tokenizer), tasks, **settings).results


def right_answers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> list[bool]:
    """For each question whether the model finds the right ending the likeliest."""

    def likelihood(question: str, ending: str) -> float:
        prompt, answer = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (question, f" {ending}"))
        tokens = torch.tensor([[tokenizer.bos_token_id, *prompt, *answer]])
        with torch.no_grad():
            scores = model(tokens).logits[0, :-1].log_softmax(dim=-1).gather(1, tokens[0, 1:, None])
        return float(scores[-len(answer) :].sum())

    answers = [[likelihood(str(question["question"]), ending) for ending in ("even", "odd")] for question in QUESTIONS]
    return [
        scores.index(max(scores)) == question["answer"] for scores, question in zip(answers, QUESTIONS, strict=True)
    ]


def test_accuracy_is_the_share_of_right_answers(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, task_folder: TaskFolder
) -> None:
    right = right_answers(tiny_llama, tiny_tokenizer)
    results = scores(tiny_llama, tiny_tokenizer, [task_folder.add("parity")], include_path=task_folder.path)
    share = sum(right) / len(right)
    assert results == {
        "parity": {
            "acc": {
                "value": pytest.approx(share),
                "stderr": pytest.approx((share * (1 - share) / (len(right) - 1)) ** 0.5),
            }
        }
    }


def test_a_limit_evaluates_the_first_examples(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, task_folder: TaskFolder
) -> None:
    right = right_answers(tiny_llama, tiny_tokenizer)[:5]
    assert 0 < sum(right) < 5
    results = scores(tiny_llama, tiny_tokenizer, [task_folder.add("parity")], include_path=task_folder.path, limit=5)
    assert results["parity"]["acc"]["value"] == pytest.approx(sum(right) / 5)  # type: ignore[index]


@pytest.mark.parametrize(
    ("own", "asked", "used"), [(None, None, 0), (None, 2, 2), (3, None, 3), (3, 2, 2), (3, 0, 0), (0, 2, 0)]
)
def test_fewshot_replaces_the_tasks_own_number_except_for_zero(
    tiny_llama: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    task_folder: TaskFolder,
    own: int | None,
    asked: int | None,
    used: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import lm_eval.evaluator

    prompts: list[str] = []

    def evaluate(model: Any, loaded: Any, **_: Any) -> dict[str, Any]:
        (task,) = loaded["tasks"].values()
        task.build_all_requests(limit=1)
        prompts.append(task.instances[0].args[0])
        raise RuntimeError("enough seen")

    monkeypatch.setattr(lm_eval.evaluator, "evaluate", evaluate)
    settings = {} if own is None else {"num_fewshot": own}
    task_folder.add("parity", fewshot_split="test", **settings)
    scores(tiny_llama, tiny_tokenizer, ["parity"], include_path=task_folder.path, fewshot=asked)
    assert prompts[0].count("is") == used + 1


def test_a_group_has_a_score_and_so_have_its_tasks(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, task_folder: TaskFolder
) -> None:
    members = [task_folder.add("first"), task_folder.add("second", doc_to_text="Now {{question}}")]
    aggregate = [{"metric": "acc", "weight_by_size": False}]
    task_folder.write("both", {"group": "both", "task": members, "aggregate_metric_list": aggregate})
    # Asked for twice: in the group and by itself.
    results = scores(tiny_llama, tiny_tokenizer, ["both", "second"], include_path=task_folder.path)
    assert list(results) == ["both", "first", "second"]
    values = [result["acc"]["value"] for result in results.values()]  # type: ignore[index]
    assert values[0] == pytest.approx((values[1] + values[2]) / 2)


def test_a_tag_stands_for_its_tasks(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, task_folder: TaskFolder
) -> None:
    task_folder.add("first", tag="numbers")
    task_folder.add("second", tag="numbers")
    assert set(scores(tiny_llama, tiny_tokenizer, ["numbers"], include_path=task_folder.path)) == {
        "first",
        "second",
    }


def test_a_task_that_fails_leaves_the_others_their_results(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, task_folder: TaskFolder
) -> None:
    members = [task_folder.add_failing("broken", "KeyError('answer')"), task_folder.add("parity")]
    aggregate = [{"metric": "acc", "weight_by_size": False}]
    task_folder.write("both", {"group": "both", "task": members, "aggregate_metric_list": aggregate})
    results = scores(tiny_llama, tiny_tokenizer, ["both"], include_path=task_folder.path)
    assert results["broken"] == {"error": "KeyError: 'answer'"}
    assert results["both"] == {"error": "1 of its tasks failed: broken"}
    assert set(results["parity"]) == {"acc"}


def test_full_memory_is_not_a_failed_task(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, task_folder: TaskFolder
) -> None:
    task = task_folder.add_failing("large", "torch.OutOfMemoryError('CUDA out of memory')")
    with pytest.raises(DoesNotFit):
        scores(tiny_llama, tiny_tokenizer, [task], include_path=task_folder.path)


def test_the_tokenizer_keeps_having_no_padding_token(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, task_folder: TaskFolder
) -> None:
    tiny_tokenizer.pad_token = None
    scores(tiny_llama, tiny_tokenizer, [task_folder.add("parity")], include_path=task_folder.path)
    assert tiny_tokenizer.pad_token is None


def test_only_progress_is_printed(
    tiny_llama: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    task_folder: TaskFolder,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import lm_eval.api.metrics

    resample = lm_eval.api.metrics._bootstrap_internal_no_mp
    monkeypatch.setattr(
        lm_eval.api.metrics, "_bootstrap_internal_no_mp", lambda f, xs, iters: resample(f, xs, iters=10)
    )
    level = logging.getLogger("lm_eval").level
    # f1 has no closed form of its standard error: the harness prints while it resamples.
    metrics = [{"metric": "f1", "aggregation": "f1"}]
    results = scores(
        tiny_llama,
        tiny_tokenizer,
        [task_folder.add("parity", metric_list=metrics)],
        include_path=task_folder.path,
    )
    assert isinstance(results["parity"]["f1"]["stderr"], float)  # type: ignore[index]
    assert capsys.readouterr().out == ""
    assert [record for record in caplog.records if record.name.startswith("lm_eval")] == []
    assert logging.getLogger("lm_eval").level == level


def test_no_tasks_have_no_results(tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    assert scores(tiny_llama, tiny_tokenizer, []) == {}


def test_metric_names_lose_an_empty_filter_and_keep_another() -> None:
    raw = {
        "name": "gsm8k",
        "alias": "gsm8k",
        "sample_len": 3,
        "exact_match,strict-match": 0.25,
        "exact_match_stderr,strict-match": 0.1,
        "acc,none": 1,
        "acc_stderr,none": "N/A",
        "bits,none": float("nan"),
    }
    assert clean(raw) == {
        "exact_match/strict-match": {"value": 0.25, "stderr": 0.1},
        "acc": {"value": 1.0, "stderr": None},
    }


def test_the_check_passes_tasks_that_load(task_folder: TaskFolder) -> None:
    assert set(identify_tasks([task_folder.add("parity")], task_folder.path)) == {"parity"}
    assert identify_tasks([]) == {}


def test_the_check_names_the_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder .*nowhere"):
        identify_tasks([], tmp_path / "nowhere")


@pytest.mark.usefixtures("only_own_tasks")
def test_the_check_names_an_unknown_task_and_the_closest(task_folder: TaskFolder) -> None:
    task_folder.add("parity")
    with pytest.raises(InputError, match=r"no task 'paritty'; did you mean parity\?"):
        identify_tasks(["parity", "paritty"], task_folder.path)


@pytest.mark.usefixtures("only_own_tasks")
def test_the_check_names_a_task_unlike_any(task_folder: TaskFolder) -> None:
    task_folder.add("parity")
    with pytest.raises(InputError, match="no task 'xyz'; name one of"):
        identify_tasks(["xyz"], task_folder.path)


def test_the_check_finds_data_that_is_not_there(task_folder: TaskFolder) -> None:
    task_folder.data.unlink()
    with refused("parity", "questions.jsonl"):
        identify_tasks([task_folder.add("parity")], task_folder.path)


def test_the_check_finds_data_that_cannot_be_reached(task_folder: TaskFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach 'a/b' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with refused("parity", "Couldn't reach 'a/b'"):
        identify_tasks([task_folder.add("parity")], task_folder.path)


def test_the_check_finds_a_broken_task_file(task_folder: TaskFolder) -> None:
    with refused("parity", "output_type"):
        identify_tasks([task_folder.add("parity", output_type="guess")], task_folder.path)


def test_tasks_that_run_code_are_refused(task_folder: TaskFolder) -> None:
    with pytest.raises(InputError, match="'parity' runs code"):
        identify_tasks([task_folder.add("parity", unsafe_code=True)], task_folder.path)


@pytest.mark.usefixtures("only_own_tasks")
def test_a_group_with_a_member_elsewhere_is_looked_for_in_all_tasks(
    task_folder: TaskFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_folder.write("both", {"group": "both", "task": [task_folder.add("parity"), "hellaswag"]})
    asked: list[Path | None] = []
    everything = task_files._shipped_and_own
    monkeypatch.setattr(task_files, "_shipped_and_own", lambda path: asked.append(path) or everything(path))
    with pytest.raises(InputError):
        identify_tasks(["both"], task_folder.path)
    assert asked == [task_folder.path]
    identify_tasks(["parity"], task_folder.path)
    assert asked == [task_folder.path]


def test_the_harness_is_imported_only_when_it_is_used() -> None:
    code = "import sys, optishear.evaluation.evaluate; print('lm_eval' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.slow
def test_lm_evals_own_tasks_are_known() -> None:
    with pytest.raises(InputError, match=r"'hellaswagg'; did you mean .*hellaswag"):
        identify_tasks(["hellaswagg"])


@pytest.mark.slow
@pytest.mark.skipif(
    not (SHARED / "lm_eval_tasks").is_dir(), reason="no local task files; set OPTISHEAR_SHARED to the folder above them"
)
def test_the_papers_tasks_run_offline(tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    folder = SHARED / "lm_eval_tasks"
    # An answer to gsm8k takes as many tokens as the tiny model's own context.
    tiny_llama.config.max_position_embeddings = 2048
    identify_tasks(["local_zero_shot7", "local_gsm8k"], folder)
    results = scores(
        tiny_llama,
        tiny_tokenizer,
        ["local_zero_shot7", "local_gsm8k"],
        include_path=folder,
        limit=2,
        fewshot=0,
    )
    assert set(results["local_gsm8k"]) == {"exact_match/strict-match", "exact_match/flexible-extract"}
    assert [name for name, result in results.items() if "error" in result] == []
    assert len(results) == 9
