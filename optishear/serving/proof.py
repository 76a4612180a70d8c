"""An export in the engine that it is for, next to the dense form of the same weights."""

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn
from transformers import AutoTokenizer
from transformers.modeling_utils import PreTrainedModel

from optishear.errors import InputError
from optishear.extras import require
from optishear.formats.stored import stored_format
from optishear.inference.fast_layers import use_sparse_layers
from optishear.inference.footprint import GAIN
from optishear.inference.sparse_linear import SparseLinear
from optishear.models.layers import prunable_layers
from optishear.models.load import load_model
from optishear.models.quiet import quiet_transformers
from optishear.parameters.export_formats import ExportFormat
from optishear.parameters.proof import ProveParameters
from optishear.pruning.export import TORCHAO_FILE
from optishear.serving.engine import Engine, TransformersEngine
from optishear.serving.export import GGUF_FILE, weight_bytes
from optishear.serving.fp8_export import read_fp8_layers
from optishear.serving.fp8_values import Fp8Engine, use_fp8_values
from optishear.serving.gguf_weights import dense_model
from optishear.serving.llama_cpp import LlamaCppEngine

# A layer counts as pruned where more than one weight in 16 is zero: from there on a bitmask saves bytes in 16 bits.
_PRUNED = 1 / 16
# Sums in another order and activations of 8 bits move the distributions less than this, in nats per token.
_SAME_OUTPUTS = 0.02


class EngineRun(BaseModel):
    """A model in an engine.

    Attributes:
        engine: its name and version.
        memory_bytes: of the weights in memory.
        prompt_tokens_per_second: of one pass over the prompt.
        tokens_per_second: decoded one by one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str
    memory_bytes: int
    prompt_tokens_per_second: float
    tokens_per_second: float


class Proof(BaseModel):
    """What was measured of an export.

    Attributes:
        format: of the export.
        disk_bytes: size of its weight files.
        threads: of the processor.
        pruned_layers: number of layers with zeros.
        sparse_layers: number of those that the engine runs without their zeros.
        dense_layers: names of the others.
        divergence: mean KL divergence of the export's next-token distributions from those of the dense form, in nats.
        same_tokens: share of the positions where both have the same most likely token.
        export: the export in its engine.
        dense: the dense form of the same weights in transformers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: ExportFormat
    disk_bytes: int
    threads: int
    pruned_layers: int
    sparse_layers: int
    dense_layers: tuple[str, ...]
    divergence: float
    same_tokens: float
    export: EngineRun
    dense: EngineRun

    @property
    def same_outputs(self) -> bool:
        """Whether the engine computes what the dense form computes, up to rounding."""
        return self.divergence <= _SAME_OUTPUTS

    @property
    def decode_gain(self) -> float:
        """Tokens per second of the export, over those of the dense form."""
        return self.export.tokens_per_second / self.dense.tokens_per_second

    @property
    def prompt_gain(self) -> float:
        """The same for the prompt."""
        return self.export.prompt_tokens_per_second / self.dense.prompt_tokens_per_second

    @property
    def faster(self) -> bool:
        """Whether sparsity makes the model faster here: layers run sparse, outputs are the same, and time is saved."""
        return bool(self.sparse_layers) and self.same_outputs and max(self.decode_gain, self.prompt_gain) >= GAIN

    @property
    def verdict(self) -> str:
        """What may be claimed, in a sentence or two."""
        if self.format == "fp8-2of4":
            return (
                "Nothing is claimed of speed: FP8 with 2:4 runs in vLLM on a Hopper GPU, and here nothing runs sparse. "
                f"The values of FP8 move the outputs by {self.divergence:.2g} nats per token."
            )
        if not self.same_outputs:
            return (
                f"Not proved: the outputs differ from those of the dense form by {self.divergence:.2g} nats per token, "
                f"more than {_SAME_OUTPUTS}."
            )
        if not self.pruned_layers:
            return "No faster here: no layer is pruned."
        if not self.sparse_layers:
            return (
                f"No faster here: none of the {self.pruned_layers} pruned layers runs sparse. The dense model in the "
                "same engine and type takes the same time."
            )
        some = f"{self.sparse_layers} of {self.pruned_layers} pruned layers run sparse"
        if not self.faster:
            return f"No faster here: {some}, at {self.decode_gain:.2f} times the tokens per second of the dense form."
        return (
            f"Faster here: {some}. Token by token it has {self.decode_gain:.2f} times the tokens per second of the "
            f"dense form, in the prompt {self.prompt_gain:.2f} times."
        )


