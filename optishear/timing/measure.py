"""The measured pass: each expensive step of a run once, on one short sequence, with the code that the run uses."""

import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase
from transformers.modeling_utils import PreTrainedModel

from optishear.batch_size import BatchSize
from optishear.calibration.calibration_set import CalibrationSet
from optishear.calibration.self_generated import generate_rows
from optishear.divergence.model_divergence import ModelDivergence
from optishear.evaluation.perplexity import window_losses
from optishear.masks.select import keep_mask
from optishear.metrics.metric import RIA, WANDA
from optishear.models.devices import devices_of
from optishear.models.layers import PrunableLayer, decoder_blocks, prunable_layers
from optishear.models.memory import free_memory
from optishear.models.precision import processor_of
from optishear.models.timed import timed
from optishear.parameters.read import read_parameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.pattern import Pattern
from optishear.ratios.alphapruning import squared_singular_values
from optishear.reconstruction.layers import LayerTask, solve_layers
from optishear.reconstruction.second_moment import SecondMoments
from optishear.reconstruction.stream import block_calls, first_inputs
from optishear.search_space.candidate import Candidate, make_candidate
from optishear.searching.masked_weights import MaskedWeights
from optishear.searching.sensitivity import marginal_costs
from optishear.statistics.collect import collect_statistics
from optishear.statistics.statistics import Statistics
from optishear.timing.speed import ATTENTION_TOKENS, Speed
from optishear.timing.training import measure_training

Step = Literal["statistics", "search", "window", "decode", "reconstruction", "sparsegpt", "training"]
_SHORT_TOKENS = 32
_FEWEST_TOKENS = 64
# One forward pass takes at most about so long: with all steps the measurement is then over in half a minute.
_SECONDS_PER_PASS = 2.5
_DECODE_STEPS = 4
_SPECTRUM_SIZE = 512


@dataclass(frozen=True)
class MeasuredPass:
    """What is measured, and on what lengths.

    Attributes:
        steps: the steps that the run will take; others are not measured.
        sequence_length: tokens of a calibration sequence; the measured one is shorter on a slow device.
        window_length: tokens of an evaluation window; as above.
        sequences: calibration sequences, which are generated together.
        pattern: what the masks are for.
        reconstruction: how layers are reconstructed.
    """

    steps: frozenset[Step]
    sequence_length: int
    window_length: int = 0
    sequences: int = 1
    pattern: Pattern = field(default_factory=lambda: Pattern(0.5))
    reconstruction: ReconstructionParameters = field(
        default_factory=lambda: read_parameters(ReconstructionParameters, {})
    )


def measure_speed(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, request: MeasuredPass, load_seconds: float
) -> Speed:
    """Measure how fast a model is on its device; the model is left as it was.

    Takes some ten forward passes over one calibration sequence, and as many over shorter ones where one pass takes
    longer than seconds.

    Args:
        model: dense, in memory.
        tokenizer: its tokenizer, for the size of the vocabulary in use.
        request: what to measure.
        load_seconds: what loading the model took.
    """
    started = time.perf_counter()
    device, devices = model.device, devices_of(model)
    random = torch.Generator().manual_seed(0)
    longest = max(request.sequence_length, request.window_length, _SHORT_TOKENS)
    tokens = torch.randint(len(tokenizer), (1, longest), generator=random)
    with torch.no_grad():
        model(tokens[:, :_SHORT_TOKENS].to(device), use_cache=False)  # the first pass sets up the kernels
        short, _ = timed(devices, lambda: model(tokens[:, :_SHORT_TOKENS].to(device), use_cache=False))
    affordable = max(_FEWEST_TOKENS, int(_SECONDS_PER_PASS * _SHORT_TOKENS / max(short, 1e-9)))
    length = min(request.sequence_length, affordable)
    sequence = CalibrationSet(tokens[:, :length], "")
    layers = prunable_layers(model)
    seconds_by_step: dict[str, float] = {}
    with torch.no_grad():
        seconds_by_step["forward"], _ = timed(
            devices, lambda: model.base_model(sequence.tokens.to(device), use_cache=False)
        )
    seconds_by_step["attention"] = _measure_attention(model)
    if request.steps & {"statistics", "search"}:
        seconds_by_step["statistics"], statistics = timed(
            devices, lambda: collect_statistics(model, sequence, progress=False)
        )
        if "search" in request.steps:
            seconds_by_step |= _measure_search(model, layers, sequence.tokens, statistics, request.pattern)
    if "window" in request.steps:
        window = min(request.window_length, 2 * affordable)
        seconds, _ = timed(devices, lambda: window_losses(model, tokens[:, :window], 1, progress=False))
        seconds_by_step["window"] = seconds * request.window_length / window
    if "decode" in request.steps:
        seconds_by_step["decode_step"] = _measure_decoding(model, tokenizer, request)
    methods: dict[str, ReconstructionParameters] = {}
    if "reconstruction" in request.steps:
        methods["solve"] = request.reconstruction
    if "sparsegpt" in request.steps:
        methods["sparsegpt_solve"] = read_parameters(ReconstructionParameters, {"reconstruction": "sparsegpt"})
    if methods:
        seconds_by_step |= _measure_reconstruction(model, layers, sequence.tokens, request.pattern, methods)
    if "training" in request.steps:
        seconds_by_step |= measure_training(model, layers, sequence.tokens)
    processor = processor_of(device)
    return Speed(
        processor=f"{processor.name} with {processor.instruction_set}",
        threads=torch.get_num_threads(),
        dtype=str(model.dtype).removeprefix("torch."),
        load=load_seconds,
        tokens=length,
        short_tokens=_SHORT_TOKENS,
        short_forward=short,
        blocks=len(decoder_blocks(model)[1]),
        weights=sum(layer.module.weight.numel() for layer in layers),
        seconds=time.perf_counter() - started,
        **seconds_by_step,
    )


