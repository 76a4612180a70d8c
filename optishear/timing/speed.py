"""How fast a model is computed on a device: what a measured pass returns and the estimates start from."""

from pydantic import BaseModel, ConfigDict

# Length of the sequence that attention is measured on.
ATTENTION_TOKENS = 2048
# Tokens of the shorter one of both measured steps of training.
SHORT_STEP = 128


class Speed(BaseModel):
    """Measured times of one model on one device, in seconds; ``None`` if not measured.

    Attributes:
        processor: name of the device, with the instruction set of a CPU.
        threads: of PyTorch on a CPU.
        dtype: working precision.
        load: loading the model.
        tokens: length of the measured sequence.
        forward: forward pass over the sequence, without logits.
        short_tokens: length of a short sequence.
        short_forward: forward pass over the short sequence, with logits.
        attention: attention of all blocks over a sequence of ``ATTENTION_TOKENS``; grows with the square of the length.
        statistics: forward pass over the sequence that collects statistics.
        dense_divergence: dense distributions of the sequence, which a divergence is measured against.
        divergence: divergence of a pruned model on the sequence.
        marginal_costs: divergence on the sequence, and its backward pass.
        new_masks: masks of all layers by a metric that they did not have before.
        kept_masks: masks of all layers from kept ranks.
        spectra: spectra of all layers, which the prior of AlphaPruning is from.
        window: loss of one evaluation window.
        decode_step: one token for each sequence of a self-generated calibration.
        solve: reconstruction of one decoder block's layers, without forward passes.
        sparsegpt_solve: the same by SparseGPT.
        moments: second moments of one decoder block's inputs on the sequence.
        short_training: dense distributions, divergence and backward pass to all weights over ``SHORT_STEP`` tokens, or
            the sequence where it is shorter.
        training: the same over the sequence.
        update: an update of all weights in a step of training.
        block: forward pass of one decoder block over the sequence.
        blocks: number of decoder blocks.
        weights: number of weights of the prunable layers.
        seconds: what the measurement took, without loading the model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    processor: str
    threads: int
    dtype: str
    load: float
    tokens: int
    forward: float
    short_tokens: int
    short_forward: float
    attention: float = 0.0
    statistics: float | None = None
    dense_divergence: float | None = None
    divergence: float | None = None
    marginal_costs: float | None = None
    new_masks: float | None = None
    kept_masks: float | None = None
    spectra: float | None = None
    window: float | None = None
    decode_step: float | None = None
    solve: float | None = None
    sparsegpt_solve: float | None = None
    moments: float | None = None
    short_training: float | None = None
    training: float | None = None
    update: float | None = None
    block: float | None = None
    blocks: int
    weights: int
    seconds: float

    def per_sequence(self, seconds: float, length: int) -> float:
        """Seconds of one pass over ``length`` tokens, from those over the measured sequence.

        Attention's share grows with the length; it is neglected, since the measured sequence is as long as the
        calibration's unless one pass takes longer than the whole measurement may.
        """
        return seconds * length / self.tokens

    def request(self, tokens: int) -> float:
        """Seconds of one pass with logits over a sequence of any length.

        Attention grows with the square of the length. The rest lies on a straight line through both measured lengths.
        """
        short = self.short_forward - self._attention(self.short_tokens)
        longer = self.forward - self._attention(self.tokens)
        slope = max(0.0, longer - short) / max(1, self.tokens - self.short_tokens)
        least = short * min(1.0, tokens / self.short_tokens)
        return max(least, short + slope * (tokens - self.short_tokens)) + self._attention(tokens)

    def training_step(self, tokens: int) -> float:
        """Seconds of a step of training on so many tokens, on a straight line through both measured steps."""
        assert self.short_training is not None
        assert self.training is not None
        assert self.update is not None
        short_tokens = min(SHORT_STEP, self.tokens)
        if self.tokens > short_tokens:
            slope = max(0.0, self.training - self.short_training) / (self.tokens - short_tokens)
        else:
            slope = self.training / self.tokens
        least = self.short_training * min(1.0, tokens / short_tokens)
        return max(least, self.short_training + slope * (tokens - short_tokens)) + self.update

    def _attention(self, tokens: int) -> float:
        return self.attention * (tokens / ATTENTION_TOKENS) ** 2
