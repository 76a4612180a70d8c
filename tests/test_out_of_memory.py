"""On a GPU with too little memory, passes are repeated with smaller batches, and give the same results."""

import copy
import gc
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from fake_device import FakeGpus, no_threads
from optishear.batch_size import DoesNotFit
from optishear.calibration.self_generated import generate
from optishear.diagnosis.layer_errors import layer_errors
from optishear.diagnosis.pruned_weights import masked_by
from optishear.evaluation.perplexity import perplexity
from optishear.models.layers import prunable_layers
from optishear.parameters.read import read_parameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.pruning.apply import apply_recipe
from optishear.recipes.recipe import named_recipe
from optishear.reconstruction.reconstruct import reconstruct
from optishear.recovery import recover as recovering
from optishear.recovery.budget import Budget
from optishear.recovery.recover import recover
from optishear.searching.search import run_search
from optishear.statistics.collect import collect_statistics
from tiny import make_tokenizer, random_calibration, tiny_model

CALIBRATION = random_calibration(16, 96)
WANDA = named_recipe("wanda", "0.5")
DENSE = tiny_model("mistral").requires_grad_(False)
STATISTICS = collect_statistics(DENSE, CALIBRATION, progress=False)


def search(model: Any) -> list[Tensor]:
    parameters = {"trials": 12, "population": 4, "search_sequences": 4, "rounds": 2, "descent_steps": 2}
    settings = read_parameters(SearchParameters, parameters)
    result = run_search(model, {"": CALIBRATION}, STATISTICS, settings, parse_pattern("0.5"), progress=False)
    return [torch.tensor(result.trials.column("kl").to_pylist())]


def reconstruction(model: Any) -> list[Tensor]:
    # A layer's solver would need more than the passes of so small a model.
    settings = read_parameters(ReconstructionParameters, {"reconstruction": "none"})
    summary = reconstruct(model, WANDA, STATISTICS, random_calibration(64, 24), settings)
    return [torch.tensor(list(summary.layer_errors.values()))]


def diagnosis(model: Any) -> list[Tensor]:
    methods = {"wanda": masked_by(WANDA, prunable_layers(model), STATISTICS)}
    tables = layer_errors(model, CALIBRATION.tokens, methods)
    return [torch.tensor(table.column("relative_error").to_pylist()) for table in tables]


class Text:
    """The calibration as a text to recover on."""

    held_out, positions = CALIBRATION.tokens[:4], ()

    def take(self, count: int, length: int) -> Tensor:
        return CALIBRATION.tokens[4 : 4 + count, :length]

    def go_to(self, positions: Any, sequences: int) -> None:
        """Every step has the same blocks."""


def recovery(model: Any) -> list[Tensor]:
    pruned = copy.deepcopy(model)
    apply_recipe(pruned, WANDA, STATISTICS)
    with mock.patch.object(recovering, "bounded_activations", return_value=nullcontext()):
        summary = recover(
            pruned, model, prunable_layers(pruned), Text(), Budget(None, 8 * 96), sequences_per_step=4, rate=0.01
        )
    assert summary.steps == 2
    return [torch.tensor([point.kl for point in summary.curve])]


def tuning(model: Any) -> list[Tensor]:
    settings = read_parameters(ReconstructionParameters, {"reconstruction": "none", "tuning_steps": 2})
    summary = reconstruct(model, WANDA, STATISTICS, random_calibration(64, 24), settings)
    return [torch.tensor(summary.block_errors)]


WORK: dict[str, Callable[[Any], list[Tensor]]] = {
    "statistics": lambda model: list(collect_statistics(model, CALIBRATION, progress=False).squared_norms.values()),
    "search": search,
    "reconstruction": reconstruction,
    "tuning": tuning,
    "recovery": recovery,
    "diagnosis": diagnosis,
    "perplexity": lambda model: [torch.tensor(perplexity(model, CALIBRATION.tokens))],
    "text": lambda model: [generate(model, make_tokenizer(), 32, 24, 0).tokens],
}


# A reconstruction has the hidden states of all sequences in memory, however small the parts of a pass are; a recovery
# two models and the optimizer's state.
SHARES = {"reconstruction": 0.85, "tuning": 0.9, "recovery": 0.9}


def on_gpu(work: Callable[[Any], list[Tensor]], gpus: FakeGpus) -> tuple[list[Tensor], int, int]:
    """What the work gives, the bytes of the model, and the most that there were."""
    # The plan of memory, which keeps a reserve for other uses of a real GPU, would refuse so small a one.
    plenty = mock.patch.object(torch.cuda, "mem_get_info", return_value=(2**40, 2**40))
    with gpus, no_threads(), plenty:
        model = copy.deepcopy(DENSE).to("cuda")
        gc.collect()
        gpus.reset()
        weights = gpus.live["cuda:0"]
        return [value.cpu() for value in work(model)], weights, gpus.peak["cuda:0"]


@pytest.mark.parametrize("name", WORK)
def test_less_memory_gives_the_same_with_smaller_batches(name: str, caplog: pytest.LogCaptureFixture) -> None:
    expected, weights, peak = on_gpu(WORK[name], FakeGpus(1))
    assert "Out of memory" not in caplog.text
    memory = weights + round(SHARES.get(name, 0.7) * (peak - weights))
    found, _, less = on_gpu(WORK[name], FakeGpus(1, memory=memory, limited=True))
    assert "Out of memory" in caplog.text
    assert less <= memory
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["statistics", "diagnosis", "perplexity"])
def test_one_sequence_that_does_not_fit_is_refused_at_once(name: str) -> None:
    with pytest.raises(DoesNotFit):
        on_gpu(WORK[name], FakeGpus(1, memory=107168 + 10000, limited=True))
