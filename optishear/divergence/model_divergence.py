"""The model-wise reconstruction error: how far a pruned model's outputs are from the dense model's."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from optishear.models.features import split_at_head

Divergence = Literal["kl", "frobenius"]

# The dense distribution's head is kept entry by entry and its tail as one mass. Merging outcomes can only lower
# a KL divergence, alike for all candidates: the 256 likeliest of SmolLM2's 49,152 tokens hold 92 % of the mass.
KEPT_LOGITS = 256
# Tokens whose full-vocabulary logits exist at one time: 512 x 49,152 x 4 bytes are 96 MiB.
TOKENS_PER_CHUNK = 512
# Tokens of one backward pass, whose activations are kept.
TOKENS_PER_BACKWARD = 2048
# Logits that are normalised at a time on a CPU (4 MiB in float32).
LOGITS_IN_CACHE = 2**20
# Below this a tail is rounding.
SMALLEST_TAIL = 1e-6


class ModelDivergence:
    """Distances from the dense model's outputs, on one set of search tokens.

    The dense outputs are computed once, when this is made, and kept compactly: the final hidden states, and for
    ``kl`` the likeliest next tokens with their log-probabilities. No logits of the whole batch are ever held.

    Where the head is linear (L = H E^T), the Frobenius norm of the logits' difference needs no logits at all:
    |D E^T|_F^2 = sum over tokens of d (E^T E) d^T, with d the difference of the hidden states.
    """

    @torch.no_grad()
    def __init__(
        self,
        model: PreTrainedModel,
        tokens: Tensor,
        divergences: tuple[Divergence, ...],
        batch_size: int = 4,
        measured: int | None = None,
    ) -> None:
        """Compute the dense outputs.

        Args:
            model: the model, dense at this moment; measured later in whatever state its weights are then.
            tokens: [sequences, length] token ids.
            divergences: which distances to measure; ``frobenius`` is measured too where it costs next to nothing.
            batch_size: sequences per forward pass.
            measured: how many of the sequences ``measure`` will be asked for, all where not given; the others serve
                ``backward`` alone, for which no hidden states are kept.
        """
        self.tokens = tokens
        self._model = split_at_head(model)
        self._batch_size = batch_size
        head = self._model.head
        if head is not None and "frobenius" not in divergences:
            divergences = (*divergences, "frobenius")
        self.divergences = divergences
        self._gram = head.float().T @ head.float() if head is not None and "frobenius" in divergences else None
        features: list[Tensor] = []
        likeliest: list[Tensor] = []
        log_masses: list[Tensor] = []
        for batch in tokens.split(batch_size):
            dense = self._model.features(batch).flatten(0, -2)
            if "frobenius" in divergences and (measured is None or len(features) * batch_size < measured):
                features.append(dense)
            if "kl" in divergences:
                for chunk in dense.split(TOKENS_PER_CHUNK):
                    log_probabilities = torch.log_softmax(self._model.logits(chunk).float(), dim=-1)
                    kept = min(KEPT_LOGITS, log_probabilities.shape[-1])
                    values, indices = log_probabilities.topk(kept, dim=-1)
                    likeliest.append(indices.to(torch.int32))
                    log_masses.append(values)
        # Each [tokens, ...], all sequences end to end.
        self._dense_features = torch.cat(features) if features else None
        self._likeliest = torch.cat(likeliest) if likeliest else None
        self._log_masses = torch.cat(log_masses) if log_masses else None

    def measure(self, sequences: int | None = None) -> dict[Divergence, float]:
        """Distances of the model's present outputs from the dense ones, on the first ``sequences`` sequences.

        Returns:
            ``kl``: mean over tokens of KL(dense || pruned) of the next-token distributions, in nats.
            ``frobenius``: Frobenius norm of the logits' difference over all tokens. Infinite where the pruned
            outputs are not finite.
        """
        return over_sequences(self.measure_each(0, sequences))

    @torch.no_grad()
    def measure_each(self, first: int = 0, count: int | None = None) -> list[dict[Divergence, float]]:
        """The distances of ``measure`` for each of ``count`` sequences from ``first`` on, by itself."""
        tokens = self.tokens[first:] if count is None else self.tokens[first : first + count]
        at = first * tokens.shape[1]
        measured: list[dict[Divergence, float]] = []
        for batch in tokens.split(self._batch_size):
            features = self._model.features(batch).flatten(0, -2)
            values: dict[Divergence, Tensor] = {}
            if "kl" in self.divergences:
                compared = [self._compare(self._model.logits(chunk), start) for chunk, start in _chunks(features, at)]
                values["kl"] = torch.cat([each.divergence for each in compared])
            if "frobenius" in self.divergences:
                values["frobenius"] = self._squared_distance(features, at)
            measured += _by_sequence(values, len(batch))
            at += len(features)
        return [{name: each[name] for name in self.divergences} for each in measured]

    def backward(self, first: int, count: int) -> list[dict[Divergence, float]]:
        """Back-propagate the mean KL divergence of some sequences to whatever weights require a gradient.

        The logits are back-propagated to the features chunk by chunk, and the features to the weights by as many
        sequences as have ``TOKENS_PER_BACKWARD`` tokens, which bounds the activations that are kept.

        Args:
            first: first sequence.
            count: number of sequences.

        Returns:
            The distances of each sequence, which the pass gives too: as ``measure_each``, but without ``frobenius``
            where no dense hidden states are kept of a sequence.
        """
        length = self.tokens.shape[1]
        at = first * length
        measured: list[dict[Divergence, float]] = []
        for batch in self.tokens[first : first + count].split(max(1, TOKENS_PER_BACKWARD // length)):
            features = self._model.features(batch).flatten(0, -2)
            leaf = features.detach().requires_grad_(True)
            divergences = []
            for chunk, start in _chunks(leaf, at):
                logits = self._model.logits(chunk)
                pruned = logits.detach() if self._model.head is not None else logits.detach().clone()
                divergences.append(self._to_gradient(pruned, start, count * length))
                logits.backward(pruned)
            features.backward(leaf.grad)
            values: dict[Divergence, Tensor] = {"kl": torch.cat(divergences)}
            if self._dense_features is not None and at + len(leaf) <= len(self._dense_features):
                values["frobenius"] = self._squared_distance(leaf.detach(), at)
            measured += _by_sequence(values, len(batch))
            at += len(leaf)
        return measured

    def _squared_distance(self, features: Tensor, at: int) -> Tensor:
        """Of the logits of each token, [tokens] float32."""
        assert self._dense_features is not None
        difference = features.float() - self._dense_features[at : at + len(features)].float()
        if self._gram is None:
            return difference.square().sum(dim=-1)
        return ((difference @ self._gram) * difference).sum(dim=-1)

    def _to_gradient(self, logits: Tensor, at: int, tokens: int) -> Tensor:
        """KL divergence at each token, [tokens] float32, and the gradient of its mean in place of the logits.

        With p and q the dense and the pruned probabilities, K the kept tokens, P = sum of p over K, S = sum of q over K
        and c = (1 - P) / (1 - S), the derivative by logit j is q_j (P - c S), and in K moreover c q_j - p_j. Where a
        tail is only rounding c is 0. Automatic differentiation would go several more times through all logits.

        Args:
            logits: [tokens, vocabulary] of the pruned model; overwritten.
            at: number of the first token.
            tokens: that the mean is over.
        """
        compared = self._compare(logits, at)
        kept, dense = compared.kept, compared.dense
        tail, tail_dense = 1 - kept.sum(dim=-1, keepdim=True), 1 - dense.sum(dim=-1, keepdim=True)
        real = (tail_dense > SMALLEST_TAIL) & (tail >= SMALLEST_TAIL)
        ratio = torch.where(real, tail_dense / tail, 0.0)
        factor = (1 - tail_dense - ratio * (1 - tail)) / tokens
        rows = _rows_in_cache(logits)
        for some, *of_each in zip(
            *(each.split(rows) for each in (logits, compared.log_normalizer, factor)), strict=True
        ):
            some.copy_(torch.sub(some.float(), of_each[0]).exp_().mul_(of_each[1]))
        logits.scatter_add_(-1, compared.likeliest, ((ratio * kept - dense) / tokens).to(logits.dtype))
        return compared.divergence

    def _compare(self, logits: Tensor, at: int) -> "_Compared":
        """The logits [tokens, vocabulary] of the pruned model beside the dense model's from token ``at`` on."""
        assert self._likeliest is not None
        assert self._log_masses is not None
        log_normalizer = _log_normalizer(logits)
        log_dense = self._log_masses[at : at + len(logits)]
        likeliest = self._likeliest[at : at + len(logits)].long()
        log_kept = logits.gather(-1, likeliest).float() - log_normalizer
        dense, kept = log_dense.exp(), log_kept.exp()
        per_token = (dense * (log_dense - log_kept)).sum(dim=-1)
        tail_dense = 1 - dense.sum(dim=-1)
        tail_kept = (1 - kept.sum(dim=-1)).clamp_min(SMALLEST_TAIL)
        tail = tail_dense.clamp_min(SMALLEST_TAIL) * (tail_dense.clamp_min(SMALLEST_TAIL).log() - tail_kept.log())
        divergence = per_token + torch.where(tail_dense > SMALLEST_TAIL, tail, 0.0)
        return _Compared(divergence, log_normalizer, likeliest, dense, kept)


