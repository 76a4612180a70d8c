"""The Wanda scores of a decoder layer's weights, one linear layer at a time."""

from collections.abc import Iterator

from torch import Tensor

from optishear.metrics.metric import WANDA
from optishear.metrics.score import scores
from optishear.models.layers import PrunableLayer
from optishear.statistics.statistics import Statistics


def block_scores(layers: list[PrunableLayer], statistics: Statistics, decoder_layer: int) -> Iterator[Tensor]:
    """The scores of each linear layer of a decoder layer, [out, in] float32, contiguous.

    Args:
        layers: the model's prunable layers.
        statistics: taken on the dense model.
        decoder_layer: index of the decoder layer.
    """
    for layer in layers:
        if layer.decoder_layer == decoder_layer:
            norms = statistics.of(layer.name, layer.module.in_features)
            yield scores(WANDA, layer.module.weight, norms).float().contiguous()