def _measure_search(
    model: PreTrainedModel, layers: list[PrunableLayer], tokens: Tensor, statistics: Statistics, pattern: Pattern
) -> dict[str, float]:
    """A trial's parts: masks by a new metric and from kept ranks, the divergence, and its backward pass."""
    devices = devices_of(model)
    results: dict[str, float] = {}
    pair = torch.cat([tokens, tokens.flip(1)])  # one sequence alone takes longer than its share of a batch
    seconds, error = timed(devices, lambda: ModelDivergence(model, pair, ("kl",), len(pair)))
    results["dense_divergence"] = seconds / len(pair)
    free = {device: free_memory(device) for device in devices}
    copy = Counter[torch.device]()
    for layer in layers:
        copy[layer.module.weight.device] += layer.module.weight.nbytes
    # The copy, and a quarter as much for all else.
    on_host = model.device.type != "cpu" and any(1.25 * copy[device] > free[device] for device in devices)
    with MaskedWeights(layers, statistics, pattern, min(free.values()) / 4, on_host) as weights:
        for metric in (WANDA, RIA):  # the first call makes what all metrics share
            candidate = make_candidate(layers, pattern, {"all": metric})
            results["new_masks"], _ = timed(devices, partial(_apply, weights, candidate))
        fewer = [max(0, count - 1) for count in candidate.pruned_per_row]
        if not pattern.is_structured:
            # The first time a layer keeps its metric, its ranks are computed; the second time they are there.
            weights.apply(candidate.layer_metrics, fewer)
            results["kept_masks"], _ = timed(devices, lambda: _apply(weights, candidate))
            results["spectra"] = _measure_spectra(layers)
        seconds, _ = timed(devices, error.measure_sequences)
        results["divergence"] = seconds / len(pair)
        for _ in range(2):  # the first backward pass allocates what the others use
            results["marginal_costs"], _ = timed(devices, lambda: marginal_costs(weights, error, layers, 0, 1))
    return results


def _measure_spectra(layers: list[PrunableLayer]) -> float:
    """The spectra of all layers, from that of a small part of one and the operations of each."""

    def operations(rows: int, columns: int) -> float:
        small, large = sorted((rows, columns))
        return small**2 * large + 4 * small**3  # a product, and the reduction to tridiagonal form

    weight = layers[len(layers) // 2].module.weight[:_SPECTRUM_SIZE, :_SPECTRUM_SIZE]
    squared_singular_values(weight[:1])  # the first call sets up the solver
    seconds, _ = timed([weight.device], lambda: squared_singular_values(weight))
    return seconds / operations(*weight.shape) * sum(operations(*layer.module.weight.shape) for layer in layers)


@torch.no_grad()
def _measure_attention(model: PreTrainedModel) -> float:
    """Causal attention of all decoder blocks; zero for a model without attention heads."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None)
    if not heads:
        return 0.0
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    query = torch.zeros(1, heads, ATTENTION_TOKENS, width, dtype=model.dtype, device=model.device)
    attend = partial(scaled_dot_product_attention, query, query, query, is_causal=True)
    attend()
    seconds, _ = timed([model.device], attend)
    return seconds * len(decoder_blocks(model)[1])


def _apply(weights: MaskedWeights, candidate: Candidate) -> None:
    weights.apply(candidate.layer_metrics, candidate.pruned_per_row)


def _measure_decoding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, request: MeasuredPass) -> float:
    """One token for each sequence, on a cache as long as the calibration's."""
    devices, rows, length = devices_of(model), request.sequences, request.sequence_length
    chances = torch.rand(rows, min(_DECODE_STEPS, length - 1), dtype=torch.float64)
    silent: tqdm[Any]
    with tqdm(disable=True) as silent:

        def decode(texts: int) -> float:
            some = chances[:texts]
            generate_rows(model, tokenizer, some[:, :1], silent, cache_length=length)
            seconds, _ = timed(devices, lambda: generate_rows(model, tokenizer, some, silent, cache_length=length))
            return seconds * math.ceil(rows / len(some))

        return BatchSize(rows, "text", "batch").run(decode) / chances.shape[1]


@torch.no_grad()
def _measure_reconstruction(
    model: PreTrainedModel,
    layers: list[PrunableLayer],
    tokens: Tensor,
    pattern: Pattern,
    methods: Mapping[str, ReconstructionParameters],
) -> dict[str, float]:
    """The middle decoder block: second moments, the layers' new weights by each method, and a forward pass."""
    devices = devices_of(model)
    _, blocks = decoder_blocks(model)
    index = len(blocks) // 2
    members = [layer for layer in layers if layer.decoder_layer == index]
    call = block_calls(model, blocks, tokens)[index]
    hidden = first_inputs(model, blocks, [tokens])[0]
    moments = SecondMoments(members)
    results: dict[str, float] = {}
    results["block"], _ = timed(devices, lambda: call.run(blocks[index], hidden))
    with moments.watching():
        seconds, _ = timed(devices, lambda: call.run(blocks[index], hidden))
    results["moments"] = max(0.0, seconds - results["block"])
    masks = {layer.name: keep_mask(layer.module.weight.float().abs(), pattern) for layer in members}
    results |= dict.fromkeys(methods, 0.0)
    for moment, of_moment in moments.groups():
        tasks = [LayerTask(layer, masks[layer.name], pattern, pattern.fraction) for layer in of_moment]
        for name, method in methods.items():
            seconds, _ = timed(devices, partial(solve_layers, tasks, moment, method))
            results[name] += seconds
    return results
