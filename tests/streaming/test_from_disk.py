"""A model on disk gives the statistics and the pruned checkpoint of one in memory, to the byte."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.modeling_utils import PreTrainedModel

from families.families import family_model
from optishear.formats.stored import open_checkpoint
from optishear.models.load import load_model
from optishear.parameters.read import read_parameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.pruning.apply import apply_recipe
from optishear.pruning.checkpoint import save_checkpoint
from optishear.recipes.recipe import named_recipe
from optishear.reconstruction.reconstruct import reconstruct
from optishear.statistics.collect import collect_statistics
from optishear.statistics.statistics import Statistics
from optishear.streaming import pruned_files
from optishear.streaming.disk_model import FAMILIES, DiskModel
from optishear.streaming.hidden_states import each_block
from optishear.streaming.prune import prune_on_disk, reconstruct_on_disk
from optishear.streaming.statistics import statistics_from_disk
from tiny import make_tokenizer, random_calibration
from wording import refused

# The last batch is smaller than the others.
CALIBRATION = random_calibration(sequences=6, length=16)
METHODS: Mapping[str, Mapping[str, Any]] = {
    "admm": {"reconstruction": "admm", "reconstruction_iterations": 3},
    "sparsegpt": {"reconstruction": "sparsegpt"},
    "tuning": {"reconstruction": "admm", "reconstruction_iterations": 3, "tuning_steps": 2},
}


def write(folder: Path, model_type: str, dtype: torch.dtype = torch.float32, **how: str) -> str:
    model: PreTrainedModel = family_model(model_type)
    model.to(dtype).save_pretrained(folder, **how)
    make_tokenizer().save_pretrained(folder)
    return str(folder)


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("model*")}


@dataclass(frozen=True)
class Case:
    """A dense checkpoint, and how it is pruned."""

    model: str
    folder: Path
    dtype: Any = "float32"
    sparsity: str = "0.5"
    reconstruction: Mapping[str, Any] | None = None

    def in_memory(self) -> tuple[Statistics, Any, dict[str, bytes]]:
        """Statistics, summary, and weight files."""
        loaded = load_model(self.model, dtype=self.dtype, device="cpu")
        statistics = collect_statistics(loaded.model, CALIBRATION, progress=False)
        recipe = named_recipe("wanda", self.sparsity)
        summary: Any
        if self.reconstruction is None:
            summary = apply_recipe(loaded.model, recipe, statistics)
        else:
            parameters = read_parameters(ReconstructionParameters, self.reconstruction)
            summary = reconstruct(loaded.model, recipe, statistics, CALIBRATION, parameters)
        save_checkpoint(self.folder / "memory", loaded.model, loaded.tokenizer, recipe)
        return statistics, summary, weights(self.folder / "memory")

    def on_disk(self) -> tuple[Statistics, Any, dict[str, bytes]]:
        """The same."""
        disk = DiskModel(self.model, self.dtype)
        statistics = statistics_from_disk(disk, CALIBRATION, progress=False)
        recipe, output = named_recipe("wanda", self.sparsity), self.folder / "disk"
        output.mkdir()
        summary: Any
        if self.reconstruction is None:
            summary = prune_on_disk(disk, recipe, statistics, output)
        else:
            parameters = read_parameters(ReconstructionParameters, self.reconstruction)
            summary = reconstruct_on_disk(disk, recipe, statistics, CALIBRATION, parameters, output)
        assert all(disk.model.get_parameter(name).is_meta for index in range(2) for name in disk.inside(index))
        return statistics, summary, weights(output)


def assert_same(case: Case) -> None:
    (expected, summary, files), (found, summary_found, files_found) = case.in_memory(), case.on_disk()
    assert found.tokens == expected.tokens
    assert list(found.squared_norms) == list(expected.squared_norms)
    for name, norms in expected.squared_norms.items():
        assert torch.equal(norms, found.squared_norms[name]), name
    assert summary_found == summary
    assert files_found == files


@pytest.mark.parametrize("model_type", FAMILIES)
def test_every_family_gives_what_it_gives_in_memory(model_type: str, tmp_path: Path) -> None:
    assert_same(Case(write(tmp_path / "dense", model_type), tmp_path))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model_type", ["qwen2", "mixtral"])
def test_a_reconstruction_is_that_in_memory(model_type: str, method: str, tmp_path: Path) -> None:
    assert_same(Case(write(tmp_path / "dense", model_type), tmp_path, reconstruction=METHODS[method]))


@pytest.mark.parametrize("sparsity", ["0.6", "2:4"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
def test_numbers_are_stored_in_the_dtype_of_the_dense_checkpoint(
    stored: torch.dtype, dtype: str, sparsity: str, tmp_path: Path
) -> None:
    assert_same(Case(write(tmp_path / "dense", "llama", stored), tmp_path, dtype, sparsity))


def test_a_checkpoint_in_many_files_is_read_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write(tmp_path / "dense", "mixtral", max_shard_size="20kB")
    assert len(list((tmp_path / "dense").glob("*.safetensors"))) > 4
    case = Case(model, tmp_path)
    expected = case.in_memory()[2]["model.safetensors"]
    monkeypatch.setattr(pruned_files, "_LARGEST", "20kB")
    case.on_disk()
    assert len(list((tmp_path / "disk").glob("*.safetensors"))) > 4
    (tmp_path / "memory" / "model.safetensors").write_bytes(expected)
    whole, parts = (open_checkpoint(tmp_path / each).tensors for each in ("memory", "disk"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(tensor.read(), parts[name].read()) for name, tensor in whole.items())


def test_one_block_at_a_time_is_in_memory(tmp_path: Path) -> None:
    disk = DiskModel(write(tmp_path / "dense", "llama"), "float32")
    in_memory = []
    for index, run in each_block(disk, list(CALIBRATION.tokens.split(4))):
        run(lambda: None)
        in_memory.append([not next(block.parameters()).is_meta for block in disk.blocks])
        assert in_memory[-1] == [number == index for number in range(len(disk.blocks))]
    assert len(in_memory) == 2


def test_a_family_whose_blocks_are_not_known_to_run_alone_is_refused(tmp_path: Path) -> None:
    with refused("'gemma3n_text'", "from disk", "another device"):
        DiskModel(write(tmp_path / "dense", "gemma3n_text"), "float32")


def test_float16_is_refused(tmp_path: Path) -> None:
    with refused("float16", "bfloat16"):
        DiskModel(write(tmp_path / "dense", "llama"), "float16")


def test_a_weight_that_is_not_finite_is_named_when_its_block_is_read(tmp_path: Path) -> None:
    model = family_model("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = torch.nan
    model.save_pretrained(tmp_path / "dense")
    make_tokenizer().save_pretrained(tmp_path / "dense")
    disk = DiskModel(str(tmp_path / "dense"), "float32")
    with refused("mlp.up_proj.weight", "float32"):
        statistics_from_disk(disk, CALIBRATION, progress=False)


def test_a_recipe_that_reorders_channels_is_refused(tmp_path: Path) -> None:
    disk = DiskModel(write(tmp_path / "dense", "llama"), "float32")
    statistics = statistics_from_disk(disk, CALIBRATION, progress=False)
    recipe = named_recipe("wanda", "2:4").model_copy(update={"permute_channels": True})
    with refused("permute_channels", "another device"):
        prune_on_disk(disk, recipe, statistics, tmp_path)
