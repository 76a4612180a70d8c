"""What a pruned model is compared with, beside the dense one and Wanda."""

from typing import ClassVar

from pydantic import Field

from optishear.parameters.base import Parameters


class ComparisonParameters(Parameters):
    """What a pruned model is compared with, beside the dense one and Wanda."""

    heading: ClassVar[str] = "Comparison"

    compare_sparsegpt: bool | None = Field(
        None,
        description="Compare with SparseGPT, too: its own masks and weights at the same sparsity, on the same "
        "calibration. It takes a reconstruction and an evaluation more. Default: on where the kept weights are "
        "reconstructed or recovered, off with masks alone.",
    )

    def compares_sparsegpt(self, changes_weights: bool) -> bool:
        """Whether SparseGPT is compared.

        SparseGPT gives the kept weights new values. Beside masks alone, which keep them, Wanda is the like method; a
        run that changes the weights itself would look too good beside Wanda alone.

        Args:
            changes_weights: whether the weights of the pruned model are reconstructed or recovered.
        """
        return changes_weights if self.compare_sparsegpt is None else self.compare_sparsegpt
