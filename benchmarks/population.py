"""Seconds of a candidate without workers and with one and two of them, and what the way to a worker and back adds.

    python benchmarks/population.py

All measure the same candidates, which have new masks in every layer, and the values are compared. The time that a
worker has measured is its own clock's; what is left of the time that workers were there, for each candidate, is the
overhead: sending, receiving, and waiting for the last candidate.
"""

import json
import logging
import time
from collections.abc import Iterator, Sequence

import torch
from common import model_and_tokenizer, parser

from optishear.calibration.calibration_set import CalibrationSet
from optishear.metrics.canonical import distinct_meta_metrics
from optishear.models.layers import prunable_layers
from optishear.models.selection import ALL_LAYERS
from optishear.pattern import parse_pattern
from optishear.search_space.candidate import make_candidate
from optishear.searching.measuring import Measured, Part, Work
from optishear.searching.portable_model import PortableModel
from optishear.searching.ray_workers import ray_population
from optishear.searching.worker_setup import Measuring, WorkerSetup
from optishear.statistics.collect import collect_statistics
from optishear.workers import Workers

Results = list[list[Measured]]


def timed(results: Iterator[list[Measured]]) -> tuple[Results, float]:
    """All results, and the seconds until the last of them."""
    started = time.perf_counter()
    return list(results), time.perf_counter() - started


def without_workers(setup: WorkerSetup, works: Sequence[Work]) -> tuple[Results, float, float]:
    """Results, their seconds, and the seconds before them."""
    started = time.perf_counter()
    measurer = setup.measurer("cpu")
    measurer.measure(works[0])
    before = time.perf_counter() - started
    return *timed(map(measurer.measure, works)), before


def with_workers(setup: WorkerSetup, works: Sequence[Work], count: int) -> tuple[Results, float, float]:
    """As ``without_workers``; each worker has measured a candidate before."""
    started = time.perf_counter()
    with ray_population(Workers(count), setup, torch.device("cpu")) as population:
        list(population.measure(works[:1] * count * 2))
        before = time.perf_counter() - started
        return *timed(population.measure(works)), before


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--candidates", type=int, default=16, help="candidates of the generation")
    options.add_argument("--sequences", type=int, default=2, help="sequences of each measurement")
    options.add_argument("--length", type=int, default=256, help="tokens of a sequence")
    options.add_argument("--workers", default="0,1,2", help="numbers of workers, the first of them 0")
    arguments = options.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    model, _ = model_and_tokenizer(arguments)
    generator = torch.Generator().manual_seed(0)
    size = (arguments.sequences, arguments.length)
    tokens = torch.randint(10, model.config.vocab_size, size, generator=generator)
    statistics = collect_statistics(model, CalibrationSet(tokens, source="random"), progress=False)
    pattern = parse_pattern("0.5")
    layers = prunable_layers(model)
    metrics = list(distinct_meta_metrics().values())[: arguments.candidates]
    candidates = [make_candidate(layers, pattern, {"all": metric}) for metric in metrics]
    part = Part("", 0, arguments.sequences)
    works = [Work(candidate.layer_metrics, candidate.pruned_per_row, (part,)) for candidate in candidates]
    measuring = Measuring({"": tokens}, ("kl",), 4, arguments.sequences)
    threads = torch.get_num_threads()
    rows = []
    expected: list[object] = []
    for count in map(int, arguments.workers.split(",")):
        setup = WorkerSetup(
            PortableModel.of(model),
            measuring,
            statistics,
            pattern,
            ALL_LAYERS,
            0.0,
            copy_on_host=False,
            threads=threads,
        )
        found, seconds, before = with_workers(setup, works, count) if count else without_workers(setup, works)
        values = [[each.distances for each in result] for result in found]
        expected = expected or values
        busy = sum(each.seconds for result in found for each in result)
        row = {
            "workers": count,
            "seconds_per_candidate": round(seconds / len(works), 4),
            "measuring_per_candidate": round(busy / len(works), 4),
            "overhead_per_candidate": round((seconds * max(count, 1) - busy) / len(works), 4),
            "start_seconds": round(before, 1),
            "same_values": values == expected,
        }
        print(" ".join(f"{name} {value}" for name, value in row.items()))
        rows.append(row)
    print(json.dumps({"candidates": len(works), "tokens": tokens.numel(), "threads": threads, "rows": rows}))


if __name__ == "__main__":
    main()
