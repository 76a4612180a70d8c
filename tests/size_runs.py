"""Peak memory of each stage for models that no test machine could hold, by the library's own code on a fake GPU.

Tensors have sizes and no values (``FakeGpus(values=False)``). A model's blocks are alike, so that a peak is a constant
plus a multiple of the number of blocks: stages run with two and with three blocks, and the peak of the whole model
follows exactly. What kernels take inside is not counted.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from copy import deepcopy
from functools import cache, partial
from typing import Any
from unittest import mock

import torch
from accelerate import dispatch_model
from memory_table import MODELS, configuration, model_and_gpus
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModelForCausalLM
from transformers.modeling_utils import PreTrainedModel

from fake_device import FakeGpus, no_threads
from optishear.calibration import self_generated
from optishear.calibration.calibration_set import CalibrationSet
from optishear.diagnosis.layer_errors import layer_errors
from optishear.diagnosis.pruned_weights import masked_by
from optishear.divergence.model_divergence import TOKENS_PER_BACKWARD, ModelDivergence
from optishear.evaluation.perplexity import window_losses
from optishear.masks.select import group_mask
from optishear.metrics.metric import RIA
from optishear.models.devices import SHARD, resolve_devices
from optishear.models.layers import prunable_layers
from optishear.models.recomputation import recomputed_activations
from optishear.models.shards import device_map
from optishear.parameters.read import read_parameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.pattern import Pattern, parse_pattern
from optishear.pruning.apply import apply_recipe
from optishear.recipes.recipe import named_recipe
from optishear.reconstruction import layers as solving
from optishear.reconstruction.reconstruct import reconstruct
from optishear.recovery import recover as recovering
from optishear.recovery.budget import Budget
from optishear.recovery.recover import recover
from optishear.recovery.recovery_text import HELD_OUT
from optishear.searching.masked_weights import MaskedWeights
from optishear.searching.sensitivity import marginal_costs
from optishear.statistics.collect import collect_statistics
from optishear.statistics.statistics import Statistics

SEQUENCES, LENGTH, WINDOW = 32, 512, 1024
RECONSTRUCTIONS: dict[str, dict[str, Any]] = {
    # Peaks do not depend on the number of iterations.
    "reconstruct (admm)": {"reconstruction": "admm", "reconstruction_iterations": 2},
    "reconstruct (tuning)": {"tuning_steps": 2},
}
SEARCHES: dict[str, dict[str, Any]] = {
    "search": {},
    "search, activations computed again": {"recomputed": True},
    "search, the same without ranks": {"recomputed": True, "rank_bytes": 0},
    "search, the same with the dense copy on the host": {"recomputed": True, "rank_bytes": 0, "copy_on_host": True},
    "search 2:4": {"sparsity": "2:4"},
}
RECOVERIES: dict[str, Callable[..., Any]] = {
    "recover": nullcontext,
    "recover, activations computed again": recomputed_activations,
}


class Words:
    """As much of a tokenizer as the generation of text asks for."""

    bos_token_id, eos_token_id = 1, 2

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size


class Text:
    """Blocks of tokens to recover on, the first of which are held out."""

    def __init__(self, tokens: Tensor) -> None:
        self.held_out, self._tokens = tokens[:HELD_OUT], tokens[HELD_OUT:]
        self.positions: tuple[Any, ...] = ()

    def take(self, count: int, length: int) -> Tensor:
        return self._tokens[:count, :length]


class Moments:
    """Peaks of the moments of each stage, in bytes, of the GPU with the largest."""

    def __init__(self, gpus: FakeGpus) -> None:
        self.found: dict[tuple[str, str], int] = {}
        self._gpus = gpus

    def end(self, stage: str, moment: str) -> None:
        """Record the peak since the last end."""
        self.found[stage, moment] = max(self.found.get((stage, moment), 0), *self._gpus.peak.values())
        gc.collect()
        self._gpus.reset()


@cache
def peaks(name: str) -> dict[str, int]:
    """Peak bytes of each stage of a model of ``memory_table.MEASURED``, its weights included, in bfloat16.

    Of a model over several GPUs, those of the GPU with the largest, which is the first or the last one: the others hold
    as many blocks and nothing else. So it is run on two.
    """
    of, gpus = model_and_gpus(name)
    on = min(gpus, 2)
    two, three = of_blocks(of, 2 * on, on), of_blocks(of, 3 * on, on)
    depth = MODELS[of]["num_hidden_layers"] // gpus
    found: dict[str, int] = {}
    for stage, moment in two:
        peak = two[stage, moment] + (depth - 2) * (three[stage, moment] - two[stage, moment])
        found[stage] = max(found.get(stage, 0), peak)
    return found


def of_blocks(name: str, blocks: int, count: int = 1) -> dict[tuple[str, str], int]:
    """The same of each moment of the stages, of a model with so many blocks over so many GPUs."""
    config = configuration(name, blocks)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
    model.requires_grad_(False).eval()
    model.config.use_cache = False
    tokens = torch.randint(0, config.vocab_size, (SEQUENCES, LENGTH), generator=torch.Generator().manual_seed(0))
    with FakeGpus(count, values=False, memory=10**13) as gpus, no_threads(), _values_that_are_there():
        if count == 1:
            model.to("cuda")
        else:
            placed = device_map(name, model, resolve_devices(SHARD))
            for path, device in placed.items():
                model.get_submodule(path).to(device)
            dispatch_model(model, placed, skip_keys=model._skip_keys_device_placement)
        moments = Moments(gpus)
        # What was there before is not looked through at the end of each moment, nor in later tests (conftest.py).
        gc.freeze()
        gpus.reset()
        for number, (stage, work) in enumerate(_stages(model, CalibrationSet(tokens, "random"), moments)):
            gc.collect()  # of the stage before
            gpus.reset()
            work()
            moments.end(stage, str(number))
    return moments.found


def _stages(
    model: PreTrainedModel, calibration: CalibrationSet, moments: Moments
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each stage with its work, at the point where what it needs is there."""
    tokens = calibration.tokens
    layers = prunable_layers(model)
    statistics = Statistics({layer.name: torch.ones(layer.module.in_features) for layer in layers})
    vocabulary = model.config.vocab_size
    chances = torch.rand(SEQUENCES, 2, dtype=torch.float64)
    write = self_generated.generate_rows
    yield "calibrate (self)", lambda: write(model, Words(vocabulary), chances, tqdm(disable=True), LENGTH)
    yield "statistics", lambda: collect_statistics(model, calibration, progress=False)
    wanda = named_recipe("wanda", "0.5")
    yield "prune", lambda: apply_recipe(model, wanda, statistics)
    windows = torch.randint(0, vocabulary, (64, WINDOW))
    yield "evaluate", lambda: window_losses(model, windows, 64, progress=False)
    methods = dict.fromkeys(("wanda", "masked", "pruned"), masked_by(wanda, layers, statistics))
    yield "diagnose", lambda: layer_errors(model, tokens, methods)
    for stage, values in RECONSTRUCTIONS.items():
        parameters = read_parameters(ReconstructionParameters, values)
        yield stage, lambda given=parameters: reconstruct(model, wanda, statistics, calibration, given)
    for stage, ways in SEARCHES.items():
        for work in _search(model, calibration, statistics, **ways):
            yield stage, work
    dense = deepcopy(model)
    for stage, bounded in RECOVERIES.items():
        ended = partial(moments.end, stage)
        yield stage, lambda bounded=bounded, ended=ended: _recover(model, dense, tokens, bounded, ended)


