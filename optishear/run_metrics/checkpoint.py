"""The numbers of one pruned checkpoint, measured on its files."""

from pydantic import BaseModel, ConfigDict

from optishear.models.coverage import Coverage
from optishear.reconstruction.reconstruct import ExpertCounts
from optishear.recovery.summary import RecoverySummary


class ReconstructionMetrics(BaseModel):
    """What reconstruction did.

    Attributes:
        layer_errors: by layer, the mean square of its output's difference from that of its dense weight on the same
            inputs, relative to the latter.
        mean_layer_error: their mean.
        converged_rows: fraction of rows whose conjugate gradients converged; ``None`` where no layer was solved so.
        block_errors: by block, the held-out error before and after its tuning; empty without tuning.
        experts: the layers of experts; ``None`` for a model without experts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layer_errors: dict[str, float]
    mean_layer_error: float
    converged_rows: float | None
    block_errors: list[tuple[float, float]]
    experts: ExpertCounts | None


class CheckpointMetrics(BaseModel):
    """The zeros of a pruned checkpoint, and how its weights came about.

    Attributes:
        achieved_sparsity: fraction of zeros over the prunable layers' weights.
        sparsity_of_all_matrices: fraction of zeros over all matrices of the decoder blocks.
        coverage: how much of these matrices is prunable.
        layers: fraction of zeros by layer.
        reconstruction_in_words: the reconstruction as a part of a sentence; empty where the weights are the dense ones.
        mask_rule: which weights were removed, where the recipe's own masks were not kept; else empty.
        experts_in_words: a sentence on the experts that got few tokens; empty where there are none.
        reconstruction: ``None`` where there was none.
        recovery: ``None`` where there was none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    achieved_sparsity: float
    sparsity_of_all_matrices: float
    coverage: Coverage
    layers: dict[str, float]
    reconstruction_in_words: str
    mask_rule: str
    experts_in_words: str
    reconstruction: ReconstructionMetrics | None = None
    recovery: RecoverySummary | None = None
