"""The command line, end to end on a tiny random Llama."""

import json
import re
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from mlflow.tracking import MlflowClient
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.modeling_utils import PreTrainedModel

from flows.command_line.main import main
from flows.shared.output_record import RECORD
from optishear.calibration.calibration_set import CalibrationSet
from optishear.inference.footprint import memory_bytes
from optishear.inference.kernel import best_kernel
from optishear.parameters.read import read_parameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.recipes.recipe import Recipe, named_recipe
from optishear.reconstruction.reconstruct import reconstruct
from tiny import tiny_model

pytestmark = [pytest.mark.usefixtures("prefect_server")]

CONTRACT = [
    RECORD,
    "calibration.parquet",
    "comparison.parquet",
    "diagnosis",
    "front",
    "metrics.json",
    "model",
    "recipe.yaml",
    "report.html",
    "statistics.parquet",
    "trials.parquet",
]


@pytest.fixture
def settings(home: Path, model_folder: Path, text_file: Path, tmp_path: Path) -> dict[str, Any]:
    """Parameters of a pipeline that takes seconds."""
    return {
        "model": str(model_folder),
        "calibration": str(text_file),
        "evaluation_text": str(text_file),
        "sequences": 4,
        "sequence_length": 32,
        "search_sequences": 2,
        "rounds": 2,
        "trials": 24,
        "population": 4,
        "window_length": 64,
        "windows": 4,
        "device": "cpu",
        "output": str(tmp_path / "output"),
        "masks_only": True,
    }


def halve(model_folder: Path) -> None:
    """Prune every other input of every layer."""
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "proj" in name:
                parameter[:, ::2] = 0
    model.save_pretrained(model_folder)


def zeros(model: PreTrainedModel) -> float:
    weights = [parameter for name, parameter in model.named_parameters() if "proj" in name]
    return float(sum((weight == 0).sum() for weight in weights)) / sum(weight.numel() for weight in weights)


