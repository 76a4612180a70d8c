"""How sure a search is: its recipe beside Wanda on calibration sequences that the search never saw."""

import math
import statistics
from dataclasses import dataclass

from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from optishear.divergence.model_divergence import ModelDivergence
from optishear.search_space.candidate import Candidate
from optishear.searching.masked_weights import MaskedWeights

# More would tell more and cost two forward passes each.
MOST_SEQUENCES = 8


@dataclass(frozen=True)
class Confirmation:
    """A paired comparison on held-out sequences.

    Attributes:
        sequences: how many.
        kl: mean KL divergence of the chosen candidate from the dense model, in nats per token.
        reference_kl: the same for Wanda.
        standard_error: of the mean difference between the two over the sequences, in nats per token.
    """

    sequences: int
    kl: float
    reference_kl: float
    standard_error: float

    @property
    def gain(self) -> float:
        """By how much the candidate is nearer to the dense model than Wanda, in nats per token."""
        return self.reference_kl - self.kl

    @property
    def within_noise(self) -> bool:
        """Whether the two cannot be told apart."""
        return not math.isfinite(self.gain) or abs(self.gain) <= 2 * self.standard_error

    @property
    def sentence(self) -> str:
        """What it says, for a person."""
        if self.within_noise:
            verdict = "which is within the noise"
        else:
            errors = abs(self.gain) / max(self.standard_error, 1e-12)
            verdict = f"{'better' if self.gain > 0 else 'worse'} by {errors:.0f} standard errors"
        return (
            f"On {self.sequences} sequences that the search never saw, its divergence is {self.kl:.3f} against Wanda's "
            f"{self.reference_kl:.3f} (difference ± {self.standard_error:.3f}), {verdict}."
        )


class HeldOut:
    """Held-out sequences with the dense model's outputs on them."""

    def __init__(self, model: PreTrainedModel, tokens: Tensor, batch_size: int = 4) -> None:
        """Compute the dense outputs.

        Args:
            model: dense at this moment.
            tokens: [sequences, length] that nothing in the search looks at; fewer than two cannot tell anything.
            batch_size: sequences per forward pass.
        """
        tokens = tokens[:MOST_SEQUENCES]
        self._error = ModelDivergence(model, tokens, ("kl",), batch_size) if len(tokens) > 1 else None

    def compare(self, weights: MaskedWeights, chosen: Candidate, reference: Candidate) -> Confirmation | None:
        """Measure both candidates on the same sequences; ``None`` where there are too few."""
        if self._error is None:
            return None
        divergences = []
        for candidate in (chosen, reference):
            weights.apply(candidate.layer_metrics, candidate.pruned_per_row)
            divergences.append([each["kl"] for each in self._error.measure_each()])
        differences = [theirs - ours for ours, theirs in zip(*divergences, strict=True)]
        finite = all(math.isfinite(difference) for difference in differences)
        return Confirmation(
            sequences=len(differences),
            kl=statistics.fmean(divergences[0]),
            reference_kl=statistics.fmean(divergences[1]),
            standard_error=statistics.stdev(differences) / len(differences) ** 0.5 if finite else math.inf,
        )