def _recover(
    model: PreTrainedModel,
    dense: PreTrainedModel,
    tokens: Tensor,
    bounded: Callable[..., Any],
    ended: Callable[[str], None],
) -> None:
    """Two steps of a recovery; the moments of its dense outputs and of its backward passes grow differently."""
    sequences = TOKENS_PER_BACKWARD // LENGTH
    budget = Budget(None, 2 * sequences * LENGTH)
    backward = ModelDivergence.backward

    def backward_alone(*arguments: Any, **keywords: Any) -> Any:
        ended("dense outputs")
        result = backward(*arguments, **keywords)
        ended("backward")
        return result

    with (
        mock.patch.object(recovering, "bounded_activations", lambda model, _: bounded(model)),
        mock.patch.object(ModelDivergence, "backward", backward_alone),
    ):
        recover(model, dense, prunable_layers(model), Text(tokens), budget, sequences_per_step=sequences, rate=0.001)


def _search(
    model: PreTrainedModel,
    calibration: CalibrationSet,
    statistics: Statistics,
    sparsity: str = "0.5",
    rank_bytes: int = 10**13,
    recomputed: bool = False,
    copy_on_host: bool = False,
) -> Iterator[Callable[[], object]]:
    """The parts of a search: dense outputs, copy, new masks, masks from ranks, a trial, a step of the descent."""
    layers = prunable_layers(model)
    half = [layer.module.in_features // 2 for layer in layers]
    pattern = parse_pattern(sparsity)
    held: dict[str, Any] = {}
    tokens = calibration.tokens

    def keep(name: str, value: Any) -> None:
        held[name] = value

    yield lambda: keep("divergence", ModelDivergence(model, tokens[: SEQUENCES * 3 // 4], ("kl",), measured=4))
    yield lambda: keep("held out", ModelDivergence(model, tokens[-8:], ("kl",)))
    yield lambda: keep("weights", MaskedWeights(layers, statistics, pattern, rank_bytes, copy_on_host))
    yield lambda: held["weights"].apply([RIA] * len(layers), half)
    yield lambda: held["divergence"].measure(4)
    if not pattern.is_structured:
        yield lambda: held["weights"].apply([RIA] * len(layers), [count + 8 for count in half])

        def descend() -> object:
            with recomputed_activations(model) if recomputed else nullcontext():
                return marginal_costs(held["weights"], held["divergence"], layers, 0, 4)

        yield descend
    held.clear()


@contextmanager
def _values_that_are_there() -> Iterator[None]:
    """Take the branches of a run whose values have no ties, and no tokenizer's own first tokens."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(solving, "largest", _largest_without_ties))
        stack.enter_context(mock.patch.object(self_generated, "_first_tokens", return_value=[1]))
        yield


def _largest_without_ties(values: Tensor, pattern: Pattern, sparsity: float) -> Tensor:
    sizes = values.abs()
    if pattern.group is not None and pattern.kept is not None:
        return group_mask(sizes, pattern.kept, pattern.group)
    return sizes > sizes.flatten().kthvalue(round(sparsity * values.numel())).values
