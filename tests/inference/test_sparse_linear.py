"""Packed layers multiply as the dense ones do, with every kernel that this machine runs."""

import ctypes
import shutil
import weakref
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers.modeling_utils import PreTrainedModel

from optishear.inference import kernel as kernels
from optishear.inference import pack_layers as packing
from optishear.inference.kernel import Kernel, compiled, runnable_variants
from optishear.inference.pack_layers import pack_layers
from optishear.inference.sparse_linear import SparseLinear, sparse_linear
from optishear.models.layers import prunable_layers

pytestmark = pytest.mark.skipif(
    not runnable_variants() or shutil.which("cc") is None, reason="no sparse kernel for this processor, or no compiler"
)


@pytest.fixture(params=runnable_variants() or ["none"])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    """Every variant that this machine runs."""
    found = compiled(request.param)
    assert found is not None
    return found


def sparse(rows: int, columns: int, share: float, dtype: torch.dtype, bias: bool = False, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    linear = nn.Linear(columns, rows, bias=bias, dtype=dtype).requires_grad_(False)
    linear.weight.normal_()
    linear.weight[torch.rand(rows, columns) < share] = 0
    return linear


def prune_half(model: PreTrainedModel) -> None:
    torch.manual_seed(0)
    for layer in prunable_layers(model):
        layer.module.weight[torch.rand(layer.module.weight.shape) < 0.5] = 0


def packed_of(linear: nn.Linear, kernel: Kernel) -> SparseLinear:
    packed = sparse_linear(linear, kernel)
    assert packed is not None
    return packed


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("columns", [32, 64, 96, 160, 576])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_small_whole_numbers_are_multiplied_exactly(
    kernel: Kernel, dtype: torch.dtype, columns: int, share: float
) -> None:
    """Sums below 2^8 of whole numbers have no rounding in either dtype, in whatever order."""
    linear = sparse(7, columns, share, dtype)
    linear.weight.copy_(torch.where(linear.weight == 0, 0, linear.weight.sign()))
    x = torch.zeros(1, columns, dtype=dtype)
    x[0, torch.randperm(columns)[:30]] = torch.randint(-5, 6, (30,)).to(dtype)
    assert torch.equal(packed_of(linear, kernel)(x), linear(x))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2**-8), (torch.float32, 2**-20)], ids=str)
@pytest.mark.parametrize("tokens", [1, 3, 4, 5, 17])
def test_products_are_those_of_the_dense_layer_up_to_rounding(
    kernel: Kernel, dtype: torch.dtype, tolerance: float, tokens: int
) -> None:
    linear = sparse(50, 320, 0.5, dtype, bias=True)
    x = torch.randn(tokens, 320, dtype=dtype)
    exact = x.double() @ linear.weight.double().T + linear.bias.double()
    scale = (x.double().abs() @ linear.weight.double().abs().T + linear.bias.double().abs()) / 4
    found = packed_of(linear, kernel)(x)
    assert found.dtype == dtype
    assert ((found.double() - exact).abs() <= tolerance * (exact.abs() + scale)).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_the_dense_weight_comes_back_bit_for_bit(kernel: Kernel, dtype: torch.dtype) -> None:
    linear = sparse(33, 96, 0.5, dtype)
    linear.weight[0, :3] = torch.tensor([-0.0, torch.inf, -torch.inf])
    linear.weight[5] = 0
    linear.weight[6] = 1
    integer = torch.int16 if dtype == torch.bfloat16 else torch.int32
    assert torch.equal(packed_of(linear, kernel).weight.view(integer), linear.weight.view(integer))


def test_what_is_no_number_stays_so(kernel: Kernel) -> None:
    linear = sparse(2, 32, 0.5, torch.bfloat16)
    linear.weight[0, 0] = torch.nan
    y = packed_of(linear, kernel)(torch.ones(1, 32, dtype=torch.bfloat16))
    assert y.isnan().tolist() == [[True, False]]