def test_run_lays_out_the_contract_and_repeats_without_computing(
    command: Callable[..., None],
    settings: dict[str, Any],
    home: Path,
    tracking_database: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tracking_database.unlink()  # the first run makes one
    output = tmp_path / "output"
    model = Path(settings["model"])
    AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).save_pretrained(model)
    command("run", "--sparsity", "0.5")
    assert sorted(path.name for path in output.iterdir()) == CONTRACT

    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["model"] == settings["model"]
    assert metrics["sparsity"] == "0.5"
    assert list(metrics["stages"]) == [
        "calibrate",
        "statistics",
        "search",
        "prune",
        "diagnose",
        "evaluate",
        "footprint",
    ]
    for cost in metrics["stages"].values():
        assert cost["seconds"] > 0
        assert cost["peak_memory_bytes"] > 2**20
        assert cost["cached"] is False
    for name in ("dense", "wanda", "pruned"):
        assert metrics[name]["perplexity"] > 1
        assert metrics[name]["settings"]["window_length"] == 64
        assert metrics[name]["settings"]["bos"] == "each-window"
    assert metrics["calibration_documents"] == 1
    assert metrics["dense"]["sparsity"] == 0
    assert list(metrics["dense"]["footprint"]) == ["dense"]
    footprint = metrics["pruned"]["footprint"]
    assert footprint["dense"]["disk_bytes"] == (output / "model" / "model.safetensors").stat().st_size
    ratio = {name: footprint["bitmask"][name] / footprint["dense"][name] for name in ("disk_bytes", "memory_bytes")}
    assert 0.5 < ratio["disk_bytes"] < 0.9
    # Without a kernel for this processor, or a compiler, all layers are dense in memory.
    assert 0.5 < ratio["memory_bytes"] < 0.9 if best_kernel() else ratio["memory_bytes"] == 1
    assert footprint["bitmask"]["tokens_per_second"] > 0
    assert metrics["wanda"]["sparsity"] == pytest.approx(0.5, abs=0.001)
    assert metrics["pruned"]["sparsity"] == metrics["achieved_sparsity"] == pytest.approx(0.5, abs=0.001)
    assert metrics["search"]["objectives"]["kl"] <= metrics["search"]["wanda_objectives"]["kl"]

    assert metrics["precision"]["dtype"] == "float32"
    assert f"Computed in float32: {escape(metrics['precision']['reason'])}." in (output / "report.html").read_text()

    # Plain transformers loads the checkpoint, stored as the dense one is, and it is as sparse as it says.
    pruned = AutoModelForCausalLM.from_pretrained(output / "model")
    assert pruned.dtype == torch.bfloat16
    tokenizer = AutoTokenizer.from_pretrained(output / "model")
    assert zeros(pruned) == pytest.approx(metrics["achieved_sparsity"])
    assert pruned.generate(torch.tensor([tokenizer.encode("the")]), max_new_tokens=3).shape[1] > 3
    recipe = Recipe.load(output / "recipe.yaml")
    assert Recipe.load(output / "model" / "recipe.yaml") == recipe
    trials = pq.read_table(output / "trials.parquet").to_pylist()
    assert sum(trial["chosen"] for trial in trials) == 1
    assert {trial["name"] for trial in trials} >= {"magnitude", "wanda", "ria"}
    assert set(pq.read_table(output / "comparison.parquet").column("model").to_pylist()) == {"dense", "wanda", "pruned"}
    assert "perplexity" in (output / "model" / "README.md").read_text()

    shown = capsys.readouterr().out
    for word in ("perplexity", "wanda", str(output / "report.html"), "mlflow ui --backend-store-uri", "Prefect"):
        assert word.lower() in shown.lower()

    diagnosed = {path.stem: pq.read_table(path).num_rows for path in (output / "diagnosis").iterdir()}
    assert diagnosed["alignment"] == diagnosed["layer_errors"] == 2 * 14
    assert diagnosed["block_errors"] == 2 * 2
    assert metrics["diagnosis"]["layer_error"].keys() == {"wanda", "pruned"}

    # The second run: the same recipe, and nothing computed.
    # These hold the times of one run.
    changing = ("metrics.json", RECORD)
    first = {path: path.read_bytes() for path in output.rglob("*") if path.is_file() and path.name not in changing}
    command("run", "--sparsity", "0.5", "--device", "cpu:0")  # the same by another name
    again = json.loads((output / "metrics.json").read_text())
    assert all(cost["cached"] for cost in again["stages"].values())
    assert {path: path.read_bytes() for path in first} == first
    # Its time needs no estimate.
    assert "times" not in again
    timed = {each["stage"]: each for each in metrics["times"]}
    assert timed["search"]["expected_seconds"] > 0
    assert timed["search"]["seconds"] > 0

    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("optishear").experiment_id])
    (run,) = [each for each in runs if "mlflow.parentRunId" not in each.data.tags]
    assert run.info.status == "FINISHED"
    assert run.data.params["sparsity"] == "0.5"
    assert run.data.params["sequence_length"] == "32"
    assert (run.data.params["dtype"], run.data.params["working_dtype"]) == ("auto", "float32")
    assert run.data.tags["precision"] == f"float32 ({metrics['precision']['reason']})"
    assert run.data.metrics["pruned/perplexity"] == metrics["pruned"]["perplexity"]
    assert run.data.metrics["diagnosis/layer_error/pruned"] == metrics["diagnosis"]["layer_error"]["pruned"]
    assert run.data.metrics["achieved_sparsity"] == metrics["achieved_sparsity"]
    assert run.data.tags["checkpoint"] == str(output / "model")
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {
        "comparison.json",
        "comparison.parquet",
        "diagnosis",
        "figures",
        "metrics.json",
        "recipe.yaml",
        "report.html",
        "trials.parquet",
    }
    assert len(client.get_metric_history(run.info.run_id, "seconds/search")) == 1
    inputs = {each.tags[0].value: each.dataset for each in run.inputs.dataset_inputs}
    assert {context: dataset.name for context, dataset in inputs.items()} == {
        "calibration": "text.txt", "evaluation": "text.txt",
    }  # fmt: skip
    assert all(len(dataset.digest) == 32 for dataset in inputs.values())

    # The model is a version, without a copy, and the champion, since there was none.
    registered = metrics["registered"]
    assert registered == again["registered"]
    assert (registered["name"], registered["version"], registered["champion"]) == ("tiny-llama-0.5", "1", True)
    assert registered["reason"] in shown
    assert run.data.tags["promotion"] == registered["reason"]
    (version,) = client.search_model_versions("name = 'tiny-llama-0.5'")
    assert version.run_id == run.info.run_id
    assert float(version.tags["perplexity"]) == metrics["pruned"]["perplexity"]
    assert version.tags["base_model"] == "tiny-llama"
    assert version.tags["pattern"] == "unstructured"
    assert version.tags["sparsity"] == "0.5"
    checkpoint = Path(version.source.removeprefix("file://"))
    weights = output / "model" / "model.safetensors"
    assert (checkpoint / "model.safetensors").read_bytes() == weights.read_bytes()
    assert not (checkpoint / "model.safetensors").samefile(weights)
    children = {each.info.run_name: each for each in runs if each is not run}
    assert set(children) == {
        "speed", "calibrate", "statistics", "search", "evaluate dense", "evaluate wanda", "prune", "evaluate pruned",
        "diagnose", "report", "footprint dense", "footprint pruned",
    }  # fmt: skip
    assert len(runs) == 1 + len(children)
    for child in children.values():
        assert child.data.tags["mlflow.parentRunId"] == run.info.run_id
        # The second run asks for no speed, since all that takes long is in the store.
        assert child.data.tags["cached"] == ("false" if child.info.run_name == "speed" else "true")
        assert child.data.metrics["seconds"] > 0
    assert children["evaluate pruned"].data.metrics["perplexity"] == metrics["pruned"]["perplexity"]
    assert children["search"].data.params["trials"] == "24"
    best = client.get_metric_history(children["search"].info.run_id, "best/kl/2_sequences")
    trials = pq.read_table(output / "trials.parquet").to_pylist()
    assert min(point.value for point in best) == min(trial["kl"] for trial in trials if trial["sequences"] == 2)
    assert len({point.step for point in best}) == len(best)


