"""Checkpoints of several families, packed and back."""

import json
import os
import re
import weakref
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast
from transformers.modeling_utils import PreTrainedModel

from optishear.errors import InputError
from optishear.formats.stored import StoredTensor, open_checkpoint, stored_format
from optishear.models.coverage import Coverage
from optishear.models.layers import prunable_layers
from optishear.models.load import load_model
from optishear.models.source import ModelSource
from optishear.pruning.card import model_card
from optishear.pruning.checkpoint import measured_sparsity, save_checkpoint
from optishear.pruning.export import export_checkpoint
from optishear.recipes.recipe import named_recipe
from wording import refused


def prune_randomly(model: PreTrainedModel, share: float = 0.5) -> None:
    """Set about this share of the prunable weights to zero, and some to numbers that are easily lost."""
    torch.manual_seed(1)
    with torch.no_grad():
        for layer in prunable_layers(model):
            weight = layer.module.weight
            weight.masked_fill_(torch.rand_like(weight, dtype=torch.float32) < share, 0)
            weight[0, :3] = torch.tensor([-0.0, 3e38, 1e-40])


def prune_groups(model: PreTrainedModel) -> None:
    """Keep the two largest of each four."""
    with torch.no_grad():
        for layer in prunable_layers(model):
            groups = layer.module.weight.view(-1, 4)
            groups.scatter_(1, groups.abs().argsort(dim=1)[:, :2], 0)


def same_bits(first: Tensor, second: Tensor) -> bool:
    integer = {2: torch.int16, 4: torch.int32}[first.dtype.itemsize]
    return first.dtype == second.dtype and torch.equal(first.view(integer), second.view(integer))


def assert_same(first: PreTrainedModel, second: PreTrainedModel) -> None:
    expected, found = first.state_dict(), second.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert same_bits(tensor, found[name]), name


