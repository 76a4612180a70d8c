"""The command ``prune`` on a mixture of experts, and on chosen layers: what its card says, recounted."""

import re
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny_checkpoint import write_tiny_checkpoint

from flows.command_line.main import main
from optishear.recipes.recipe import Recipe
from wording import numbers_in

pytestmark = [pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def mixtral(tmp_path: Path) -> Path:
    write_tiny_checkpoint("mixtral", tmp_path / "mixtral")
    return tmp_path / "mixtral"


def prune(model: Path, text: Path, output: Path, *flags: str) -> None:
    main(
        ["prune", "--model", str(model), "--sparsity", "0.5", "--calibration", str(text), "--sequences", "8",
         "--sequence-length", "64", "--device", "cpu", "--output", str(output), *flags]
    )  # fmt: skip


def recount(model: Path) -> dict[str, tuple[int, int]]:
    """Zeros and numbers of each matrix of the decoder layers, from the files alone."""
    tensors = {key: value for file in model.glob("*.safetensors") for key, value in load_file(file).items()}
    return {
        key: (int((value == 0).sum()), value.numel())
        for key, value in tensors.items()
        if ".layers." in key and value.ndim >= 2
    }


def share(counts: list[tuple[int, int]]) -> float:
    return 100 * sum(zeros for zeros, _ in counts) / sum(size for _, size in counts)


def test_the_card_of_a_mixture_of_experts_says_what_a_recount_finds(
    mixtral: Path, text_file: Path, tmp_path: Path
) -> None:
    prune(mixtral, text_file, tmp_path / "pruned")

    counts = recount(tmp_path / "pruned" / "model")
    card = (tmp_path / "pruned" / "model" / "README.md").read_text()
    routers = [key for key, (zeros, _) in counts.items() if zeros == 0]
    pruned = [count for count in counts.values() if count[0]]
    (coverage,) = re.findall(r"- Coverage: (.*)", card)
    (achieved,) = re.findall(r"- Achieved sparsity: (.*)", card)
    total = sum(size for _, size in counts.values())
    assert [key for key in counts if ".gate." in key] == routers
    assert len(routers) == 2
    assert all(zeros * 2 == size for zeros, size in pruned)
    assert numbers_in(coverage) == pytest.approx(
        [
            100 * sum(size for _, size in pruned) / total,
            100 * sum(counts[key][1] for key in routers) / total,
            share(list(counts.values())),
        ],
        abs=0.005,
    )
    assert "mlp.gate.weight" in coverage
    assert numbers_in(achieved)[0] == share(pruned) == 50


def test_exclude_leaves_layers_dense_and_says_so_before_anything_is_computed(
    mixtral: Path, text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prune(mixtral, text_file, tmp_path / "pruned", "--exclude", "*.down_proj,self_attn.[qk]_proj")

    counts = recount(tmp_path / "pruned" / "model")
    down = [key for key in counts if "q_proj" in key or "k_proj" in key or ".w2." in key or "down_proj" in key]
    assert len(down) >= 6
    assert [key for key, (zeros, _) in counts.items() if not zeros and ".gate." not in key] == down
    assert all(2 * zeros == size for key, (zeros, size) in counts.items() if "v_proj" in key or "o_proj" in key)
    recipe = Recipe.load(tmp_path / "pruned" / "recipe.yaml")
    assert recipe.exclude == ["*.down_proj", "self_attn.[qk]_proj"]
    card = (tmp_path / "pruned" / "model" / "README.md").read_text()
    assert "mlp.experts.down_proj (" in card
    before, _, _ = capsys.readouterr().err.partition("calibrate: started")
    assert "mlp.experts.down_proj (8)" in before


def test_a_recipe_keeps_its_layers(mixtral: Path, text_file: Path, tmp_path: Path) -> None:
    prune(mixtral, text_file, tmp_path / "first", "--include", "self_attn.*")
    recipe = tmp_path / "first" / "recipe.yaml"

    prune(mixtral, text_file, tmp_path / "second", "--recipe", str(recipe))

    assert recount(tmp_path / "second" / "model") == recount(tmp_path / "first" / "model")


@pytest.mark.parametrize("model_type", ["minimax", "rwkv"])
def test_a_family_that_cannot_write_its_own_text_is_refused_before_it_is_loaded(
    tmp_path: Path, model_type: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_checkpoint(model_type, tmp_path / model_type)
    monkeypatch.setattr("optishear.models.load._weights", lambda *_: pytest.fail("loaded"))

    with pytest.raises(SystemExit) as stopped:
        main(
            [
                "prune",
                "--model",
                str(tmp_path / model_type),
                "--sequence-length",
                "64",
                "--output",
                str(tmp_path / "out"),
            ]
        )

    assert stopped.value.code == 2
    assert repr(model_type) in capsys.readouterr().err


@pytest.mark.parametrize("flags", [("--include", "mlp.gate_proj"), ("--exclude", "*")])
def test_patterns_that_choose_nothing_end_the_command(
    mixtral: Path, text_file: Path, tmp_path: Path, flags: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        prune(mixtral, text_file, tmp_path / "pruned", *flags)

    assert stopped.value.code == 2
    assert repr(flags[1]) in capsys.readouterr().err
    assert not (tmp_path / "pruned" / "model").exists()


@pytest.mark.parametrize("method", ["none", "admm"])
def test_a_model_on_disk_gives_the_files_of_one_in_memory(
    mixtral: Path, text_file: Path, tmp_path: Path, home: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def files(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(folder.rglob("[!.]*")) if path.is_file()}

    prune(mixtral, text_file, tmp_path / "memory", "--reconstruction", method)
    shutil.copytree(home, tmp_path / "other")
    shutil.rmtree(tmp_path / "other" / "artifacts")
    monkeypatch.setenv("OPTISHEAR_HOME", str(tmp_path / "other"))
    monkeypatch.setattr("optishear.models.load._weights", lambda *_: pytest.fail("loaded"))

    prune(mixtral, text_file, tmp_path / "disk", "--device", "disk", "--reconstruction", method)

    expected, found = files(tmp_path / "memory"), files(tmp_path / "disk")
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


def test_what_needs_the_whole_model_is_refused_on_disk(
    mixtral: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        prune(mixtral, Path("self"), tmp_path / "pruned", "--device", "disk")

    assert stopped.value.code == 2
    assert "The device 'disk' is for" in capsys.readouterr().err