def test_compare_searches_with_each_algorithm_and_seed(
    command: Callable[..., None], settings: dict[str, Any], home: Path, tmp_path: Path
) -> None:
    for name in ("evaluation_text", "window_length", "windows", "rounds", "masks_only"):
        settings.pop(name)
    command("compare", "--algorithms", "nsga3,random", "--seeds", "0,1", trials=6)
    compared = pq.read_table(tmp_path / "output" / "algorithms.parquet").to_pylist()
    searches = {(row["algorithm"], row["seed"]) for row in compared}
    assert searches == {("nsga3", 0), ("nsga3", 1), ("random", 0), ("random", 1)}
    for algorithm, seed in searches:
        best = [row["best"] for row in compared if (row["algorithm"], row["seed"]) == (algorithm, seed)]
        assert best == sorted(best, reverse=True)
        assert len(best) == 6
    assert (tmp_path / "output" / "algorithms.png").read_bytes().startswith(b"\x89PNG")
    assert "After 6 trials" in (tmp_path / "output" / "algorithms.html").read_text()
    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("optishear").experiment_id])
    (run,) = [each for each in runs if "mlflow.parentRunId" not in each.data.tags]
    assert "nsga3/seed_1/kl" in run.data.metrics
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {
        "algorithms.html", "algorithms.parquet", "figures",
    }  # fmt: skip


def cached(output: Path) -> dict[str, bool]:
    stages = json.loads((output / "metrics.json").read_text())["stages"]
    return {name: cost["cached"] for name, cost in stages.items()}


