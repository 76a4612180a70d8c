"""What was done to the weights, in a sentence for the model card and the report."""

from optishear.parameters import ReconstructionParameters

_METHODS = {
    "sparsegpt": "SparseGPT's one-pass update (arXiv 2301.00774)",
    "admm": "ADMM and conjugate gradients on each layer's inputs (arXiv 2406.07831)",
}


def in_words(parameters: ReconstructionParameters) -> str:
    """The parts that were on, in their order; empty where none was."""
    parts = []
    if parameters.reconstruction in _METHODS:
        masks = "; the masks moved with them" if parameters.reconstruction_masks == "refined" else ""
        parts.append(_METHODS[parameters.reconstruction] + masks)
    if parameters.tuning_steps:
        parts.append(f"{parameters.tuning_steps} optimizer steps on each block's output")
    if parameters.distillation_steps:
        parts.append(f"{parameters.distillation_steps} optimizer steps on the KL divergence from the dense model")
    return ", then ".join(parts)
