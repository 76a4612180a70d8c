"""One pass over the dense model that adds up its layers' input norms."""

import logging
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor
from tqdm import tqdm
from transformers.modeling_utils import PreTrainedModel

from optishear.batch_size import BatchSize
from optishear.calibration.calibration_set import CalibrationSet
from optishear.models.features import backbone
from optishear.models.finite import check_weights, not_finite
from optishear.models.inputs import watching_inputs
from optishear.models.layers import PrunableLayer, all_prunable_layers, expert_group
from optishear.models.token_ids import check_token_ids
from optishear.statistics.statistics import EXPERT_TOKENS, Statistics

logger = logging.getLogger(__name__)


@torch.no_grad()
def collect_statistics(
    model: PreTrainedModel, calibration: CalibrationSet, batch_size: int = 4, progress: bool = True
) -> Statistics:
    """Run the calibration tokens through the dense model and sum the squares of what each layer reads.

    The sums are kept in float64, one number per input channel, so memory does not grow with the tokens. Layers
    that read the same tensor (the query, key and value projections, say) share one sum.

    Args:
        model: the dense model; left as it was.
        calibration: token blocks [sequences, sequence_length].
        batch_size: sequences per forward pass; where memory runs out, the pass is repeated with half of them.
        progress: show a progress bar.

    Raises:
        InputError: if a weight is not finite; if the inputs of a layer or the last hidden states are not, after the
            first such batch.
    """
    check_weights(model)
    check_token_ids(model, calibration.tokens)
    statistics = BatchSize(batch_size).run(lambda size: _collect(model, calibration.tokens, size, progress))
    warn_of_few_tokens(statistics)
    return statistics


def _collect(model: PreTrainedModel, calibration_tokens: Tensor, batch_size: int, progress: bool) -> Statistics:
    """The statistics of one pass over token blocks [sequences, sequence_length]."""
    layers = all_prunable_layers(model)
    device = layers[0].module.weight.device
    sums = InputSums(layers)
    with watching_inputs(layers, sums.see):
        batches = calibration_tokens.split(batch_size)
        for batch in tqdm(batches, desc="statistics", unit="batch", disable=not progress):
            output = backbone(model)(batch.to(device), use_cache=False)
            sums.check(output.last_hidden_state.dtype)
            check_hidden(output.last_hidden_state)
            sums.end_batch()
    return sums.statistics(*calibration_tokens.shape)


class InputSums:
    """The sums of the squares of what each layer reads, over the batches seen so far."""

    def __init__(self, layers: list[PrunableLayer]) -> None:
        """Begin with no batch.

        Args:
            layers: the prunable layers of the model, in their order.
        """
        self._layers = layers
        self._groups = {layer.name: group for layer in layers if (group := expert_group(layer)) is not None}
        self._sums: dict[str, Tensor] = {}
        self._tokens: Counter[str] = Counter()
        self._last: tuple[Tensor, Tensor] | None = None

    def see(self, layer: PrunableLayer, read: Tensor) -> None:
        """Add what a layer reads, [..., in]; those that read the very same tensor one after another share its sum."""
        if self._last is None or read is not self._last[0]:
            # Each channel's squares are added over at most one batch in float32, then in float64.
            self._last = read, read.detach().float().square().flatten(0, -2).sum(dim=0).double().cpu()
        name, of_batch = layer.name, self._last[1]
        self._sums[name] = self._sums[name] + of_batch if name in self._sums else of_batch
        if name in self._groups:
            self._tokens[name] += read.numel() // read.shape[-1]

    def end_batch(self) -> None:
        """Let go of the tensor that was read last."""
        self._last = None

    def check(self, dtype: torch.dtype) -> None:
        """Refuse inputs that are not finite, naming the first layer, in the order in which they run, that reads them.

        Args:
            dtype: that they were computed in.

        Raises:
            InputError: if a sum is not finite.
        """
        for name, total in self._sums.items():
            if not bool(total.isfinite().all()):
                raise not_finite(f"The inputs of the layer {name!r} are", dtype)

    def statistics(self, sequences: int, length: int) -> Statistics:
        """The statistics of so many sequences of that length."""
        sums, groups, tokens = self._sums, self._groups, self._tokens
        norms = {
            layer.name: (sums[layer.name] / sequences).float() for layer in self._layers if layer.name not in groups
        }
        norms |= _of_experts(self._layers, groups, sums, tokens, length)
        counts = {name: tokens[name] for name in groups}
        return Statistics({layer.name: norms[layer.name] for layer in self._layers}, tokens=counts)


def check_hidden(hidden: Tensor) -> None:
    """Refuse hidden states that are not finite.

    Raises:
        InputError: if one is not.
    """
    if not bool(hidden.isfinite().all()):
        raise not_finite("The model's last hidden states are", hidden.dtype)


def _of_experts(
    layers: list[PrunableLayer],
    groups: Mapping[str, str],
    sums: dict[str, Tensor],
    tokens: Mapping[str, int],
    length: int,
) -> dict[str, Tensor]:
    """The squared norms of the experts' inputs, as over a sequence whose every token is sent to the expert.

    So they compare with those of other layers, however many tokens an expert got. An expert that got fewer than
    ``EXPERT_TOKENS`` has those of the tokens of all experts of its block.
    """
    norms = {}
    members: dict[str, list[str]] = {}
    widths = {}
    for layer in layers:
        if layer.name in groups:
            members.setdefault(groups[layer.name], []).append(layer.name)
            widths[groups[layer.name]] = layer.module.in_features
    for group, names in members.items():
        pooled = sum((sums[name] for name in names if name in sums), torch.zeros(widths[group]))
        all_tokens = max(1, sum(tokens[name] for name in names))
        for name in names:
            enough = tokens[name] >= EXPERT_TOKENS
            total, count = (sums[name], tokens[name]) if enough else (pooled, all_tokens)
            norms[name] = (total / count * length).float()
    return norms


def warn_of_few_tokens(statistics: Statistics) -> None:
    """Name the experts that take their block's shared statistics in the log."""
    words = statistics.few_tokens_in_words
    if words:
        logger.warning("%s Give more or longer sequences.", words)