def test_a_change_computes_what_follows_from_it(command: Callable[..., None], home: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    command("run", "--sparsity", "2:4")
    model = AutoModelForCausalLM.from_pretrained(output / "model")
    groups = model.model.layers[0].mlp.down_proj.weight.reshape(-1, 4)
    assert ((groups == 0).sum(dim=1) == 2).all()

    command("run", "--sparsity", "2:4", "--windows", "2")
    assert cached(output) == {
        "calibrate": True,
        "statistics": True,
        "search": True,
        "prune": True,
        "diagnose": True,
        "evaluate": False,
        "footprint": True,
    }
    (artifact,) = (home / "artifacts" / "statistics").glob("[!.]*")
    (artifact / "statistics.parquet").unlink()
    command("run", "--sparsity", "2:4", "--windows", "2", "--no-footprint")
    assert json.loads((output / "metrics.json").read_text())["pruned"]["footprint"] == {}
    assert cached(output) == {
        "calibrate": True,
        "statistics": False,
        "search": True,
        "prune": True,
        "diagnose": True,
        "evaluate": True,
    }


def test_reconstruction_is_a_stage_after_the_masks(
    command: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "output"
    flags = ["--sparsity", "2:4", "--reconstruction", "admm", "--tuning-steps", "3"]
    command("run", *flags, trials=4, masks_only=False, recovery=False)
    metrics = json.loads((output / "metrics.json").read_text())
    assert set(metrics["stages"]) >= {"prune", "reconstruct"}
    assert metrics["achieved_sparsity"] == metrics["pruned"]["sparsity"] == metrics["masked"]["sparsity"] == 0.5
    assert metrics["pruned"]["perplexity"] != metrics["masked"]["perplexity"]
    assert 0 < metrics["reconstruction"]["mean_layer_error"] < 1
    assert set(metrics["diagnosis"]["layer_error"]) == {"wanda", "masked", "pruned"}
    model = AutoModelForCausalLM.from_pretrained(output / "model")
    assert ((model.model.layers[0].mlp.down_proj.weight.reshape(-1, 4) == 0).sum(dim=1) == 2).all()
    for name in ("report.html", "model/README.md"):
        assert "ADMM and conjugate gradients" in (output / name).read_text()
    command("run", *flags, trials=4, masks_only=False, recovery=False)
    assert all(cached(output).values())
    command("run", *flags, "--tuning-steps", "0", trials=4, masks_only=False, recovery=False)
    assert not cached(output)["reconstruct"]
    assert cached(output)["prune"]


def test_sparsegpt_is_made_by_its_own_procedure_on_the_same_calibration(
    command: Callable[..., None],
    settings: dict[str, Any],
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "output"
    flags = ["--sparsity", "0.5", "--reconstruction", "admm", "--reconstruction-damping", "0.2"]
    command("run", *flags, trials=4, masks_only=False, recovery=False, footprint=False)
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["parameters"]["compare_sparsegpt"] is True
    models = ["dense", "wanda", "sparsegpt", "pruned"]
    for name in models[1:]:
        assert metrics[name]["sparsity"] == pytest.approx(0.5, abs=0.001)
    assert list(dict.fromkeys(pq.read_table(output / "comparison.parquet").column("model").to_pylist())) == models

    # The same weights as the library's, from the same token blocks.
    dense = AutoModelForCausalLM.from_pretrained(settings["model"])
    calibration = CalibrationSet.load(output / "calibration.parquet")
    by_sparsegpt = read_parameters(ReconstructionParameters, {"reconstruction": "sparsegpt"})
    reconstruct(dense, named_recipe("wanda", "0.5"), None, calibration, by_sparsegpt)
    checkpoints = [
        AutoModelForCausalLM.from_pretrained(folder / "model").state_dict()
        for folder in (home / "artifacts" / "reconstruct").glob("[!.]*")
    ]
    assert len(checkpoints) == 2
    assert (
        sum(all(torch.equal(made[name], weight) for name, weight in dense.state_dict().items()) for made in checkpoints)
        == 1
    )

    # What each took, from the stages behind it.
    stages = {name: cost["seconds"] for name, cost in metrics["stages"].items()}
    seconds = metrics["making_seconds"]
    assert seconds["sparsegpt"] == stages["sparsegpt"]
    assert seconds["wanda"] == pytest.approx(stages["statistics"] + metrics["wanda"]["masking_seconds"], abs=0.002)
    ours = stages["statistics"] + stages["search"] + stages["reconstruct"]
    assert seconds["pruned"] == pytest.approx(ours, abs=0.002)
    shown = capsys.readouterr().out
    assert "| SparseGPT |" in shown
    assert "time to make it" in shown
    assert "SparseGPT" in (output / "report.html").read_text()

    # Its artifact does not depend on the run's own reconstruction.
    command(
        "run", *flags, "--reconstruction-damping", "0.3", trials=4, masks_only=False, recovery=False, footprint=False
    )
    assert cached(output)["sparsegpt"]
    assert not cached(output)["reconstruct"]


def test_masks_alone_are_compared_with_sparsegpt_only_when_asked(command: Callable[..., None], tmp_path: Path) -> None:
    output = tmp_path / "output"
    command("run", "--sparsity", "2:4", trials=4, footprint=False)
    assert "sparsegpt" not in json.loads((output / "metrics.json").read_text())
    command("run", "--sparsity", "2:4", "--compare-sparsegpt", trials=4, footprint=False)
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["sparsegpt"]["sparsity"] == metrics["pruned"]["sparsity"] == 0.5
    assert {name for name, found in cached(output).items() if not found} == {"sparsegpt", "evaluate"}
    stages = {name: cost["seconds"] for name, cost in metrics["stages"].items()}
    ours = stages["statistics"] + stages["search"] + stages["prune"]
    assert metrics["making_seconds"]["pruned"] == pytest.approx(ours, abs=0.002)


def test_recovery_is_a_stage_after_the_reconstruction(
    command: Callable[..., None], home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "output"
    flags = ["--sparsity", "2:4", "--reconstruction", "admm", "--recovery-tokens", "4096", "--recovery-rate", "0.01"]
    command("run", *flags, trials=4, masks_only=False)
    metrics = json.loads((output / "metrics.json").read_text())
    assert set(metrics["stages"]) >= {"prune", "reconstruct", "recover"}
    recovery = metrics["recovery"]
    assert recovery["tokens"] == 4096
    assert recovery["after"] < recovery["before"]
    perplexities = [metrics[name]["perplexity"] for name in ("masked", "reconstructed", "pruned")]
    assert len(set(perplexities)) == 3
    assert metrics["pruned"]["sparsity"] == metrics["reconstructed"]["sparsity"] == 0.5
    model = AutoModelForCausalLM.from_pretrained(output / "model")
    assert ((model.model.layers[0].mlp.down_proj.weight.reshape(-1, 4) == 0).sum(dim=1) == 2).all()
    for name in ("report.html", "model/README.md"):
        assert "4,096 tokens" in (output / name).read_text()
    assert "held-out divergence" in capsys.readouterr().err
    assert not list((home / "recoveries").iterdir())
    command("run", *flags, trials=4, masks_only=False)
    assert all(cached(output).values())


def test_a_time_is_all_that_a_run_needs(
    command: Callable[..., None], settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "output"
    parts = {"masks_only": False, "footprint": False, "recovery_budget": "2s"}
    command("run", "--time", "60s", trials=4, **parts)
    metrics = json.loads((output / "metrics.json").read_text())
    assert set(metrics["stages"]) >= {"search", "prune", "reconstruct", "recover"}
    given = metrics["parameters"]
    assert (given["time"], given["reconstruction"], given["recovery_budget"]) == ("60s", "admm", "2s")
    assert given["budget"] is None  # trials were given
    log = capsys.readouterr().err
    assert "Time 60s:" in log
    assert "--time 8h" in log
    assert "What each part brought" in (output / "report.html").read_text()
    command("run", "--time", "60s", trials=4, **parts)
    assert all(cached(output).values())


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--time", "59s"], "The time 59s is too short for a run; give at least 60s, or masks_only with trials."),
        (["--masks-only", "--reconstruction", "admm"], "With masks_only nothing is reconstructed, but reconstruction"),
        (["--masks-only", "--tuning-steps", "3"], "With masks_only nothing is reconstructed, but tuning_steps"),
        (["--masks-only", "--recovery-tokens", "9"], "With masks_only nothing is recovered, but recovery_tokens"),
        (["--no-recovery", "--recovery-budget", "9s"], "With recovery off nothing is recovered, but recovery_budget"),
    ],
)
@pytest.mark.parametrize("name", ["run", "sweep"])
def test_a_time_that_cannot_be_kept_is_one_sentence(
    name: str, flags: list[str], sentence: str, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--model", str(model_folder), "--output", str(tmp_path / "refused"), *flags])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"Error: {sentence}")


def test_each_stage_is_a_command(
    command: Callable[..., None], settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def names(folder: str) -> set[str]:
        return {path.name for path in (tmp_path / folder).iterdir()} - {RECORD}

    flags = [
        "--model", settings["model"], "--calibration", settings["calibration"],
        "--sequences", "4", "--sequence-length", "32",
    ]  # fmt: skip
    main(["calibrate", *flags, "--output", str(tmp_path / "calibrated")])
    assert names("calibrated") == {"calibration.parquet"}
    main(["statistics", *flags, "--output", str(tmp_path / "observed")])
    assert names("observed") == {"calibration.parquet", "statistics.parquet"}
    search = ["--trials", "12", "--population", "4", "--rounds", "1", "--search-sequences", "2"]
    main(["search", *flags, *search, "--sparsity", "0.4", "--output", str(tmp_path / "found")])
    assert names("found") == {"calibration.parquet", "statistics.parquet", "trials.parquet", "recipe.yaml", "front"}
    recipe = tmp_path / "found" / "recipe.yaml"
    assert str(Recipe.load(recipe).sparsity) == "0.4"
    main(["prune", *flags, "--recipe", str(recipe), "--output", str(tmp_path / "pruned")])
    assert names("pruned") == {"calibration.parquet", "statistics.parquet", "recipe.yaml", "model"}
    windows = ["--evaluation-text", settings["evaluation_text"], "--window-length", "64", "--windows", "2"]
    again = ["--recipe", str(recipe), "--reconstruction", "sparsegpt", "--output", str(tmp_path / "rebuilt")]
    main(["prune", *flags, *again])
    assert names("rebuilt") == names("pruned")
    assert "SparseGPT" in (tmp_path / "rebuilt" / "model" / "README.md").read_text()
    main(["evaluate", *windows, "--model", str(tmp_path / "pruned" / "model"), "--output", str(tmp_path / "evaluated")])
    evaluation = json.loads((tmp_path / "evaluated" / "metrics.json").read_text())["evaluation"]
    assert evaluation["sparsity"] == pytest.approx(0.4, abs=0.002)
    main(["transfer", *flags, *windows, "--recipe", str(recipe), "--output", str(tmp_path / "transferred")])
    assert names("transferred") == {*CONTRACT} - {RECORD, "trials.parquet", "front"}
    transferred = json.loads((tmp_path / "transferred" / "metrics.json").read_text())
    assert transferred["pruned"]["perplexity"] == evaluation["perplexity"]


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    path = tmp_path / "empty.txt"
    path.touch()
    return path


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "{tmp}/nowhere.gguf"}, "nowhere.gguf"),
        ({"model": "nobody/no-such-model"}, "nobody/no-such-model"),
        ({"sparsity": "1.0"}, "The sparsity '1.0'"),
        ({"sparsity": "-0.1"}, "The sparsity '-0.1'"),
        ({"sparsity": "4:2"}, "N:M needs 0 < N < M"),
        ({"permute_channels": True}, "the order of channels changes nothing at sparsity 0.5"),
        ({"sparsity": "2:5"}, "The pattern 2:5 does not divide the 32 inputs of model.layers.0"),
        ({"calibration": "{tmp}/empty.txt"}, "empty.txt"),
        ({"calibration": "{tmp}/missing.txt"}, "missing.txt"),
        ({"sequences": 100000}, "100000"),
        ({"evaluation_text": "{tmp}/missing.txt"}, "missing.txt"),
        ({"tasks": ["no_such_task"]}, "no_such_task"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"output": "{tmp}/empty.txt/output"}, "cannot be written"),
        ({"tracking_uri": "nowhere://"}, "cannot be used"),
        ({"champion_max_task_drop": 1}, "no tasks are evaluated; give tasks or a suite"),
        (
            {"masks_only": False, "reconstruction": "admm", "reconstruction_sequences": 999},
            "reconstruction_sequences is 999, but there are",
        ),
        ({"reconstructed_finalists": 2}, "but nothing is reconstructed afterwards; set reconstruction"),
        (
            {"masks_only": False, "reconstructed_finalists": 2, "reconstruction": "admm", "sequences": 2},
            "no sequences are left to fit",
        ),
        ({"trails": 3}, "There is no parameter 'trails'"),
        ({"dtype": "int8"}, "int8"),
        ({"dtype": "float8"}, "float8"),
    ],
    ids=lambda value: next(iter(value)) + str(next(iter(value.values())))[-16:] if isinstance(value, dict) else "",
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    changes: dict[str, Any],
    sentence: str,
    command: Callable[..., None],
    empty: Path,
    home: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    placed = {
        key: value.replace("{tmp}", str(tmp_path)) if isinstance(value, str) else value
        for key, value in changes.items()
    }
    with pytest.raises(SystemExit) as caught:
        command("run", **placed)
    assert caught.value.code == 2
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("Error:")]
    assert len(told) == 1
    assert sentence in told[0]
    assert told[0].endswith((".", "?"))
    assert not (tmp_path / "output").exists()
    assert not list(home.glob("artifacts/*/[!.]*"))