@dataclass(frozen=True)
class _Compared:
    """Two next-token distributions at each of some tokens.

    Attributes:
        divergence: KL of the pruned from the dense one, [tokens] float32.
        log_normalizer: of the pruned logits, [tokens, 1] float32.
        likeliest: the dense model's likeliest next tokens, [tokens, kept] int64.
        dense: their dense probabilities, [tokens, kept] float32.
        kept: their pruned probabilities, of the same shape.
    """

    divergence: Tensor
    log_normalizer: Tensor
    likeliest: Tensor
    dense: Tensor
    kept: Tensor


def over_sequences(each: list[dict[Divergence, float]]) -> dict[Divergence, float]:
    """The distances over several sequences of equal length, from those of each by itself."""
    of_all: dict[Divergence, float] = {}
    for name in each[0]:
        values = [distances[name] for distances in each]
        of_all[name] = math.hypot(*values) if name == "frobenius" else math.fsum(values) / len(values)
    return of_all


def _by_sequence(values: dict[Divergence, Tensor], sequences: int) -> list[dict[Divergence, float]]:
    """Distances of each sequence, from the KL divergence and the squared distance of each token."""
    totals = {name: each.reshape(sequences, -1).sum(dim=1, dtype=torch.float64) for name, each in values.items()}
    if "kl" in totals:
        totals["kl"] /= len(values["kl"]) // sequences
    if "frobenius" in totals:
        totals["frobenius"].sqrt_()
    rows = zip(*(each.tolist() for each in totals.values()), strict=True)
    return [dict(zip(totals, map(_finite_or_infinite, row), strict=True)) for row in rows]


def _chunks(features: Tensor, at: int) -> Iterator[tuple[Tensor, int]]:
    """Slices of features [tokens, width] small enough for full-vocabulary logits, and each one's first token."""
    for start in range(0, len(features), TOKENS_PER_CHUNK):
        yield features[start : start + TOKENS_PER_CHUNK], at + start


def _log_normalizer(logits: Tensor) -> Tensor:
    """Log of the sum of exponentials of each row in float32, [tokens, 1], by slices that stay in a CPU's cache."""
    rows = _rows_in_cache(logits)
    return torch.cat([torch.logsumexp(some.float(), dim=-1, keepdim=True) for some in logits.split(rows)])


def _rows_in_cache(logits: Tensor) -> int:
    """How many rows of logits a CPU's cache holds; all on a GPU."""
    return len(logits) if logits.device.type != "cpu" else max(1, LOGITS_IN_CACHE // logits.shape[-1])


def _finite_or_infinite(value: float) -> float:
    return value if value < float("inf") else float("inf")
