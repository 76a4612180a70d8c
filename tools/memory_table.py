"""Write the tables of docs/memory.md and docs/scale.md: the planned memory of each stage by model, and measured peaks.

python tools/memory_table.py            # write the tables into the pages
python tools/memory_table.py --check    # exit with 1 where they are not current
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MixtralConfig

from optishear.divergence.model_divergence import TOKENS_PER_BACKWARD
from optishear.memory.model_shape import ModelShape, shape_of_shard
from optishear.memory.need import Need
from optishear.memory.needs import (
    calibrate_need,
    diagnose_need,
    evaluate_need,
    gradients_need,
    prune_need,
    statistics_need,
)
from optishear.memory.search_plan import rank_bytes, search_need
from optishear.memory.solver_needs import reconstruct_need, recover_need, recovery_state_bytes
from optishear.models.shards import placement_on
from optishear.parameters.read import read_parameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.searching.search_memory import search_work

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, SCALE = DOCS / "memory.md", DOCS / "scale.md"
# The default parameters of a run in bfloat16.
SEQUENCES, LENGTH, WINDOW, BATCH, ITEMSIZE = 32, 512, 1024, 64, 2
GIB = 2**30
MODELS: dict[str, dict[str, Any]] = {
    "Qwen2.5-1.5B": {
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "LLaMA-2-7B": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 32000,
    },
    "LLaMA-3-8B": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
    },
    "LLaMA-2-13B": {
        "hidden_size": 5120,
        "intermediate_size": 13824,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
        "num_key_value_heads": 40,
        "vocab_size": 32000,
    },
    "LLaMA-3-70B": {
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
    },
    "Mixtral-8x7B": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 32000,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    },
}
# Of these, what each GPU takes.
SHARDED = ("LLaMA-3-70B over 8 GPUs",)

# The columns of docs/scale.md, and the GiB that a GPU of 80 GB can give.
SCALES = [
    f"{model}{gpus}"
    for model in ("Qwen2.5-1.5B", "LLaMA-3-8B", "LLaMA-3-70B", "Mixtral-8x7B")
    for gpus in ("", " over 8 GPUs")
]
ROOM = 79

# Peaks in GiB, by tests/memory/test_size_runs.py.
MEASURED: dict[str, dict[str, float]] = {
    "LLaMA-2-7B": {
        "calibrate (self)": 20.6,
        "statistics": 12.8,
        "prune": 12.6,
        "evaluate": 14.1,
        "diagnose": 13.1,
        "reconstruct (admm)": 18.4,
        "reconstruct (tuning)": 16.6,
        "search": 47.8,
        "search, activations computed again": 38.3,
        "search, the same without ranks": 26.3,
        "search, the same with the dense copy on the host": 14.3,
        "search 2:4": 25.0,
        "recover": 61.3,
        "recover, activations computed again": 50.8,
    },
    "LLaMA-3-8B": {
        "calibrate (self)": 17.0,
        "statistics": 15.3,
        "prune": 15.0,
        "evaluate": 16.0,
        "diagnose": 15.6,
        "reconstruct (admm)": 23.5,
        "reconstruct (tuning)": 20.3,
        "search": 53.2,
        "search, activations computed again": 42.8,
        "search, the same without ranks": 30.0,
        "search, the same with the dense copy on the host": 19.0,
        "search 2:4": 28.6,
        "recover": 69.0,
        "recover, activations computed again": 57.6,
    },
}


def configuration(name: str, blocks: int | None = None) -> LlamaConfig | MixtralConfig:
    """The configuration of a model of Llama's or Mixtral's kind, with fewer blocks where a number is given."""
    sizes = {"tie_word_embeddings": False, "max_position_embeddings": 8192, **MODELS[name]}
    if blocks is not None:
        sizes["num_hidden_layers"] = blocks
    return MixtralConfig(**sizes) if "num_local_experts" in sizes else LlamaConfig(**sizes)


def model_and_gpus(name: str) -> tuple[str, int]:
    """A model of ``MODELS``, and over how many GPUs it is, from a name such as ``LLaMA-3-70B over 8 GPUs``."""
    model, _, gpus = name.partition(" over ")
    return model, int(gpus.partition(" ")[0] or 1)


def shape(name: str) -> ModelShape:
    """The shape of a model, or of its part on one of several GPUs, from its configuration alone."""
    of, gpus = model_and_gpus(name)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(configuration(of))
    return shape_of_shard(model, placement_on(of, model, tuple(torch.device("cuda", gpu) for gpu in range(gpus))))


def needs(of_model: ModelShape) -> dict[str, Need]:
    """The need of each stage, by the label of its row."""
    search = read_parameters(SearchParameters, {})
    rows = search_work(search, SEQUENCES, LENGTH, parse_pattern("0.5"))
    groups = search_work(search, SEQUENCES, LENGTH, parse_pattern("2:4"))
    ranks = rank_bytes(of_model)

    def reconstruct(**values: Any) -> Need:
        parameters = read_parameters(ReconstructionParameters, values)
        return reconstruct_need(of_model, ITEMSIZE, parameters, sequences=SEQUENCES, length=LENGTH)

    def recover(recomputed: bool, sequences: int = TOKENS_PER_BACKWARD // LENGTH) -> Need:
        return recover_need(
            of_model, ITEMSIZE, length=LENGTH, tokens_per_step=sequences * LENGTH, recomputed=recomputed
        )

    def searched(**ways: Any) -> Need:
        return search_need(of_model, ITEMSIZE, rows, recomputed=True, **ways)

    return {
        "calibrate (self)": calibrate_need(of_model, ITEMSIZE, sequences=SEQUENCES, length=LENGTH),
        "statistics": statistics_need(of_model, ITEMSIZE, length=LENGTH),
        "gradients": gradients_need(of_model, ITEMSIZE, length=LENGTH),
        "search": search_need(of_model, ITEMSIZE, rows, ranks=ranks),
        "search, activations computed again": searched(ranks=ranks),
        "search, the same without ranks": searched(ranks=0),
        "search, the same with the dense copy on the host": searched(ranks=0, copy_on_host=True),
        "search 2:4": search_need(of_model, ITEMSIZE, groups, ranks=0),
        "prune": prune_need(of_model, ITEMSIZE),
        "reconstruct (sparsegpt)": reconstruct(reconstruction="sparsegpt"),
        "reconstruct (admm)": reconstruct(reconstruction="admm"),
        "reconstruct (tuning)": reconstruct(tuning_steps=64),
        "recover": recover(recomputed=False),
        "recover, activations computed again": recover(recomputed=True),
        "recover, the same in several passes a step": recover(recomputed=True, sequences=32),
        "evaluate": evaluate_need(of_model, ITEMSIZE, window_length=WINDOW, batch_size=BATCH),
        "diagnose": diagnose_need(of_model, ITEMSIZE, length=LENGTH),
    }


def tables() -> dict[str, str]:
    """The tables of the page, by the name of their place."""
    planned = {name: needs(shape(name)) for name in (*MODELS, *SHARDED)}
    return {
        "planned": _table(["stage", *planned], _planned_rows(planned)),
        "parts": _table(["stage", "parts at the peak"], _part_rows(planned["LLaMA-2-7B"])),
        "measured": _table(
            ["stage", *(f"{name}, {kind}" for name in MEASURED for kind in ("planned", "measured"))],
            _measured_rows(planned),
        ),
    }


def _planned_rows(planned: dict[str, dict[str, Need]]) -> Iterator[list[str]]:
    yield ["weights", *(_gib(of_model["prune"].parts["weights"]) for of_model in planned.values())]
    for stage in next(iter(planned.values())):
        yield [stage, *(_gib(of_model[stage].total) for of_model in planned.values())]


def _part_rows(of_model: dict[str, Need]) -> Iterator[list[str]]:
    for stage, need in of_model.items():
        parts = [f"{name} {_gib(size)}" for name, size in need.parts.items()]
        host = [f"{name} on the host {_gib(size)}" for name, size in need.host.items()]
        yield [stage, ", ".join([*parts, *host])]


def _measured_rows(planned: dict[str, dict[str, Need]]) -> Iterator[list[str]]:
    for stage in next(iter(MEASURED.values())):
        pairs = ((_gib(planned[name][stage].total), f"{peaks[stage]:.1f}") for name, peaks in MEASURED.items())
        yield [stage, *(cell for pair in pairs for cell in pair)]


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"


def _table(header: list[str], rows: Iterator[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def scale_tables() -> dict[str, str]:
    """The table of docs/scale.md."""
    shapes = {name: shape(name) for name in SCALES}
    planned = {name: needs(of_model) for name, of_model in shapes.items()}
    stages = ("statistics", "search", "search 2:4", "prune", "reconstruct (admm)", "recover", "evaluate")
    rows = [[stage, *(_fitting(stage, of_model) for of_model in planned.values())] for stage in stages]
    wholes = [shape(model_and_gpus(name)[0]) for name in SCALES]
    rows.append(["disk: checkpoint", *(_gib(ITEMSIZE * whole.parameters) for whole in wholes)])
    rows.append(["disk: state of the recovery", *(_gib(recovery_state_bytes(whole, ITEMSIZE)) for whole in wholes)])
    return {"scale": _table(["stage", *SCALES], iter(rows))}


def _fitting(stage: str, of_model: dict[str, Need]) -> str:
    """GiB of the first way of a stage that fits a GPU, ``*`` where it is not the first one; a dash where none does."""
    ways = [need for name, need in of_model.items() if name == stage or name.startswith(f"{stage},")]
    fitting = next((need for need in ways if need.total <= ROOM * GIB), None)
    if fitting is None:
        return "–"
    return _gib(fitting.total) + ("" if fitting is ways[0] else "*")


def page(text: str, of_page: dict[str, str]) -> str:
    """A page's text with current tables."""
    for name, table in of_page.items():
        begin, end = f"<!-- {name}: tools/memory_table.py -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    return text


def main() -> None:
    """Write or check the tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--check", action="store_true", help="write nothing; fail where the tables are not current")
    check = options.parse_args().check
    for path, of_page in ((PAGE, tables()), (SCALE, scale_tables())):
        text = path.read_text(encoding="utf-8")
        current = page(text, of_page)
        if current == text:
            print(f"The tables of {path.name} are current.")
        elif check:
            sys.exit(f"The tables of docs/{path.name} are not current; run: python tools/memory_table.py")
        else:
            path.write_text(current, encoding="utf-8")
            print(f"Written: {path.name}")


if __name__ == "__main__":
    main()