def test_a_float16_that_overflows_is_one_sentence(
    command: Callable[..., None], home: Path, tmp_path: Path, tiny_tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.fill_(60000.0)
    model.half().save_pretrained(tmp_path / "overflowing")
    tiny_tokenizer.save_pretrained(tmp_path / "overflowing")
    with pytest.raises(SystemExit) as caught:
        command("run", model=str(tmp_path / "overflowing"), dtype="float16")
    assert caught.value.code == 2
    assert "not finite in float16" in capsys.readouterr().err
    assert not (tmp_path / "output").exists()
    assert not list((home / "artifacts").glob("s*/[!.]*"))  # neither speed nor statistics nor a search


def test_a_model_without_prunable_layers_is_one_sentence(
    command: Callable[..., None], tmp_path: Path, tiny_tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path / "no-layers"
    config = LlamaConfig(vocab_size=128, hidden_size=32, num_hidden_layers=0, num_attention_heads=2)
    LlamaForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    with pytest.raises(SystemExit) as caught:
        command("run", model=str(folder))
    assert caught.value.code == 2
    assert "has no prunable layers" in capsys.readouterr().err
    assert not (tmp_path / "output").exists()


def test_a_recipe_file_brings_its_own_sparsity(
    command: Callable[..., None], settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from optishear.recipes.recipe import named_recipe

    named_recipe("wanda", 0.3).save(tmp_path / "recipe.yaml")
    with pytest.raises(SystemExit):
        main(
            ["prune", "--model", settings["model"], "--recipe", str(tmp_path / "recipe.yaml"), "--sparsity", "0.5",
             "--output", settings["output"]]
        )  # fmt: skip
    assert "is for the sparsity 0.3, not 0.5" in capsys.readouterr().err


def test_export_packs_and_goes_back(
    home: Path, model_folder: Path, text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    halve(model_folder)
    packed, dense = tmp_path / "packed", tmp_path / "dense"
    for _ in range(2):  # the second time over what the first has laid out
        main(["export", "--model", str(model_folder), "--format", "bitmask", "--output", str(packed)])
    assert "bitmask: 59.1 KiB" in capsys.readouterr().out
    main(["export", "--model", str(packed / "model"), "--format", "dense", "--output", str(dense)])
    assert {path.name for path in dense.iterdir()} == {RECORD, "model"}
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (dense / "model" / name).read_bytes() == (model_folder / name).read_bytes()
    assert (packed / "model" / "bitmask.safetensors").stat().st_size < (
        model_folder / "model.safetensors"
    ).stat().st_size

    # Every command takes it as it takes the dense one.
    evaluations = []
    for folder in (model_folder, packed / "model"):
        main(
            ["evaluate", "--model", str(folder), "--evaluation-text", str(text_file), "--window-length", "64",
             "--windows", "2", "--output", str(tmp_path / "evaluated")]
        )  # fmt: skip
        evaluations.append(json.loads((tmp_path / "evaluated" / "metrics.json").read_text())["evaluation"])
    assert evaluations[0]["footprint"].keys() == evaluations[1]["footprint"].keys() == {"dense", "bitmask"}
    for each in evaluations:
        footprint = each.pop("footprint")
        assert footprint["bitmask"]["disk_bytes"] == (packed / "model" / "bitmask.safetensors").stat().st_size
        assert footprint["dense"]["disk_bytes"] == (model_folder / "model.safetensors").stat().st_size
    assert evaluations[0] == evaluations[1]
    assert evaluations[0]["sparsity"] == 0.5


GENERATED = re.compile(r"^(\d+) tokens, [\d.]+ tokens/s, ([\d.]+) KiB of weights in memory, (\d+) sparse layers$", re.M)


def generated(capsys: pytest.CaptureFixture[str], folder: Path, *flags: str) -> tuple[str, int, float, int]:
    """The text that a model writes, its tokens, the KiB of weights in memory, and the sparse layers."""
    main(
        ["generate", "--model", str(folder), "--prompt", "the rest", "--new-tokens", "12", "--device", "cpu", *flags]
    )  # fmt: skip
    said = capsys.readouterr()
    told = GENERATED.search(said.err)
    assert told is not None
    return said.out, int(told[1]), float(told[2]), int(told[3])


def test_generate_continues_a_text_and_says_what_that_took(
    model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, tokens, kibibytes, sparse = generated(capsys, model_folder)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    prompt = tokenizer("the rest", return_tensors="pt").input_ids
    expected = model.generate(prompt, max_new_tokens=12, do_sample=False)[0, prompt.shape[1] :]
    assert text == "the rest" + tokenizer.decode(expected, skip_special_tokens=True) + "\n"
    assert tokens == len(expected)
    assert kibibytes == pytest.approx(memory_bytes(model) / 1024, rel=0.01)
    assert sparse == 0


def test_generate_writes_the_same_text_on_packed_layers(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if best_kernel() is None:
        pytest.skip("no sparse kernel for this processor, or no compiler")
    halve(model_folder)
    main(["export", "--model", str(model_folder), "--format", "bitmask", "--output", str(tmp_path / "packed")])
    capsys.readouterr()

    expected = generated(capsys, model_folder, "--no-sparse-layers")
    assert expected[1] > 2
    assert expected[3] == 0
    for folder in (model_folder, tmp_path / "packed" / "model"):
        text, tokens, kibibytes, sparse = generated(capsys, folder)
        assert (text, tokens) == expected[:2]
        assert kibibytes < 0.75 * expected[2]
        assert sparse == 14


def test_an_export_never_replaces_what_it_reads(
    model_folder: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "output").mkdir()
    model_folder.rename(tmp_path / "output" / "model")
    with pytest.raises(SystemExit) as caught:
        main(["export", "--model", str(tmp_path / "output" / "model"), "--output", str(tmp_path / "output")])
    assert caught.value.code == 2
    assert "which is read" in capsys.readouterr().err
    assert (tmp_path / "output" / "model" / "model.safetensors").is_file()
