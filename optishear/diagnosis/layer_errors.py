"""Output errors by layer, and of the hidden states after each decoder block."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedModel

from optishear.batch_size import BatchSize
from optishear.diagnosis.pruned_weights import PrunedWeight
from optishear.models.features import backbone
from optishear.models.inputs import watching_inputs
from optishear.models.layers import PrunableLayer, decoder_blocks, prunable_layers

LAYER_SCHEMA = pa.schema(
    [
        pa.field("layer", pa.string()),
        pa.field("decoder_layer", pa.int32()),
        pa.field("kind", pa.string()),
        pa.field("method", pa.string()),
        pa.field("relative_error", pa.float64()),
    ]
)
BLOCK_SCHEMA = pa.schema(
    [
        pa.field("decoder_layer", pa.int32()),
        pa.field("method", pa.string()),
        pa.field("relative_error", pa.float64()),
    ]
)
# Relative errors are ratios of sums over tokens: a thousand tokens settle them to a few percent.
TOKENS = 1024


class _MixedTokens(Exception):
    """A layer reads tokens of several sequences in an order of its own, as a routed expert does."""


@torch.no_grad()
def layer_errors(
    model: PreTrainedModel, tokens: Tensor, methods: Mapping[str, PrunedWeight], batch_size: int = 4
) -> tuple[pa.Table, pa.Table]:
    """Relative output errors of pruned layers, and of the hidden states after each decoder block.

    For a linear layer: ``|(W - V) X| / |W X|`` in the Frobenius norm, with W the dense weight, V the pruned one and X
    the dense model's inputs. For a decoder block: ``|h - H| / |H|`` with H the dense model's hidden states after it
    and h the pruned model's, where everything before it is pruned too.

    The dense and all pruned models run side by side as slices of one batch, whose prunable layers multiply each
    slice by its own weights. So any architecture goes through its own forward pass, and no more than one layer is
    held per method. Where layers are routed (mixtures of experts) the slices do not stay apart; the table of the
    decoder blocks is empty then.

    Args:
        model: the dense model; not changed.
        tokens: [sequences, length] int64; about the first ``TOKENS`` of them are used, at least one sequence.
        methods: the pruned weights, by method.
        batch_size: sequences per forward pass, each of which runs once for every method and once dense; where memory
            runs out, the pass is repeated with half of them.

    Returns:
        The tables of ``layer_errors.parquet`` and ``block_errors.parquet``.
    """
    used = tokens[: max(1, TOKENS // tokens.shape[1])]
    batch = BatchSize(batch_size)

    def one_pass(streams: int) -> tuple[pa.Table, pa.Table]:
        return batch.run(lambda size: _Pass(model, methods, streams).over(used.split(size)))

    try:
        return one_pass(1 + len(methods))
    except _MixedTokens:
        return one_pass(1)


class _Pass:
    """One forward pass with hooks; ``streams`` is 1 where only the dense model runs."""

    def __init__(self, model: PreTrainedModel, methods: Mapping[str, PrunedWeight], streams: int) -> None:
        self.model = model
        self.methods = methods
        self.streams = streams
        self.layers = prunable_layers(model)
        self.blocks = decoder_blocks(model)[1]
        # Sums of squares: of the error by method, of the dense output under the empty name.
        self.of_layers: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self.of_blocks: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def over(self, batches: Iterable[Tensor]) -> tuple[pa.Table, pa.Table]:
        handles = []
        if self.streams > 1:
            if any(layer.expert is not None for layer in self.layers):
                raise _MixedTokens
            handles += [
                module.register_forward_hook(self._watch_layer(layer))
                for layer in self.layers
                for module in (layer.called, *layer.shared_by)
            ]
            handles += [
                block.register_forward_hook(self._watch_block(index)) for index, block in enumerate(self.blocks)
            ]
        device = self.layers[0].module.weight.device
        try:
            with watching_inputs(self.layers if self.streams == 1 else [], self._see):
                for batch in batches:
                    self._tokens = batch.numel()
                    backbone(self.model)(batch.repeat(self.streams, 1).to(device), use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        return self._layer_table(), self._block_table()

    def _see(self, layer: PrunableLayer, read: Tensor) -> None:
        """Add up the errors of one layer on the dense model's inputs, where only the dense model runs."""
        rows, dense = read.detach().reshape(-1, layer.module.in_features), layer.module.weight
        sums = self.of_layers[layer.name]
        sums[""] += _squares(rows @ dense.T)
        for method, pruned in self.methods.items():
            sums[method] += _squares(rows @ (dense - pruned(layer)).T)

    def _watch_layer(self, layer: PrunableLayer) -> Any:
        weight = layer.module.weight

        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            read = inputs[0].reshape(-1, weight.shape[1])
            if len(read) != self.streams * self._tokens:
                raise _MixedTokens
            written = output.reshape(-1, weight.shape[0])
            dense = len(read) // self.streams
            bias = getattr(module, "bias", None)
            sums = self.of_layers[layer.name]
            sums[""] += _squares(written[:dense] - (0 if bias is None else bias))
            replaced = [written[:dense]]
            for index, (method, pruned) in enumerate(self.methods.items(), start=1):
                other = pruned(layer)
                sums[method] += _squares(read[:dense] @ (weight - other).T)
                replaced.append(nn.functional.linear(read[index * dense : (index + 1) * dense], other, bias))
            return torch.cat(replaced).reshape(output.shape)

        return hook

    def _watch_block(self, index: int) -> Any:
        def hook(_module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
            hidden: Tensor = output[0] if isinstance(output, tuple) else output
            dense, *others = hidden.float().chunk(self.streams)
            sums = self.of_blocks[index]
            sums[""] += _squares(dense)
            for method, state in zip(self.methods, others, strict=True):
                sums[method] += _squares(state - dense)

        return hook

    def _layer_table(self) -> pa.Table:
        rows = [
            {
                "layer": layer.name,
                "decoder_layer": layer.decoder_layer,
                "kind": layer.kind,
                "method": method,
                "relative_error": _root_ratio(sums[method], sums[""]),
            }
            for layer in self.layers
            # An expert that no token was sent to has none.
            if (sums := self.of_layers.get(layer.name)) is not None
            for method in self.methods
        ]
        return pa.Table.from_pylist(rows, schema=LAYER_SCHEMA)

    def _block_table(self) -> pa.Table:
        rows = [
            {"decoder_layer": index, "method": method, "relative_error": _root_ratio(sums[method], sums[""])}
            for index, sums in sorted(self.of_blocks.items())
            for method in self.methods
        ]
        return pa.Table.from_pylist(rows, schema=BLOCK_SCHEMA)


def _squares(values: Tensor) -> float:
    return float(values.float().square().sum(dtype=torch.float64))


def _root_ratio(error: float, dense: float) -> float:
    return (error / dense) ** 0.5 if dense else float("nan")
