"""Divergence of a pruned model's outputs from the dense model's; the paper calls it model-wise reconstruction error."""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from optishear.batch_size import BatchSize
from optishear.models.features import FeatureModel, split_at_head
from optishear.models.finite import is_finite, not_finite
from optishear.models.loss_scale import LossScale

Divergence = Literal["kl", "frobenius"]

# The likeliest tokens of the dense distribution are stored one by one, and the others (the tail) as one mass. Merging
# outcomes can only reduce a KL divergence: the 256 likeliest of SmolLM2's 49,152 tokens have 92 % of the mass.
LIKELIEST_TOKENS = 256
# Tokens whose full-vocabulary logits are in memory at a time: 512 x 49,152 x 4 bytes are 96 MiB.
TOKENS_PER_CHUNK = 512
# Tokens of one backward pass, whose activations are in memory; fewer where memory is too small for them.
TOKENS_PER_BACKWARD = 2048
# Logits that are normalised at a time on a CPU (4 MiB in float32).
LOGITS_IN_CACHE = 2**20
# A smaller tail is a rounding error.
SMALLEST_TAIL = 1e-6


class ModelDivergence:
    """Distances from the dense model's outputs, on one set of search tokens.

    The dense outputs are computed once and stored compactly: the final hidden states, and for ``kl`` the likeliest next
    tokens with their log-probabilities. The logits of a whole batch are never in memory.

    With a linear head (L = H E^T), the Frobenius norm of the difference of the logits is computed without logits:
    |D E^T|_F^2 = sum over tokens of d (E^T E) d^T, with d the difference of the hidden states.

    Attributes:
        sequences_per_backward: sequences whose activations are in memory in ``backward``, which fails where memory runs
            out: its caller drops the gradients and repeats it in this size's ``run``. Forward passes repeat themselves.
    """

    @torch.no_grad()
    def __init__(
        self,
        model: PreTrainedModel | FeatureModel,
        tokens: Tensor,
        divergences: tuple[Divergence, ...],
        batch_size: int = 4,
        measured: int | None = None,
    ) -> None:
        """Compute the dense outputs.

        Args:
            model: the model with dense weights, or its parts; later calls measure its current weights.
            tokens: [sequences, length] token ids.
            divergences: distances to measure; ``frobenius`` is added if it costs next to nothing for each sequence.
            batch_size: sequences per forward pass to begin with.
            measured: number of sequences for ``measure``, by default all; for the others, only ``backward`` is
                available and no hidden states are stored.

        Raises:
            InputError: if the dense outputs are not finite.
        """
        self.tokens = tokens
        self._model = split_at_head(model)
        self._batch_size = BatchSize(batch_size)
        self.sequences_per_backward = BatchSize(max(1, TOKENS_PER_BACKWARD // tokens.shape[1]), of="backward pass")
        head = self._model.head
        # The matrix that makes it cheap takes as long as a pass over hundreds of tokens: none if nothing is measured.
        if head is not None and "frobenius" not in divergences and measured != 0:
            divergences = (*divergences, "frobenius")
        self.divergences = divergences
        self._gram = head.float().T @ head.float() if head is not None and "frobenius" in divergences else None
        outputs = list(
            self._batch_size.each(
                len(tokens),
                lambda batch: self._dense_outputs(
                    tokens[batch],
                    keeps_features="frobenius" in divergences and (measured is None or batch.start < measured),
                ),
            )
        )
        # Each is [tokens, ...], with all sequences concatenated.
        self._dense_features = _joined([dense for dense, _, _ in outputs])
        self._likeliest = _joined([likeliest for _, likeliest, _ in outputs])
        self._log_masses = _joined([log_masses for _, _, log_masses in outputs])

    def _dense_outputs(self, batch: Tensor, keeps_features: bool) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The hidden states, the likeliest tokens and their log-probabilities for some sequences, as far as needed."""
        dense = self._model.features(batch).flatten(0, -2)
        if not is_finite(dense):
            raise not_finite("The dense model's last hidden states are", dense.dtype)
        likeliest: list[Tensor] = []
        log_masses: list[Tensor] = []
        for chunk in dense.split(TOKENS_PER_CHUNK) if "kl" in self.divergences else ():
            log_probabilities = torch.log_softmax(self._model.logits(chunk).float(), dim=-1)
            count = min(LIKELIEST_TOKENS, log_probabilities.shape[-1])
            if not is_finite(log_probabilities):
                raise not_finite("The dense model's outputs are", dense.dtype)
            values, indices = log_probabilities.topk(count, dim=-1)
            likeliest.append(indices.to(torch.int32))
            log_masses.append(values)
        return dense if keeps_features else None, _joined(likeliest), _joined(log_masses)

    def of(self, model: PreTrainedModel | FeatureModel) -> Self:
        """The same dense outputs, to compare those of another model with."""
        other = copy.copy(self)
        other._model = split_at_head(model)
        return other

    def measure(self, sequences: int | None = None) -> dict[Divergence, float]:
        """Distances of the model's current outputs from the dense ones, on the first ``sequences`` sequences.

        Returns:
            ``kl``: mean over tokens of KL(dense || pruned) of the next-token distributions, in nats.
            ``frobenius``: Frobenius norm of the difference of the logits over all tokens. Both are infinite if the
            pruned outputs are not finite.
        """
        return combine_sequences(self.measure_sequences(0, sequences))

    @torch.no_grad()
    def measure_sequences(self, first: int = 0, count: int | None = None) -> list[dict[Divergence, float]]:
        """The distances of ``measure``, separately for each of ``count`` sequences from ``first``."""
        tokens = self.tokens[first:] if count is None else self.tokens[first : first + count]
        parts = self._batch_size.each(
            len(tokens), lambda batch: self._measure_batch(tokens[batch], (first + batch.start) * tokens.shape[1])
        )
        return [{name: of_sequence[name] for name in self.divergences} for part in parts for of_sequence in part]

    def _measure_batch(self, batch: Tensor, at: int) -> list[dict[Divergence, float]]:
        """The distances of each sequence of a batch, whose first token has the number ``at``."""
        features = self._model.features(batch).flatten(0, -2)
        values: dict[Divergence, Tensor] = {}
        if "kl" in self.divergences:
            chunks = [self._compare(self._model.logits(chunk), start) for chunk, start in _chunks(features, at)]
            values["kl"] = torch.cat([comparison.divergence for comparison in chunks])
        if "frobenius" in self.divergences:
            values["frobenius"] = self._squared_distance(features, at)
        return _by_sequence(values, len(batch))

    def backward(
        self, first: int, count: int, scale: LossScale | None = None, mean_over: int | None = None
    ) -> list[dict[Divergence, float]]:
        """Back-propagate the mean KL divergence of some sequences to the weights that require a gradient.

        The logits are back-propagated to the features in chunks, and the features to the weights in batches of
        ``sequences_per_backward``, which limits the memory for activations.

        Args:
            first: first sequence.
            count: number of sequences.
            scale: its factor multiplies the gradients, which are to be read with its ``unscaled``. Sequences whose
                divergence is not finite then give no gradient, since no factor would help.
            mean_over: number of sequences of the mean, by default ``count``; more where the gradients of several calls
                add up to that of one mean.

        Returns:
            The distances of each sequence as from ``measure_sequences``, but without ``frobenius`` if no dense hidden
            states of the sequence are stored.
        """
        length = self.tokens.shape[1]
        factor = 1.0 if scale is None else scale.factor
        at = first * length
        distances: list[dict[Divergence, float]] = []
        for batch in self.tokens[first : first + count].split(self.sequences_per_backward.size):
            features = self._model.features(batch).flatten(0, -2)
            leaf = features.detach().requires_grad_(True)
            divergences = []
            for chunk, start in _chunks(leaf, at):
                logits = self._model.logits(chunk)
                pruned = logits.detach() if self._model.head is not None else logits.detach().clone()
                divergences.append(self._to_gradient(pruned, start, (mean_over or count) * length / factor))
                logits.backward(pruned)
            values: dict[Divergence, Tensor] = {"kl": torch.cat(divergences)}
            if factor == 1 or is_finite(values["kl"]):
                features.backward(leaf.grad)
            if self._dense_features is not None and at + len(leaf) <= len(self._dense_features):
                values["frobenius"] = self._squared_distance(leaf.detach(), at)
            distances += _by_sequence(values, len(batch))
            at += len(leaf)
        return distances

    def _squared_distance(self, features: Tensor, at: int) -> Tensor:
        """Squared distance of the logits of each token, [tokens] float32."""
        assert self._dense_features is not None
        difference = features.float() - self._dense_features[at : at + len(features)].float()
        if self._gram is None:
            return difference.square().sum(dim=-1)
        return ((difference @ self._gram) * difference).sum(dim=-1)

    def _to_gradient(self, logits: Tensor, at: int, divisor: float) -> Tensor:
        """KL divergence of each token, [tokens] float32; the logits are replaced by the gradient of its mean.

        Let p and q be the dense and the pruned probabilities, K the likeliest tokens, P the sum of p over K, S the sum
        of q over K, and c = (1 - P) / (1 - S). The derivative by logit j is q_j (P - c S), plus c q_j - p_j for j in K.
        If a tail is a rounding error, c is 0. Automatic differentiation would need several more passes over all logits.

        Args:
            logits: [tokens, vocabulary] of the pruned model; overwritten.
            at: number of the first token.
            divisor: of the sum over all tokens: their number for the mean, less for a multiple of it.
        """
        comparison = self._compare(logits, at)
        pruned, dense = comparison.pruned, comparison.dense
        tail, tail_dense = 1 - pruned.sum(dim=-1, keepdim=True), 1 - dense.sum(dim=-1, keepdim=True)
        real = (tail_dense > SMALLEST_TAIL) & (tail >= SMALLEST_TAIL)
        ratio = torch.where(real, tail_dense / tail, 0.0)
        factor = (1 - tail_dense - ratio * (1 - tail)) / divisor
        rows = _rows_in_cache(logits)
        slices = zip(logits.split(rows), comparison.log_normalizer.split(rows), factor.split(rows), strict=True)
        for some_logits, log_normalizer, factors in slices:
            some_logits.copy_(torch.sub(some_logits.float(), log_normalizer).exp_().mul_(factors))
        logits.scatter_add_(-1, comparison.likeliest, ((ratio * pruned - dense) / divisor).to(logits.dtype))
        return comparison.divergence

    def _compare(self, logits: Tensor, at: int) -> "_Comparison":
        """Compare the logits [tokens, vocabulary] of the pruned model with the dense model's from token ``at``."""
        assert self._likeliest is not None
        assert self._log_masses is not None
        log_normalizer = _log_normalizer(logits)
        log_dense = self._log_masses[at : at + len(logits)]
        likeliest = self._likeliest[at : at + len(logits)].long()
        log_pruned = logits.gather(-1, likeliest).float() - log_normalizer
        dense, pruned = log_dense.exp(), log_pruned.exp()
        per_token = (dense * (log_dense - log_pruned)).sum(dim=-1)
        tail_dense = 1 - dense.sum(dim=-1)
        tail_pruned = (1 - pruned.sum(dim=-1)).clamp_min(SMALLEST_TAIL)
        tail = tail_dense.clamp_min(SMALLEST_TAIL) * (tail_dense.clamp_min(SMALLEST_TAIL).log() - tail_pruned.log())
        divergence = per_token + torch.where(tail_dense > SMALLEST_TAIL, tail, 0.0)
        return _Comparison(divergence, log_normalizer, likeliest, dense, pruned)


@dataclass(frozen=True)
class _Comparison:
    """The next-token distributions of the pruned and the dense model.

    Attributes:
        divergence: KL(dense || pruned), [tokens] float32.
        log_normalizer: log of the sum of exponentials of the pruned logits, [tokens, 1] float32.
        likeliest: the dense model's likeliest next tokens, [tokens, likeliest] int64.
        dense: their probabilities in the dense model, [tokens, likeliest] float32.
        pruned: their probabilities in the pruned model, [tokens, likeliest] float32.
    """

    divergence: Tensor
    log_normalizer: Tensor
    likeliest: Tensor
    dense: Tensor
    pruned: Tensor


def combine_sequences(distances: list[dict[Divergence, float]]) -> dict[Divergence, float]:
    """The distances over several sequences of equal length, from the distances of each sequence."""
    combined: dict[Divergence, float] = {}
    for name in distances[0]:
        values = [of_sequence[name] for of_sequence in distances]
        combined[name] = math.hypot(*values) if name == "frobenius" else math.fsum(values) / len(values)
    return combined


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    """The tensors that are there, one after another; ``None`` if there are none."""
    present = [part for part in parts if part is not None]
    return torch.cat(present) if present else None


def _by_sequence(values: dict[Divergence, Tensor], sequences: int) -> list[dict[Divergence, float]]:
    """Distances of each sequence, from the KL divergence and the squared distance of each token."""
    totals = {
        name: per_token.reshape(sequences, -1).sum(dim=1, dtype=torch.float64) for name, per_token in values.items()
    }
    if "kl" in totals:
        totals["kl"] /= len(values["kl"]) // sequences
    if "frobenius" in totals:
        totals["frobenius"].sqrt_()
    rows = zip(*(total.tolist() for total in totals.values()), strict=True)
    return [dict(zip(totals, map(_finite_or_infinite, row), strict=True)) for row in rows]


def _chunks(features: Tensor, at: int) -> Iterator[tuple[Tensor, int]]:
    """Slices of features [tokens, width] small enough for full logits, with the number of their first token."""
    for start in range(0, len(features), TOKENS_PER_CHUNK):
        yield features[start : start + TOKENS_PER_CHUNK], at + start


def _log_normalizer(logits: Tensor) -> Tensor:
    """Log of the sum of exponentials of each row, [tokens, 1] float32, in slices that stay in a CPU's cache."""
    slices = logits.split(_rows_in_cache(logits))
    return torch.cat([torch.logsumexp(some_logits.float(), dim=-1, keepdim=True) for some_logits in slices])


def _rows_in_cache(logits: Tensor) -> int:
    """Number of rows of logits that fit a CPU's cache; on a GPU, all."""
    return len(logits) if logits.device.type != "cpu" else max(1, LOGITS_IN_CACHE // logits.shape[-1])


def _finite_or_infinite(value: float) -> float:
    return value if value < float("inf") else float("inf")
