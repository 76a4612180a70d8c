"""Train the kept weights of a pruned model on the dense model's next-token distributions, until a budget is used up.

The text is only where the two models are compared, never a target.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from optishear.batch_size import BatchSize
from optishear.divergence.model_divergence import TOKENS_PER_BACKWARD, ModelDivergence
from optishear.models.features import split_at_head
from optishear.models.in_memory import check_in_memory, frozen
from optishear.models.layers import PrunableLayer, by_parameter, decoder_blocks
from optishear.recovery.budget import Budget
from optishear.recovery.curve import CurvePoint, has_stopped_falling
from optishear.recovery.recovery_text import Blocks
from optishear.recovery.replicas import Replica, Replicas
from optishear.recovery.rule import WORSE, Rule, rule_for
from optishear.recovery.state import RecoveryState, load_state, save_state
from optishear.recovery.summary import RecoverySummary
from optishear.training.activations import bounded_activations
from optishear.training.schedule import rate_at
from optishear.training.trained_weights import TrainedWeights, unpruned

OnCheck = Callable[[Sequence[CurvePoint], float], None]
SECONDS_BETWEEN_SAVES = 300.0
# Share of the steps in which their width rises.
WARMUP = 0.05
# Where nothing is gained any more, the rest of the schedule is run so many times as fast: the width still falls.
HASTE = 4
# Decay of the averages of squared gradients: slower than for steps of whole blocks, since short steps see few tokens.
SQUARES = 0.98
logger = logging.getLogger(__name__)


def recover(
    pruned: PreTrainedModel,
    dense: PreTrainedModel,
    layers: Sequence[PrunableLayer],
    text: Blocks,
    budget: Budget,
    *,
    sequences_per_step: int | None = None,
    step_length: int | None = None,
    rate: float | None = None,
    further_devices: Sequence[torch.device] = (),
    state_file: Path | None = None,
    on_check: OnCheck = lambda _curve, _progress: None,
) -> RecoverySummary:
    """Recover a pruned model in place. Its zeros stay zero.

    Beside both models, four bytes for each trained weight of a half-precision model are on its device
    (``TrainedWeights``), the gradient of one layer and the activations of a pass; on the host, a copy of the best
    weights.

    Args:
        pruned: the pruned model.
        dense: the dense model that it was pruned from, on the same device.
        layers: prunable layers of the pruned model; their zeros are pruned.
        text: what to train on; it is at its beginning.
        budget: when to stop.
        sequences_per_step: sequences of a step; by ``rule_for`` where not given.
        step_length: tokens of each of them; where not given, that of a block with ``sequences_per_step``, else by
            ``rule_for``.
        rate: largest width of a step; by ``rule_for`` where not given.
        further_devices: each has a copy of both models and takes an equal part of a step's sequences.
        state_file: where the state is saved to, and taken from if it is there.
        on_check: called after each check with all of them and the share of the budget that is used.

    Raises:
        InputError: if a divergence is not finite, the models are not in memory, the memory is too small for one
            sequence, or the disk is full.
    """
    check_in_memory(pruned)
    with frozen(pruned):
        recovery = _Recovery(pruned, dense, layers, text, budget, further_devices, state_file, on_check)
        return recovery.run(sequences_per_step, step_length, rate)


class _Recovery:
    """A recovery at work: its models, its text and its state."""

    def __init__(
        self,
        pruned: PreTrainedModel,
        dense: PreTrainedModel,
        layers: Sequence[PrunableLayer],
        text: Blocks,
        budget: Budget,
        further_devices: Sequence[torch.device],
        state_file: Path | None,
        on_check: OnCheck,
    ) -> None:
        self._pruned, self._text = pruned, text
        # Split once, since each split runs both models on a few tokens.
        self._pruned_features, self._dense_features = split_at_head(pruned), split_at_head(dense)
        self._budget, self._state_file, self._on_check = budget, state_file, on_check
        self._length = text.held_out.shape[1]
        self._held_out = self._divergence(text.held_out)
        parameters = dict.fromkeys(by_parameter(layers))
        _, blocks = decoder_blocks(pruned)
        others = unpruned(blocks, parameters)
        self._weights = TrainedWeights(list(parameters), others, squares=SQUARES)
        first = Replica(pruned, [*parameters, *others], self._pruned_features, self._dense_features)
        self._replicas = Replicas(first, dense, further_devices)
        # Blocks at once. Set before the first step: a step cannot be repeated, since most weights have moved where
        # memory runs out.
        self._at_once = BatchSize(max(1, TOKENS_PER_BACKWARD // self._length), of="backward pass")
        self._best = self._weights.copy()
        self._state = RecoveryState()
        # Of earlier processes, where a killed recovery goes on.
        self._earlier_seconds = 0.0
        self._started = self._saved = time.monotonic()

    def run(self, sequences_per_step: int | None, step_length: int | None, rate: float | None) -> RecoverySummary:
        self._resume()
        if not self._state.curve:
            self._check(0)
        tokens_at_once = max(self._length, TOKENS_PER_BACKWARD)
        with (
            torch.enable_grad(),
            self._weights,
            bounded_activations(self._pruned, tokens_at_once),
            self._replicas.bounded_activations(tokens_at_once),
        ):
            if self._pruned.device.type != "cpu":
                self._at_once.run(self._try_pass, most=len(self._text.held_out))
            if self._state.rule is None:
                rule = self._rule(sequences_per_step, step_length, rate)
                self._state = self._state.model_copy(update={"rule": rule})
            self._start_replicas()
            while (done := self._progress()) < 1 and self._is_finite:
                self._step(done)
                self._after_step(self._progress())
        self._weights.set(self._best)
        state = self._state
        assert state.rule is not None
        return RecoverySummary(
            before=state.curve[0].kl,
            after=min(point.kl for point in state.curve),
            tokens=state.tokens,
            steps=state.steps,
            sequences_per_step=state.rule.sequences_per_step,
            step_length=state.rule.step_length,
            rate=state.rule.rate,
            halvings=state.halvings,
            seconds=self._seconds(),
            curve=state.curve,
        )

    def _rule(self, sequences_per_step: int | None, step_length: int | None, rate: float | None) -> Rule:
        """The rule for the budget, with what is given in place of its values."""
        before = self._state.curve[0].kl
        rule = rule_for(self._expected_tokens(), self._length, sequences_per_step, before)
        if step_length is not None:
            rule = replace(rule, step_length=step_length)
        return replace(rule, rate=rate or rule.rate)

    def _divergence(self, blocks: Tensor, measured: int | None = None) -> ModelDivergence:
        """The divergence of the pruned model from the dense one on some blocks."""
        return ModelDivergence(self._dense_features, blocks, ("kl",), measured=measured).of(self._pruned_features)

    def _expected_tokens(self) -> int:
        """The tokens of the budget; for a time, from the speed of one block, whose gradients are dropped."""
        if self._budget.tokens is not None:
            return self._budget.tokens
        assert self._budget.seconds is not None
        started = time.monotonic()
        self._try_pass(1)
        return round(self._budget.seconds * self._length * len(self._replicas) / (time.monotonic() - started))

    def _try_pass(self, sequences: int) -> None:
        """Run both models on held-out blocks, forward and back, and drop the gradients: whether they fit, how fast."""
        blocks = self._text.held_out[:sequences]
        divergence = self._divergence(blocks, measured=0)
        with self._weights.dropped_gradients():
            divergence.backward(0, sequences, self._weights.scale)

    def _start_replicas(self) -> None:
        """Bring the further devices to the weights of the state, and say which have nothing to do."""
        assert self._state.rule is not None
        self._replicas.update()
        devices, sequences = len(self._replicas), self._state.rule.sequences_per_step
        if sequences < devices:
            logger.warning(
                "A step has %d sequences, so that %d of %d devices have nothing to do; give more sequences for a step.",
                sequences,
                devices - sequences,
                devices,
            )

    def _step(self, done: float) -> None:
        assert self._state.rule is not None
        rule = self._state.rule
        sequences, rate = rule.sequences_per_step, rule.rate / 2**self._state.halvings
        blocks = self._text.take(sequences, rule.step_length)
        at_once = max(1, self._at_once.size * self._length // rule.step_length)
        rate = rate_at(rate, done, WARMUP)
        if len(self._replicas) > 1:
            self._replicas.backward(blocks, at_once, self._weights.scale)
            self._weights.step_along_gradients(rate)
            self._replicas.update()
        else:
            divergence = self._divergence(blocks, measured=0)
            starts = range(0, sequences, at_once)
            for number in self._weights.step(rate, len(starts)):
                first = starts[number]
                divergence.backward(first, min(at_once, sequences - first), self._weights.scale, sequences)
        state = self._state
        self._state = state.model_copy(update={"tokens": state.tokens + blocks.numel(), "steps": state.steps + 1})

    def _after_step(self, done: float) -> None:
        assert self._state.rule is not None
        checks = int(done * self._state.rule.checks)
        if checks > self._state.checks:
            self._check(checks)
            self._save()
        elif time.monotonic() - self._saved > SECONDS_BETWEEN_SAVES:
            self._save()

    def _check(self, checks: int) -> None:
        """Measure the held-out divergence, and keep the best weights.

        Where it has risen, the steps are too wide: the best weights are taken back and the width is halved. Where
        nothing is gained, the rest is hastened.
        """
        kl = self._held_out.measure()["kl"]
        state = self._state
        best = min((point.kl for point in state.curve), default=math.inf)
        if kl < best:
            self._best = self._weights.copy()
        elif kl > (1 + WORSE) * best:
            self._weights.go_back(self._best)
            self._replicas.update()
            state = state.model_copy(update={"halvings": state.halvings + 1})
            logger.info("The held-out divergence has risen to %.4f; back to the best weights, half the width.", kl)
        curve = (*state.curve, CurvePoint(state.tokens, self._seconds(), kl))
        self._state = state.model_copy(update={"curve": curve, "checks": checks})
        if self._state.hastened_at is None and has_stopped_falling(curve):
            self._state = self._state.model_copy(update={"hastened_at": self._progress()})
            logger.info("The held-out divergence has stopped falling; the recovery comes to its end.")
        self._on_check(curve, self._progress())

    @property
    def _is_finite(self) -> bool:
        return math.isfinite(self._state.curve[-1].kl)

    def _progress(self) -> float:
        """How far the schedule is: the used share of the budget, or more where the rest is hastened."""
        share = self._budget.progress(self._seconds(), self._state.tokens)
        start = self._state.hastened_at
        return share if start is None else min(1.0, start + HASTE * (share - start))

    def _seconds(self) -> float:
        return self._earlier_seconds + time.monotonic() - self._started

    def _save(self) -> None:
        if self._state_file is None:
            return
        self._state = self._state.model_copy(update={"seconds": self._seconds(), "positions": self._text.positions})
        best = {f"best.{number}": value for number, value in enumerate(self._best)}
        save_state(self._state_file, self._state, {**self._weights.state(), **best})
        self._saved = time.monotonic()

    def _resume(self) -> None:
        stored = None if self._state_file is None else load_state(self._state_file)
        if stored is None:
            return
        self._state, tensors = stored
        self._weights.restore(tensors)
        self._best = [tensors[f"best.{number}"] for number in range(len(self._best))]
        self._earlier_seconds = self._state.seconds
        if self._state.rule is not None:
            self._text.go_to(self._state.positions, self._state.tokens // self._state.rule.step_length)
        logger.info("Going on after %d tokens of an earlier recovery.", self._state.tokens)