def prove(parameters: ProveParameters) -> Proof:
    """Load an export in its engine, compare its outputs with those of its dense form, and measure both.

    Raises:
        InputError: if the folder is no export, or its engine is not installed.
    """
    folder = export_folder(parameters.folder)
    format = _format(folder)
    context = parameters.prompt_tokens + parameters.new_tokens + 8
    export, twin = _engines(folder, format, context)
    vocabulary = int(twin.model.config.get_text_config().vocab_size)
    tokens = _tokens(folder, twin, vocabulary, parameters.prompt_tokens)
    divergence, same = _compare(export.logits(tokens), twin.logits(tokens))
    runs = _measured([export, twin], tokens, parameters)
    pruned = _pruned_layers(twin.model)
    return Proof(
        format=format,
        disk_bytes=weight_bytes(folder),
        threads=torch.get_num_threads(),
        pruned_layers=len(pruned),
        sparse_layers=len(set(pruned) & set(export.sparse_layers)),
        dense_layers=tuple(name for name in pruned if name not in export.sparse_layers),
        divergence=divergence,
        same_tokens=same,
        export=runs[0],
        dense=runs[1],
    )


def export_folder(folder: Path) -> Path:
    """The folder with the weights: the given one, or ``model/`` in it.

    Raises:
        InputError: if neither has any.
    """
    for candidate in (folder, folder / "model"):
        if candidate.is_dir() and (stored_format(candidate) or (candidate / GGUF_FILE).is_file()):
            return candidate
    raise InputError(f"The folder {str(folder)!r} holds no export; give what optishear export wrote.")


def _format(folder: Path) -> ExportFormat:
    if (folder / TORCHAO_FILE).is_file():
        return "fp8-2of4"
    return "gguf" if (folder / GGUF_FILE).is_file() else stored_format(folder) or "dense"


def _engines(folder: Path, format: ExportFormat, context: int) -> tuple[Engine, TransformersEngine]:
    """The export in its engine, and its dense form in transformers."""
    if format == "gguf":
        require(["gguf"], "Reading a GGUF file")
        export = LlamaCppEngine(folder / GGUF_FILE, context)
        return export, TransformersEngine(dense_model(folder / GGUF_FILE))
    twin = TransformersEngine(load_model(str(folder), device="cpu").model)
    if format == "dense":
        return twin, twin
    if format == "fp8-2of4":
        layers = read_fp8_layers(folder)
        valued = load_model(str(folder), device="cpu", dtype="bfloat16").model
        use_fp8_values(valued, layers["sparse"] + layers["dense"])
        return Fp8Engine(valued), twin
    packed = load_model(str(folder), device="cpu").model
    use_sparse_layers(packed)
    names = tuple(name for name, module in packed.named_modules() if isinstance(module, SparseLinear))
    return TransformersEngine(packed, names), twin


def _pruned_layers(model: PreTrainedModel) -> list[str]:
    return [
        layer.name
        for layer in prunable_layers(model)
        if isinstance(layer.module, nn.Linear)
        and int((layer.module.weight == 0).sum()) > _PRUNED * layer.module.weight.numel()
    ]


def _tokens(folder: Path, twin: TransformersEngine, vocabulary: int, count: int) -> list[int]:
    """Tokens that the model itself finds likely, after the first of a text."""
    with quiet_transformers():
        first = AutoTokenizer.from_pretrained(folder)("The")["input_ids"]
    generator = torch.Generator().manual_seed(0)
    tokens = [token for token in first if token < vocabulary]
    with torch.no_grad():
        past = None
        batch = torch.tensor([tokens])
        while len(tokens) < count:
            output = twin.model(input_ids=batch, past_key_values=past, use_cache=True)
            past = output.past_key_values
            probabilities = output.logits[0, -1].float().softmax(dim=0)
            batch = torch.multinomial(probabilities, 1, generator=generator)[None]
            tokens.append(int(batch))
    return tokens[:count]


def _compare(found: torch.Tensor, expected: torch.Tensor) -> tuple[float, float]:
    """KL divergence of ``found`` from ``expected`` in nats per token, and the share of equal most likely tokens."""
    reference, logs = expected.double().log_softmax(dim=-1), found.double().log_softmax(dim=-1)
    divergence = (reference.exp() * (reference - logs)).sum(dim=-1).mean()
    same = (found.argmax(dim=-1) == expected.argmax(dim=-1)).float().mean()
    # What is not a number is as far away as can be.
    return float(divergence.nan_to_num(nan=float("inf"))), float(same)


def _measured(engines: Sequence[Engine], tokens: Sequence[int], parameters: ProveParameters) -> list[EngineRun]:
    """The fastest round of each engine; the rounds go in turn, so that other work on the machine hits both."""
    prompts: list[list[float]] = [[] for _ in engines]
    decodes: list[list[float]] = [[] for _ in engines]
    for _ in range(parameters.rounds):
        for engine, prompt, decode in zip(engines, prompts, decodes, strict=True):
            prompt.append(engine.prompt_seconds(tokens))
            decode.append(engine.decode_seconds(tokens[:16], parameters.new_tokens))
    return [
        EngineRun(
            engine=engine.name,
            memory_bytes=engine.memory_bytes,
            prompt_tokens_per_second=round(len(tokens) / min(prompt), 2),
            tokens_per_second=round(1 / min(decode), 2),
        )
        for engine, prompt, decode in zip(engines, prompts, decodes, strict=True)
    ]
