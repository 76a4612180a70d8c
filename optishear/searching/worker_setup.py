"""What a worker of a search needs to measure candidates as the search's own process does, to the last bit."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from optishear.divergence.model_divergence import Divergence, ModelDivergence
from optishear.models.select_layers import select_layers
from optishear.models.selection import Selection
from optishear.pattern import Pattern
from optishear.searching.masked_weights import MaskedWeights
from optishear.searching.measuring import Measurer
from optishear.searching.portable_model import PortableModel
from optishear.statistics.statistics import Statistics


@dataclass(frozen=True)
class Measuring:
    """How the divergences of a search are measured.

    Attributes:
        tokens: [sequences, length] int64 of each set of search tokens, by its name; empty for the main set.
        divergences: their kinds.
        batch_size: sequences of a forward pass.
        measured: number of sequences that candidates are measured on.
    """

    tokens: Mapping[str, Tensor]
    divergences: tuple[Divergence, ...]
    batch_size: int
    measured: int

    def of(self, model: PreTrainedModel) -> dict[str, ModelDivergence]:
        """The divergence from a dense model on each set, by the set's name.

        A worker has the tokens of the descent, too, as the process of the search has them: the same batches of dense
        outputs give the same last digits.
        """
        return {
            name: ModelDivergence(model, tokens, self.divergences, self.batch_size, measured=self.measured)
            for name, tokens in self.tokens.items()
        }


@dataclass(frozen=True)
class WorkerSetup:
    """All that a worker is made of.

    Attributes:
        model: dense.
        measuring: search tokens and divergences.
        statistics: of the dense model.
        pattern: the target.
        selection: which layers are pruned.
        rank_bytes: limit of the rank cache.
        copy_on_host: whether the dense weights of a GPU are kept in the host's memory.
        threads: of PyTorch on a CPU; sums have other last digits with another number.
    """

    model: PortableModel
    measuring: Measuring
    statistics: Statistics
    pattern: Pattern
    selection: Selection
    rank_bytes: float
    copy_on_host: bool
    threads: int

    def measurer(self, device: str) -> Measurer:
        """Load the model onto a device and make ready to measure; sets the threads of this process. Once."""
        torch.set_num_threads(self.threads)
        model = self.model.on(torch.device(device))
        layers = select_layers(model, self.selection)
        divergences = self.measuring.of(model)
        weights = MaskedWeights(layers, self.statistics, self.pattern, self.rank_bytes, self.copy_on_host)
        return Measurer(weights, divergences)