@pytest.fixture
def dense(tmp_path: Path, family_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> Path:
    """A pruned bfloat16 checkpoint of every family."""
    prune_randomly(family_model.to(torch.bfloat16))
    family_model.save_pretrained(tmp_path / "dense")
    tiny_tokenizer.save_pretrained(tmp_path / "dense")
    return tmp_path / "dense"


def test_packed_and_back_is_the_same_file(tmp_path: Path, dense: Path) -> None:
    export_checkpoint(dense, tmp_path / "packed", "bitmask")
    export_checkpoint(tmp_path / "packed", tmp_path / "again", "dense")

    assert stored_format(tmp_path / "packed") == "bitmask"
    assert {file.name for file in (tmp_path / "again").iterdir()} == {file.name for file in dense.iterdir()}
    for file in dense.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name


def test_the_loader_gives_the_very_weights(
    tmp_path: Path, dense: Path, family_model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Some of the weights are so large that the model computes no numbers.
    monkeypatch.setattr("optishear.models.load.check_outputs", lambda *_: None)
    export_checkpoint(dense, tmp_path / "packed", "bitmask")
    loaded = load_model(str(tmp_path / "packed"), dtype="bfloat16", device="cpu")

    assert_same(family_model, loaded.model)
    assert loaded.model.dtype == torch.bfloat16
    assert loaded.tokenizer("the hat").input_ids == AutoTokenizer.from_pretrained(dense)("the hat").input_ids
    assert loaded.source.fingerprint != load_model(str(dense), device="cpu").source.fingerprint


def test_transformers_loads_what_was_exported_as_dense(
    tmp_path: Path, dense: Path, family_model: PreTrainedModel
) -> None:
    export_checkpoint(dense, tmp_path / "packed", "bitmask")
    export_checkpoint(tmp_path / "packed", tmp_path / "again", "dense")

    assert_same(family_model, AutoModelForCausalLM.from_pretrained(tmp_path / "again"))


def test_transformers_refuses_what_is_packed(tmp_path: Path, dense: Path) -> None:
    export_checkpoint(dense, tmp_path / "packed", "bitmask")

    with pytest.raises(OSError, match="no file named"):
        AutoModelForCausalLM.from_pretrained(tmp_path / "packed")


@pytest.mark.parametrize("prune", [prune_randomly, prune_groups])
def test_a_pruned_layer_takes_at_most_0_58_of_its_bytes(
    tmp_path: Path, family_model: PreTrainedModel, prune: object
) -> None:
    assert callable(prune)
    prune(family_model.to(torch.bfloat16))
    family_model.save_pretrained(tmp_path / "dense")
    export_checkpoint(tmp_path / "dense", tmp_path / "packed", "bitmask")

    stored = load_file(tmp_path / "packed" / "bitmask.safetensors")
    layers = prunable_layers(family_model)
    packed = sum(
        tensor.nbytes for layer in layers for name, tensor in stored.items() if name.startswith(f"{layer.name}.weight.")
    )
    assert 0.5 < packed / sum(layer.module.weight.nbytes for layer in layers) <= 0.58


def test_only_what_gets_smaller_is_packed(tmp_path: Path, dense: Path, family_model: PreTrainedModel) -> None:
    export_checkpoint(dense, tmp_path / "packed", "bitmask")

    tensors = open_checkpoint(tmp_path / "packed").tensors
    assert tensors.keys() == open_checkpoint(dense).tensors.keys()
    packed = {name for name, tensor in tensors.items() if tensor.packed_shape is not None}
    assert packed == {f"{layer.name}.weight" for layer in prunable_layers(family_model)}


@pytest.mark.parametrize("packed_first", [False, True])
def test_several_files(tmp_path: Path, family_model: PreTrainedModel, packed_first: bool) -> None:
    prune_randomly(family_model)
    family_model.save_pretrained(tmp_path / "dense", max_shard_size="20KB")
    export_checkpoint(tmp_path / "dense", tmp_path / "packed", "bitmask")
    export_checkpoint(tmp_path / ("packed" if packed_first else "dense"), tmp_path / "again", "dense")

    count = len(list((tmp_path / "dense").glob("*.safetensors")))
    assert count > 1
    assert len(list((tmp_path / "packed").glob("bitmask-*-of-*.safetensors"))) == count
    assert not (tmp_path / "packed" / "model.safetensors.index.json").exists()
    assert_same(family_model, AutoModelForCausalLM.from_pretrained(tmp_path / "again"))
    total = json.loads((tmp_path / "again" / "model.safetensors.index.json").read_text())["metadata"]["total_size"]
    assert total == sum(
        tensor.nbytes for file in (tmp_path / "again").glob("*.safetensors") for tensor in load_file(file).values()
    )


@pytest.fixture
def parts(tmp_path: Path, tiny_llama: PreTrainedModel) -> Path:
    """A folder with a dense and a packed checkpoint, each of several files."""
    tiny_llama.save_pretrained(tmp_path / "dense", max_shard_size="20KB")
    export_checkpoint(tmp_path / "dense", tmp_path / "packed", "bitmask")
    return tmp_path


@pytest.mark.parametrize("place", [0, 1, -1], ids=["first", "second", "last"])
def test_a_file_that_is_missing_is_one_sentence(parts: Path, place: int) -> None:
    for folder, sentence in (
        ("packed", "has no '{}', though other files count"),
        ("dense", "{}', which the checkpoint's index names, is missing"),
    ):
        file = sorted((parts / folder).glob("*-of-*.safetensors"))[place]
        file.unlink()
        with pytest.raises(InputError, match=sentence.format(re.escape(file.name))):
            export_checkpoint(parts / folder, parts / "output", "dense")
        assert not (parts / "output").exists()


def test_files_of_two_packed_checkpoints_are_one_sentence(parts: Path) -> None:
    (file, *_) = sorted((parts / "packed").glob("bitmask-00001-of-*.safetensors"))
    (parts / "packed" / "bitmask-00001-of-00002.safetensors").write_bytes(file.read_bytes())
    with refused("bitmask-00001-of-00002.safetensors"):
        export_checkpoint(parts / "packed", parts / "output", "dense")


def test_files_beside_the_index_are_left_out(tmp_path: Path, tiny_llama: PreTrainedModel) -> None:
    """Some publishers put the same weights beside it a second time, under other names."""
    tiny_llama.save_pretrained(tmp_path / "dense")
    save_file({"other": torch.zeros(4, 4)}, tmp_path / "dense" / "consolidated.safetensors")
    export_checkpoint(tmp_path / "dense", tmp_path / "packed", "bitmask")

    assert "other" not in open_checkpoint(tmp_path / "packed").tensors
    assert [file.name for file in (tmp_path / "packed").glob("*.safetensors")] == ["bitmask.safetensors"]


def test_folders_are_copied_without_weights_and_other_checkpoints(tmp_path: Path, tiny_llama: PreTrainedModel) -> None:
    source = tmp_path / "dense"
    tiny_llama.save_pretrained(source)
    copied = {"additional_chat_templates/tool.jinja", "code/parts/rope.py", "assets/README.md"}
    left_out = {"code/parts/extra.safetensors", "step-5/config.json", "step-5/notes.txt", ".git/HEAD"}
    for name in copied | left_out:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(f"The content of {name}.")
    (source / "circle").symlink_to(source)
    # A folder inside the one that is read is not read while it is written.
    output = source / "packed"
    export_checkpoint(source, output, "bitmask")

    found = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    assert found == copied | {"bitmask.safetensors", "config.json", "generation_config.json"}
    for name in copied:
        assert (output / name).read_text() == f"The content of {name}."


def test_a_named_chat_template_comes_along(
    tmp_path: Path, tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    tiny_tokenizer.chat_template = {"default": "{{ messages[0].content }}", "tool": "use {{ messages[0].content }}"}
    tiny_llama.save_pretrained(tmp_path / "dense")
    tiny_tokenizer.save_pretrained(tmp_path / "dense")
    assert (tmp_path / "dense" / "additional_chat_templates").is_dir()
    export_checkpoint(tmp_path / "dense", tmp_path / "packed", "bitmask")

    tokenizer = load_model(str(tmp_path / "packed"), device="cpu").tokenizer
    message = [{"role": "user", "content": "the hat"}]
    assert tokenizer.apply_chat_template(message, chat_template="tool", tokenize=False) == "use the hat"


def test_a_tied_head_stays_tied(
    tmp_path: Path, tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    save_checkpoint(tmp_path / "dense", tiny_llama, tiny_tokenizer, named_recipe("wanda", 0.5), "")
    export_checkpoint(tmp_path / "dense", tmp_path / "packed", "bitmask")
    model = load_model(str(tmp_path / "packed"), device="cpu").model

    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_loader_converts_the_dtype(
    tmp_path: Path, tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, dtype: str
) -> None:
    tiny_llama.save_pretrained(tmp_path / "dense")
    tiny_tokenizer.save_pretrained(tmp_path / "dense")
    export_checkpoint(tmp_path / "dense", tmp_path / "packed", "bitmask")

    assert_same(
        load_model(str(tmp_path / "dense"), dtype=dtype, device="cpu").model,
        load_model(str(tmp_path / "packed"), dtype=dtype, device="cpu").model,
    )


def test_the_generation_config_is_loaded(
    tmp_path: Path, tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    tiny_llama.generation_config = GenerationConfig(max_new_tokens=7)
    save_checkpoint(tmp_path / "dense", tiny_llama, tiny_tokenizer, named_recipe("wanda", 0.5), "")
    export_checkpoint(tmp_path / "dense", tmp_path / "packed", "bitmask")

    assert load_model(str(tmp_path / "packed"), device="cpu").model.generation_config.max_new_tokens == 7


def test_one_tensor_is_in_memory_at_a_time(tmp_path: Path, dense: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, seen, alive = StoredTensor.read, [], []

    def noting(tensor: StoredTensor) -> Tensor:
        # The one before may still have its name in the caller until this one takes it.
        alive.append(sum(reference() is not None for reference in seen))
        weight = read(tensor)
        seen.append(weakref.ref(weight))
        return weight

    monkeypatch.setattr(StoredTensor, "read", noting)
    export_checkpoint(dense, tmp_path / "packed", "bitmask")
    export_checkpoint(tmp_path / "packed", tmp_path / "again", "dense")

    assert len(alive) == 3 * len(open_checkpoint(dense).tensors)
    assert max(alive) <= 1


def test_tensors_are_aligned(tmp_path: Path, dense: Path) -> None:
    export_checkpoint(dense, tmp_path / "packed", "bitmask")
    for file in (tmp_path / "packed").glob("*.safetensors"):
        data = file.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        assert length % 8 == 0
        header.pop("__metadata__")
        with safe_open(file, framework="pt") as stored:
            for name, place in header.items():
                assert place["data_offsets"][0] % stored.get_tensor(name).dtype.itemsize == 0


def test_the_card_says_how_to_load_it(
    tmp_path: Path, tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    recipe = named_recipe("wanda", 0.5)
    card = model_card(
        ModelSource("tiny", "tiny", "0"),
        recipe,
        achieved_sparsity=0.5,
        sparsity_of_all_matrices=0.5,
        coverage=Coverage(1, 1, {}),
        layers={"a": 0.5},
    )
    save_checkpoint(tmp_path / "dense", tiny_llama, tiny_tokenizer, recipe, card)
    export_checkpoint(tmp_path / "dense", tmp_path / "packed", "bitmask")
    export_checkpoint(tmp_path / "packed", tmp_path / "again", "dense")

    packed = (tmp_path / "packed" / "README.md").read_text()
    assert "optishear.load_model" in packed
    assert "AutoModelForCausalLM.from_pretrained(folder)" not in packed
    assert "as large as the dense model's" not in packed
    assert (tmp_path / "again" / "README.md").read_text() == card


def test_the_measured_sparsity_is_that_of_the_dense_weights(tmp_path: Path, family_model: PreTrainedModel) -> None:
    prune_groups(family_model)
    family_model.save_pretrained(tmp_path / "dense")
    export_checkpoint(tmp_path / "dense", tmp_path / "packed", "bitmask")

    assert measured_sparsity(tmp_path / "packed", family_model).prunable == 0.5


def test_all_may_read_what_the_umask_lets_them(tmp_path: Path, tiny_llama: PreTrainedModel) -> None:
    tiny_llama.save_pretrained(tmp_path / "dense")
    before = os.umask(0o022)
    try:
        export_checkpoint(tmp_path / "dense", tmp_path / "packed", "bitmask")
    finally:
        os.umask(before)

    assert (tmp_path / "packed" / "bitmask.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_damaged_file_is_one_sentence(tmp_path: Path, dense: Path) -> None:
    export_checkpoint(dense, tmp_path / "packed", "bitmask")
    file = tmp_path / "packed" / "bitmask.safetensors"
    file.write_bytes(file.read_bytes()[:-10])

    with pytest.raises(InputError, match=r"bitmask\.safetensors' cannot be read"):
        load_model(str(tmp_path / "packed"), device="cpu")


def test_a_weight_that_is_missing_is_one_sentence(tmp_path: Path, dense: Path) -> None:
    weights = load_file(dense / "model.safetensors")
    weights.pop(next(name for name in weights if "1" in name))
    save_file(weights, dense / "model.safetensors", {"format": "pt"})
    export_checkpoint(dense, tmp_path / "packed", "bitmask")

    with pytest.raises(InputError, match="is not whole"):
        load_model(str(tmp_path / "packed"), device="cpu")


def test_no_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no model\.safetensors"):
        export_checkpoint(tmp_path, tmp_path / "output", "dense")