def test_shapes_of_inputs(kernel: Kernel) -> None:
    linear = sparse(8, 64, 0.5, torch.float32)
    packed = packed_of(linear, kernel)
    assert packed(torch.randn(64)).shape == (8,)
    assert packed(torch.randn(2, 1, 64)).shape == (2, 1, 8)
    assert packed(torch.randn(2, 9, 64)).shape == (2, 9, 8)
    # A view with gaps between its rows.
    wide = torch.randn(3, 128)
    assert torch.allclose(packed(wide[:, ::2]), linear(wide[:, ::2]), atol=1e-5)


def test_half_the_weights_take_little_more_than_half_the_memory(kernel: Kernel) -> None:
    linear = sparse(256, 512, 0.5, torch.bfloat16)
    packed = sum(buffer.nbytes for buffer in packed_of(linear, kernel).buffers())
    assert packed / linear.weight.nbytes < 0.58


def test_layers_that_do_not_fit_stay_dense(kernel: Kernel) -> None:
    assert sparse_linear(sparse(8, 64, 0.0, torch.bfloat16), kernel) is None
    assert sparse_linear(sparse(8, 48, 0.5, torch.bfloat16), kernel) is None
    assert sparse_linear(sparse(8, 64, 0.5, torch.float16), kernel) is None


def test_another_dtype_is_refused(kernel: Kernel) -> None:
    packed = packed_of(sparse(8, 64, 0.5, torch.bfloat16), kernel)
    with pytest.raises(TypeError, match=r"torch\.bfloat16 .* torch\.float32"):
        packed(torch.randn(1, 64))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_a_packed_model_says_what_the_dense_one_says(
    kernel: Kernel, family_model: PreTrainedModel, dtype: torch.dtype
) -> None:
    model = family_model.to(dtype).requires_grad_(False)
    prune_half(model)
    tokens = torch.randint(3, 128, (1, 9))
    count = len(prunable_layers(model))
    with torch.no_grad():
        prefill = model(tokens).logits
        one = model(tokens[:, :1]).logits
        said = model.generate(tokens, max_new_tokens=5, do_sample=False)
        assert pack_layers(model, kernel) == count
        tolerance = 0.1 if dtype == torch.bfloat16 else 1e-4
        # Many tokens at once go through the same dense product.
        assert torch.equal(model(tokens).logits, prefill)
        assert (model(tokens[:, :1]).logits - one).abs().max() <= tolerance * one.abs().max()
    if dtype == torch.float32:
        # In bfloat16 two tokens may be as likely as each other.
        assert torch.equal(model.generate(tokens, max_new_tokens=5, do_sample=False), said)


def test_one_layer_is_dense_and_packed_at_a_time(
    kernel: Kernel, family_model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prune_half(family_model.requires_grad_(False))
    seen: list[weakref.ref[torch.Tensor]] = []
    alive = []

    def noting(linear: nn.Linear, kernel: Kernel) -> SparseLinear | None:
        alive.append(sum(reference() is not None for reference in seen))
        seen.append(weakref.ref(linear.weight))
        return sparse_linear(linear, kernel)

    monkeypatch.setattr(packing, "sparse_linear", noting)
    count = len(prunable_layers(family_model))
    assert pack_layers(family_model, kernel) == count
    assert alive == [0] * count


def test_a_kernel_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTISHEAR_HOME", str(tmp_path))
    variant = runnable_variants()[0]
    assert compiled(variant) is not None
    (library,) = (tmp_path / "kernels").iterdir()
    written = library.stat().st_mtime_ns
    assert compiled(variant) is not None
    assert library.stat().st_mtime_ns == written
    assert isinstance(ctypes.CDLL(str(library)), ctypes.CDLL)


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_a_compiler_layers_stay_dense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_llama: PreTrainedModel, compiler: str
) -> None:
    monkeypatch.setenv("OPTISHEAR_HOME", str(tmp_path))
    monkeypatch.setenv("CC", compiler)
    kernels.best_kernel.cache_clear()
    try:
        assert pack_layers(tiny_llama) == 0
    finally:
        kernels.best_kernel.cache_clear()
    assert not list(tmp_path.glob("kernels/*"))


def test_a_processor_without_the_features_has_no_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "processor_features", lambda: {"sse2", "avx2", "fma", "popcnt"})
    assert runnable_variants() == ["avx2"]
    monkeypatch.setattr(kernels, "processor_features", lambda: {"sse2"})
    assert runnable_variants() == []
