"""The layers of one decoder block that read one input, pruned and reconstructed from its second moment."""

from dataclasses import dataclass

import torch
from torch import Tensor

from optishear.models.finite import not_finite
from optishear.models.layers import PrunableLayer
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.pattern import Pattern
from optishear.reconstruction.admm import admm
from optishear.reconstruction.conditioning import Conditioned, condition
from optishear.reconstruction.conjugate_gradients import conjugate_gradients
from optishear.reconstruction.sparsegpt import inverse_factor, sparsegpt
from optishear.reconstruction.support import largest

# ADMM's penalty on disagreement, in units of the inputs' own moments. Measured on SmolLM2-135M with a support that
# moves: at a tenth the support never settles, at ten it never moves.
SHIFT = 1.0


@dataclass(frozen=True)
class LayerTask:
    """The task of one layer.

    Attributes:
        layer: the layer, dense.
        mask: [out, in] bool, the recipe's, True where kept; ``None`` where the method chooses its own.
        pattern: unstructured or N:M.
        sparsity: fraction of its weights to prune.
    """

    layer: PrunableLayer
    mask: Tensor | None
    pattern: Pattern
    sparsity: float


@dataclass(frozen=True)
class SolvedLayer:
    """What came of it.

    Attributes:
        weight: [out, in] float32, exactly zero where pruned.
        mask: [out, in] bool, True where kept.
        converged: fraction of the rows whose conjugate gradients reached the tolerance; ``None`` for other methods.
        is_solved: whether a method gave the kept weights new values; otherwise they are the dense ones.
    """

    weight: Tensor
    mask: Tensor
    converged: float | None = None
    is_solved: bool = True


@torch.no_grad()
def solve_layers(tasks: list[LayerTask], moment: Tensor, parameters: ReconstructionParameters) -> list[SolvedLayer]:
    """Reconstruct layers that share an input.

    Args:
        tasks: the layers.
        moment: [in, in] float32, second moment of their input.
        parameters: method, iterations, tolerance, damping, and whether the masks may move.

    Raises:
        InputError: if the inputs were not finite.
    """
    if not bool(moment.isfinite().all()):
        layer = tasks[0].layer
        raise not_finite(f"The inputs of the layer {layer.name!r} are", layer.module.weight.dtype)
    # Without calibration tokens there is no information about the weights.
    unused = not bool(moment.diagonal().any())
    if parameters.reconstruction == "sparsegpt" and not unused:
        return _by_sparsegpt(tasks, moment)
    if parameters.reconstruction == "admm" and not unused:
        return _by_admm(tasks, moment, parameters)
    return [_masked(task) for task in tasks]


def chooses_masks(parameters: ReconstructionParameters) -> bool:
    """Whether the method makes its masks without those of the recipe."""
    return parameters.reconstruction == "sparsegpt" and parameters.reconstruction_masks == "refined"


def relative_error(dense: Tensor, weight: Tensor, moment: Tensor) -> float:
    """tr(D H D^T) / tr(W H W^T) for D = W - V; zero for a layer whose inputs were all zero."""
    difference = dense - weight
    whole = float(((dense @ moment) * dense).sum(dtype=torch.float64))
    return float(((difference @ moment) * difference).sum(dtype=torch.float64)) / whole if whole > 0 else 0.0


def _masked(task: LayerTask) -> SolvedLayer:
    """The dense weight under the recipe's mask, or under that of its largest weights where there is none."""
    dense = task.layer.module.weight.float()
    mask = largest(dense, task.pattern, task.sparsity) if task.mask is None else task.mask
    return SolvedLayer(dense.masked_fill(~mask, 0), mask, is_solved=False)


def _by_sparsegpt(tasks: list[LayerTask], moment: Tensor) -> list[SolvedLayer]:
    factor = inverse_factor(moment)
    return [
        SolvedLayer(
            *sparsegpt(
                task.layer.module.weight.float(),
                moment,
                task.pattern,
                sparsity=task.sparsity,
                mask=task.mask,
                factor=factor,
            )
        )
        for task in tasks
    ]


def _by_admm(tasks: list[LayerTask], moment: Tensor, parameters: ReconstructionParameters) -> list[SolvedLayer]:
    conditioned = condition(moment, parameters.reconstruction_damping)
    inverse = conditioned.shifted_inverse(SHIFT) if parameters.reconstruction_masks == "refined" else None
    return [_admm_layer(task, conditioned, inverse, parameters) for task in tasks]


def _admm_layer(
    task: LayerTask, conditioned: Conditioned, inverse: Tensor | None, parameters: ReconstructionParameters
) -> SolvedLayer:
    """ADMM while the support moves; on the support that it settles on, conjugate gradients converge faster."""
    dense = task.layer.module.weight.float()
    target = conditioned.into(dense)
    assert task.mask is not None
    mask, start = task.mask, target * task.mask
    if inverse is not None:
        start, mask = admm(
            target,
            conditioned,
            inverse,
            SHIFT,
            mask,
            iterations=parameters.reconstruction_iterations,
            refinements=parameters.reconstruction_iterations,
            select=lambda values: largest(values, task.pattern, task.sparsity),
        )
    solution, converged = conjugate_gradients(
        target,
        conditioned.moment,
        mask,
        start,
        iterations=parameters.reconstruction_iterations,
        tolerance=parameters.reconstruction_tolerance,
    )
    return SolvedLayer(conditioned.back(solution, dense) * mask, mask, float(converged.float().mean()))
