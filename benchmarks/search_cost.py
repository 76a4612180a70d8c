"""What one trial of the search costs, against a plain forward pass on the same tokens in the same run.

    python benchmarks/search_cost.py

Three things are timed in turn, again and again, so that a machine whose speed drifts treats them alike: a plain
forward pass to the logits; a trial with a metric that was not evaluated before (scores, masks and errors); and a
trial of the ratio stage, where two levels are switched and the ranks are kept. Medians are compared.

Memory is counted in bytes of tensors, not of the process: the model, the copy of the prunable weights, the declared
rank cache, the dense targets, and, by the process's high-water mark over a plain forward pass, what a trial needs
beyond these for a moment.
"""

import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from common import c4_calibration, model_and_tokenizer, parser

from optishear.divergence.model_divergence import ModelDivergence
from optishear.metrics.canonical import distinct_meta_metrics
from optishear.models.layers import prunable_layers
from optishear.pattern import parse_pattern
from optishear.search_space.candidate import make_candidate
from optishear.search_space.space import Space
from optishear.searching.algorithms.operators import mutate_levels
from optishear.searching.evaluator import CandidateEvaluator
from optishear.searching.journal import Journal
from optishear.searching.masked_weights import MaskedWeights
from optishear.statistics.collect import collect_statistics
from tasks.store.cost import measured

TARGETS = {"metric_trial_ratio": 1.3, "ratio_trial_ratio": 1.1}


def timed(action: Callable[[], object]) -> float:
    """Seconds that an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def projection(parameters: float, prunable: float, tokens: int, cores_rate: float) -> str:
    """The cost of a 7B model's trial on an 80 GB GPU, with its arithmetic."""
    forward = 2 * parameters * tokens
    rate = 400e12
    forward_seconds = forward / rate
    # A metric trial reads the weights (2 bytes), makes float32 scores (4 bytes written, about six times read by the
    # selection) and writes masked weights (2 bytes); a ratio trial reads ranks and weights and writes weights.
    bandwidth = 2.5e12
    metric_seconds = prunable * (2 + 4 + 6 * 4 + 2) / bandwidth
    ratio_seconds = prunable * (2 + 2 + 2) / bandwidth
    return (
        f"Projection to 7B on one 80 GB GPU ({tokens} tokens, bfloat16, {rate / 1e12:.0f} TFLOP/s reached, "
        f"{bandwidth / 1e12:.1f} TB/s):\n"
        f"  forward: 2 x {parameters / 1e9:.1f}e9 x {tokens} = {forward / 1e12:.0f} TFLOP -> {forward_seconds:.3f} s\n"
        f"  metric trial: + {prunable / 1e9:.1f}e9 x 32 bytes = {prunable * 32 / 1e9:.0f} GB -> "
        f"{metric_seconds:.3f} s, ratio {1 + metric_seconds / forward_seconds:.2f}\n"
        f"  ratio trial: + {prunable / 1e9:.1f}e9 x 6 bytes = {prunable * 6 / 1e9:.0f} GB (all layers) -> "
        f"{ratio_seconds:.3f} s, ratio {1 + ratio_seconds / forward_seconds:.2f}\n"
        f"  memory: model {parameters * 2 / 1e9:.0f} GB + copy {prunable * 2 / 1e9:.0f} GB + ranks "
        f"{prunable * 2 / 1e9:.0f} GB = {(parameters + 2 * prunable) * 2 / 1e9:.0f} GB\n"
        f"  (measured here: {cores_rate / 1e9:.0f} GFLOP/s forward on the CPU)"
    )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--repeats", type=int, default=15, help="counted rounds, after two that are not")
    arguments = options.parse_args()
    model, tokenizer = model_and_tokenizer(arguments)
    calibration = c4_calibration(model, tokenizer, 8, 512, seed=0)
    tokens = calibration.tokens[:4]
    layers = prunable_layers(model)
    prunable = sum(layer.module.weight.numel() for layer in layers)
    total = sum(parameter.numel() for parameter in model.parameters())
    width = model.dtype.itemsize

    @torch.no_grad()
    def forward() -> None:
        model(tokens, use_cache=False)

    forward()
    with measured() as plain:
        forward()
    activations = collect_statistics(model, calibration)
    pattern = parse_pattern("0.5")
    error = ModelDivergence(model, tokens, ("kl",))
    random = np.random.default_rng(0)
    metrics = list(distinct_meta_metrics().values())
    random.shuffle(metrics)  # type: ignore[arg-type]
    with MaskedWeights(layers, activations, pattern, memory_budget=2.0 * prunable) as weights:
        evaluator = CandidateEvaluator(layers, weights, {"": error}, Journal(), pattern)
        groups = list(range(len(layers)))
        space = Space(layers, pattern, (), "meta", {"all": metrics[0]}, groups, 0.02, 31, True)
        genome = space.encode({"all": metrics[0]})
        assert genome is not None

        def metric_trial(index: int) -> None:
            evaluator.measure(make_candidate(layers, pattern, {"all": metrics[index]}), len(tokens))

        def ratio_trial() -> None:
            mutate_levels(space, genome, random)
            evaluator.measure(space.decode(genome), len(tokens))

        times: dict[str, list[float]] = {"forward": [], "metric": [], "ratio": []}
        for repeat in range(arguments.repeats + 2):
            times["forward"].append(timed(forward))
            times["metric"].append(timed(lambda index=repeat + 1: metric_trial(index)))
        with measured() as during_metric:
            metric_trial(arguments.repeats + 5)
        # The ranks of all layers are computed once, when the ratios begin to change under the fixed metric.
        evaluator.measure(space.decode(genome), len(tokens))
        evaluator.measure(space.decode(genome + 2 * (np.arange(len(genome)) % 2) - 1), len(tokens))
        ratio_trial()
        for _ in range(arguments.repeats + 2):
            times["forward"].append(timed(forward))
            times["ratio"].append(timed(ratio_trial))
        with measured() as during_ratio:
            ratio_trial()
        ranks = weights.rank_cache_bytes

    half = arguments.repeats + 2
    forward_metric = statistics.median(times["forward"][2:half])
    forward_ratio = statistics.median(times["forward"][half + 2 :])
    medians = {name: statistics.median(values[2:]) for name, values in times.items()}
    declared = total * width + prunable * width + ranks
    print(f"plain forward pass: {medians['forward']:.3f} s ({tokens.numel()} tokens, {model.dtype})")
    print(f"metric trial: {medians['metric']:.3f} s; ratio trial: {medians['ratio']:.3f} s")
    print(
        f"model {total * width / 2**20:.0f} MiB, copy {prunable * width / 2**20:.0f} MiB, ranks {ranks / 2**20:.0f} MiB"
    )
    print(projection(6.74e9, 6.48e9, tokens.numel(), 2 * total * tokens.numel() / medians["forward"]))
    result = {
        "metric_trial_ratio": round(medians["metric"] / forward_metric, 3),
        "ratio_trial_ratio": round(medians["ratio"] / forward_ratio, 3),
        "targets": TARGETS,
        "forward_seconds": round(medians["forward"], 3),
        "declared_bytes": declared,
        "peak_bytes_plain_forward": plain.peak_memory_bytes,
        "peak_bytes_metric_trial": during_metric.peak_memory_bytes,
        "peak_bytes_ratio_trial": during_ratio.peak_memory_bytes,
        "copy_and_rank_bytes": prunable * width + ranks,
        "memory_within_declared": during_ratio.peak_memory_bytes - plain.peak_memory_bytes <= prunable * width + ranks,
        "repeats": arguments.repeats,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
