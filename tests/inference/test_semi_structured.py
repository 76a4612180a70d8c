"""2:4 layers as semi-structured tensors: on a CPU the conversion, which is what PyTorch has there; on a GPU all."""

import logging

import pytest
import torch
from torch import Tensor, nn
from torch.sparse import SparseSemiStructuredTensorCUTLASS
from torch.sparse import _semi_structured_conversions as conversions
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.modeling_utils import PreTrainedModel

from optishear.inference.decode import decode
from optishear.inference.fast_layers import use_sparse_layers
from optishear.inference.footprint import memory_bytes
from optishear.inference.semi_structured import fits, is_two_of_four, semi_structure, semi_structure_layers
from optishear.models.layers import prunable_layers
from wording import numbers_in

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def two_of_four(rows: int = 64, columns: int = 128, dtype: torch.dtype = torch.bfloat16) -> nn.Linear:
    torch.manual_seed(0)
    linear = nn.Linear(columns, rows, dtype=dtype).requires_grad_(False)
    linear.weight.normal_()
    keep_two_of_four(linear.weight)
    return linear


def keep_two_of_four(weight: Tensor) -> None:
    groups = weight.view(-1, 4)
    groups.scatter_(1, groups.abs().argsort(dim=1)[:, :2], 0)


@pytest.fixture
def model() -> PreTrainedModel:
    """A random Llama of one block, 2:4 pruned, with layers of sizes that the GPU's kernels take."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=128, hidden_size=128, intermediate_size=256, num_hidden_layers=1, num_attention_heads=4
    )
    made: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    made.requires_grad_(False)
    for layer in prunable_layers(made):
        keep_two_of_four(layer.module.weight.normal_(std=0.1))
    return made.eval()


def through_pytorchs_layout(weight: Tensor) -> Tensor:
    """The layout that the GPU's kernels read, and back: the same conversion as to_sparse_semi_structured makes."""
    values, indices = conversions.sparse_semi_structured_from_dense_cutlass(weight)
    assert values.numel() == weight.numel() // 2
    return conversions.sparse_semi_structured_to_dense_cutlass(values, indices)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_pytorchs_layout_holds_our_weights_exactly(dtype: torch.dtype) -> None:
    weight = two_of_four(dtype=dtype).weight.detach()
    weight[0, :8] = 0
    assert torch.equal(through_pytorchs_layout(weight), weight)


def test_a_layer_whose_outputs_agree_is_changed() -> None:
    linear = two_of_four()
    before = linear.weight
    assert semi_structure(linear, through_pytorchs_layout)
    assert linear.weight is not before
    assert torch.equal(linear.weight, before)


@pytest.mark.parametrize("wrong", [lambda weight: weight.roll(1, 0), lambda weight: weight * torch.nan])
def test_a_layer_whose_outputs_differ_stays_dense(wrong: object, caplog: pytest.LogCaptureFixture) -> None:
    assert callable(wrong)
    linear = two_of_four()
    before = linear.weight
    with caplog.at_level(logging.WARNING):
        assert not semi_structure(linear, wrong)
    assert linear.weight is before
    assert "stays dense" in caplog.text


def test_two_of_four_is_seen_by_groups_of_a_row() -> None:
    assert is_two_of_four(torch.tensor([[1.0, 0, 0, 2, 0, 0, 0, 0]]))
    assert not is_two_of_four(torch.tensor([[0.0, 0, 1, 2, 3, 0, 0, 0], [1, 2, 3, 0, 0, 0, 0, 0]]))
    assert not is_two_of_four(torch.ones(2, 6))


def test_what_the_kernels_do_not_take_stays_dense() -> None:
    assert fits(two_of_four().weight)
    assert not fits(two_of_four(dtype=torch.float32).weight)
    assert not fits(two_of_four(rows=33).weight)
    assert not fits(two_of_four(columns=96).weight)
    assert not fits(nn.Linear(128, 64, dtype=torch.bfloat16).weight)
    linear = two_of_four(dtype=torch.float32)
    assert not semi_structure(linear, through_pytorchs_layout)


def test_wording_of_the_one_warning_where_pytorch_has_no_kernel_and_the_model_stays_dense(
    model: PreTrainedModel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's own conversion refuses a CPU, as it does a GPU that has no such kernels."""
    before = {layer.name: layer.module.weight for layer in prunable_layers(model)}
    monkeypatch.setattr(type(model), "device", torch.device("cuda"))
    with caplog.at_level(logging.WARNING):
        assert use_sparse_layers(model) == 0
    (told,) = caplog.messages
    assert told.startswith(f"PyTorch cannot run {len(before)} of the model's 2:4 layers as semi-structured ones")
    assert "Only CUDA tensors are currently supported); they stay dense." in told
    assert all(layer.module.weight is before[layer.name] for layer in prunable_layers(model))


def test_a_layer_that_is_refused_keeps_no_other_from_being_changed(
    model: PreTrainedModel, caplog: pytest.LogCaptureFixture
) -> None:
    def no_wide_ones(weight: Tensor) -> Tensor:
        if weight.shape[1] > 128:
            raise RuntimeError("too wide.\nAnd much more.")
        return through_pytorchs_layout(weight)

    with caplog.at_level(logging.WARNING):
        assert semi_structure_layers(model, no_wide_ones) == len(prunable_layers(model)) - 1
    (warning,) = caplog.messages
    assert numbers_in(warning)[0] == 1
    assert "(too wide)" in warning


def test_memory_is_that_of_what_a_semi_structured_weight_holds() -> None:
    linear = two_of_four()
    dense = linear.weight.nbytes
    values, indices = conversions.sparse_semi_structured_from_dense_cutlass(linear.weight.detach())
    wrapped = SparseSemiStructuredTensorCUTLASS(linear.weight.shape, values, indices, None, None, None)
    linear.weight = nn.Parameter(wrapped, requires_grad=False)
    assert linear.weight.nbytes == dense
    # Of each four weights two are stored, and an index of two bits for each of these.
    assert memory_bytes(linear) == dense // 2 + dense // 16 + linear.bias.nbytes


@on_a_gpu
def test_a_gpu_says_what_the_dense_model_says(model: PreTrainedModel) -> None:
    model.to("cuda")
    tokens = torch.randint(3, 128, (1, 9), device="cuda")
    with torch.no_grad():
        expected = [model(tokens).logits, model(tokens[:, :1]).logits]
        count = len(prunable_layers(model))
        assert use_sparse_layers(model) == count
        found = [model(tokens).logits, model(tokens[:, :1]).logits]
    for dense, sparse in zip(expected, found, strict=True):
        assert (sparse - dense).abs().max() <= 0.05 * dense.abs().max()
    assert len(decode(model, tokens, 5).tokens) == 5


@on_a_gpu
def test_memory_on_a_gpu_is_what_pytorch_allocates() -> None:
    linear = two_of_four(1024, 2048).to("cuda")
    dense = linear.weight.nbytes
    before = torch.cuda.memory_allocated()
    wrapped = torch.sparse.to_sparse_semi_structured(linear.weight.detach())
    allocated = torch.cuda.memory_allocated() - before
    linear.weight = nn.Parameter(wrapped, requires_grad=False)
    assert memory_bytes(linear) - linear.bias.nbytes == pytest.approx(allocated, abs=2048)
    assert allocated < 0.7 * dense
