"""Compiled passes against those of PyTorch, and where which of them are used."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from optishear.native.processor import processor_features
from optishear.training import adam_passes
from optishear.training.adam_passes import CompiledPasses, Matrix, Passes, TorchPasses, compiled_passes, passes_for

DTYPES = [torch.float32, torch.bfloat16]
needs_compiled = pytest.mark.skipif(
    not {"avx2", "fma"} <= processor_features() or shutil.which("cc") is None,
    reason="no compiled passes for this processor, or no compiler",
)


@pytest.fixture
def compiled_again() -> Iterator[None]:
    """What is compiled for a test is not kept for others."""
    compiled_passes.cache_clear()
    yield
    compiled_passes.cache_clear()


def compiled(dtype: torch.dtype) -> CompiledPasses:
    passes = compiled_passes(dtype)
    assert passes is not None
    return passes


def matrix(dtype: torch.dtype, *, is_pruned: bool = True) -> tuple[Matrix, Tensor]:
    """A matrix with two blocks of rows, whose columns are no multiple of a vector's; its gradients."""
    generator = torch.Generator().manual_seed(0)
    weights, momenta, gradients = torch.randn(3, 9001, 61, generator=generator).to(dtype)
    weights[weights.abs() < 0.6] = 0
    weights[0] = -0.0
    residuals = None if dtype == torch.float32 else momenta / 1000
    return Matrix(weights, momenta / 10, residuals, is_pruned), gradients


def step(passes: Passes, matrix: Matrix, gradients: Tensor) -> list[Tensor]:
    """All results of a step."""
    rows, columns = passes.sums_of_squares(matrix, gradients)
    # The same factors for both, so that the second pass is compared alone.
    of_rows, of_columns = torch.linspace(0.5, 2, len(rows)), torch.linspace(2, 0.5, len(columns))
    passes.move(matrix, gradients, of_rows, of_columns, 0.01, 0.1)
    state = [matrix.weights, matrix.momenta]
    return [rows, columns, *state, *([] if matrix.residuals is None else [matrix.residuals])]


@needs_compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("is_pruned", [True, False])
def test_compiled_passes_are_those_of_pytorch(dtype: torch.dtype, is_pruned: bool) -> None:
    results = step(compiled(dtype), *matrix(dtype, is_pruned=is_pruned))
    expected = step(TorchPasses(), *matrix(dtype, is_pruned=is_pruned))
    for result, of_pytorch in zip(results, expected, strict=True):
        torch.testing.assert_close(result, of_pytorch, rtol=1e-5, atol=1e-6)
    assert torch.equal(results[2] == 0, expected[2] == 0)


@needs_compiled
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_is_so_in_both(dtype: torch.dtype) -> None:
    results = []
    for passes in (compiled(dtype), TorchPasses()):
        those, gradients = matrix(dtype)
        kept = those.weights.nonzero()
        gradients[tuple(kept[0])], gradients[tuple(kept[1])] = torch.nan, torch.inf
        results.append(step(passes, those, gradients))
    assert not torch.isfinite(results[0][2]).all()
    for result, of_pytorch in zip(*results, strict=True):
        assert torch.equal(torch.isfinite(result), torch.isfinite(of_pytorch))
        assert torch.equal(torch.isnan(result), torch.isnan(of_pytorch))


@needs_compiled
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_number_of_threads_changes_nothing(dtype: torch.dtype) -> None:
    threads = torch.get_num_threads()
    results = []
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        results.append(step(compiled(dtype), *matrix(dtype)))
    torch.set_num_threads(threads)
    for others in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results[0], others, strict=True))


@needs_compiled
@pytest.mark.usefixtures("compiled_again")
def test_a_processor_without_avx_512_has_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adam_passes, "processor_features", lambda: {"avx2", "fma"})
    results = step(compiled(torch.bfloat16), *matrix(torch.bfloat16))
    for result, expected in zip(results, step(TorchPasses(), *matrix(torch.bfloat16)), strict=True):
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)


@needs_compiled
def test_weights_that_are_not_contiguous_are_left_to_pytorch() -> None:
    assert isinstance(passes_for(torch.zeros(4, 6)), CompiledPasses)
    assert isinstance(passes_for(torch.zeros(6, 4).T), TorchPasses)


def test_other_dtypes_and_devices_are_left_to_pytorch() -> None:
    assert isinstance(passes_for(torch.zeros(4, 6, dtype=torch.float16)), TorchPasses)
    assert isinstance(passes_for(torch.zeros(4, 6, device="meta")), TorchPasses)


@pytest.mark.usefixtures("compiled_again")
@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_a_compiler_pytorch_makes_the_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str
) -> None:
    monkeypatch.setenv("OPTISHEAR_HOME", str(tmp_path))
    monkeypatch.setenv("CC", compiler)
    assert isinstance(passes_for(torch.zeros(4, 6)), TorchPasses)


@pytest.mark.usefixtures("compiled_again")
def test_a_processor_that_is_not_known_has_no_compiled_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adam_passes, "processor_features", set)
    assert isinstance(passes_for(torch.zeros(4, 6)), TorchPasses)
