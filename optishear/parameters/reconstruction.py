"""Reconstruction of the kept weights."""

from typing import ClassVar, Literal

from pydantic import Field

from optishear.parameters.base import Natural, Parameters, Positive, Rate, Share


class ReconstructionParameters(Parameters):
    """How the kept weights are adjusted after the masks."""

    heading: ClassVar[str] = "Reconstruction"

    reconstruction: Literal["none", "sparsegpt", "admm"] | None = Field(
        None,
        description="Method that gives the kept weights of each layer new values: none (masks only), the one-pass "
        "update of SparseGPT, or ADMM with conjugate gradients. Default: admm in run and sweep, otherwise none.",
    )
    reconstruction_masks: Literal["refined", "recipe"] = Field(
        "refined",
        description="refined: the method may move the recipe's masks, at the same sparsity of each layer "
        "(SparseGPT chooses its own); recipe: the masks are fixed.",
    )
    reconstruction_sequences: Positive | None = Field(
        None, description="Calibration sequences for fitting layers and blocks; default: all."
    )
    reconstruction_iterations: Positive = Field(
        12, description="Iterations of ADMM, and limit of the iterations of conjugate gradients."
    )
    reconstruction_tolerance: Share = Field(
        0.01,
        description="Remaining gradient of a row, relative to that of zero weights, at which conjugate gradients stop.",
    )
    reconstruction_damping: Rate = Field(
        0.1, description="Share of each input's second moment that is added to it, for ADMM."
    )
    tuning_steps: Natural = Field(
        0, description="Optimizer steps on the output of each block after its layers, masks fixed."
    )
    tuning_rate: Rate = Field(
        0.01, description="Largest step of the block tuning, relative to the size of a layer's weights."
    )

    @property
    def reconstructs(self) -> bool:
        """Whether anything is done to the weights beside the masks."""
        return self.reconstruction in ("sparsegpt", "admm") or bool(self.tuning_steps)
