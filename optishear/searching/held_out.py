"""Compare the searched recipe with Wanda on held-out calibration sequences."""

import math
import statistics
from dataclasses import dataclass

from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from optishear.divergence.model_divergence import ModelDivergence
from optishear.search_space.candidate import Candidate
from optishear.searching.masked_weights import MaskedWeights

# More sequences reduce the standard error, but each costs two forward passes.
MAXIMUM_SEQUENCES = 8


@dataclass(frozen=True)
class Confirmation:
    """A paired comparison on held-out sequences.

    Attributes:
        sequences: number of sequences.
        kl: mean KL divergence of the chosen candidate from the dense model, in nats per token.
        reference_kl: mean KL divergence of Wanda.
        standard_error: standard error of the mean difference over the sequences, in nats per token.
    """

    sequences: int
    kl: float
    reference_kl: float
    standard_error: float

    @property
    def gain(self) -> float:
        """Wanda's divergence minus the candidate's, in nats per token; positive if the candidate is better."""
        return self.reference_kl - self.kl

    @property
    def within_noise(self) -> bool:
        """Whether the difference is at most two standard errors, or not finite."""
        return not math.isfinite(self.gain) or abs(self.gain) <= 2 * self.standard_error

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        if self.within_noise:
            verdict = "which is within the noise"
        else:
            errors = abs(self.gain) / max(self.standard_error, 1e-12)
            verdict = f"{'better' if self.gain > 0 else 'worse'} by {errors:.0f} standard errors"
        return (
            f"On {self.sequences} held-out sequences, its divergence is {self.kl:.3f} and Wanda's "
            f"{self.reference_kl:.3f} (difference ± {self.standard_error:.3f}), {verdict}."
        )


class HeldOut:
    """Held-out sequences with the dense model's outputs on them."""

    def __init__(self, model: PreTrainedModel, tokens: Tensor, batch_size: int = 4) -> None:
        """Compute the dense outputs.

        Args:
            model: the model with dense weights.
            tokens: [sequences, length] that the search does not use; with fewer than two there is no comparison.
            batch_size: sequences per forward pass.
        """
        tokens = tokens[:MAXIMUM_SEQUENCES]
        self._divergence = ModelDivergence(model, tokens, ("kl",), batch_size) if len(tokens) > 1 else None

    def compare(self, weights: MaskedWeights, chosen: Candidate, reference: Candidate) -> Confirmation | None:
        """Measure both candidates on the same sequences; ``None`` if there are too few."""
        if self._divergence is None:
            return None
        divergences = []
        for candidate in (chosen, reference):
            weights.apply(candidate.layer_metrics, candidate.pruned_per_row)
            divergences.append([distances["kl"] for distances in self._divergence.measure_sequences()])
        differences = [wanda - candidate for candidate, wanda in zip(*divergences, strict=True)]
        finite = all(math.isfinite(difference) for difference in differences)
        return Confirmation(
            sequences=len(differences),
            kl=statistics.fmean(divergences[0]),
            reference_kl=statistics.fmean(divergences[1]),
            standard_error=statistics.stdev(differences) / len(differences) ** 0.5 if finite else math.inf,
        )
