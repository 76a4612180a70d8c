"""Describe a reconstruction in one sentence, for the model card and the report."""

from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.reconstruction.layers import chooses_masks
from optishear.reconstruction.reconstruct import ReconstructionSummary

_METHODS = {
    "sparsegpt": "SparseGPT's one-pass update (arXiv 2301.00774)",
    "admm": "ADMM and conjugate gradients on each layer's inputs (arXiv 2406.07831)",
}


def in_words(parameters: ReconstructionParameters, summary: ReconstructionSummary) -> str:
    """The steps that changed weights, in order; empty if none did."""
    parts = []
    if parameters.reconstruction in _METHODS:
        parts.append(_METHODS[parameters.reconstruction])
    if parts and summary.experts is not None:
        counts = summary.experts
        parts[-1] += f", {counts.reconstructed} of {counts.layers} layers of experts among them"
    tuned = sum(after < before for before, after in summary.block_errors)
    if tuned:
        blocks = (
            "each block" if tuned == len(summary.block_errors) else f"{tuned} of {len(summary.block_errors)} blocks"
        )
        parts.append(f"{parameters.tuning_steps} optimizer steps on the output of {blocks}")
    return ", then ".join(parts)


def mask_rule(parameters: ReconstructionParameters) -> str:
    """How the masks were chosen, if not by the recipe; otherwise empty."""
    if chooses_masks(parameters):
        return "which weights went was chosen by SparseGPT, at the recipe's ratios and without its metric"
    if parameters.reconstruction == "admm" and parameters.reconstruction_masks == "refined":
        return "the lowest scores went first, then the masks moved with the weights, at the same sparsity of each layer"
    return ""
