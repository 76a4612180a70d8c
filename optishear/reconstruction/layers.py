"""The layers of one decoder block that read one input, pruned and reconstructed from its second moment."""

from dataclasses import dataclass

import torch
from torch import Tensor

from optishear.models.layers import PrunableLayer
from optishear.parameters import ReconstructionParameters
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
    """What is asked of one layer.

    Attributes:
        layer: the layer, dense.
        mask: [out, in] bool, the recipe's, True where kept.
        pattern: unstructured or N:M.
        sparsity: fraction of its weights to prune.
    """

    layer: PrunableLayer
    mask: Tensor
    pattern: Pattern
    sparsity: float


@dataclass(frozen=True)
class SolvedLayer:
    """What came of it.

    Attributes:
        weight: [out, in] float32, exactly zero where pruned.
        mask: [out, in] bool, True where kept.
        error: mean square of the output's difference from the dense layer's, relative to the dense output's.
    """

    weight: Tensor
    mask: Tensor
    error: float


@torch.no_grad()
def solve_layers(tasks: list[LayerTask], moment: Tensor, parameters: ReconstructionParameters) -> list[SolvedLayer]:
    """Reconstruct layers that share an input.

    Args:
        tasks: the layers.
        moment: [in, in] float32, second moment of their input.
        parameters: method, iterations, tolerance, damping, and whether the masks may move.
    """
    if parameters.reconstruction == "sparsegpt":
        solved = _by_sparsegpt(tasks, moment, parameters)
    elif parameters.reconstruction == "admm":
        solved = _by_admm(tasks, moment, parameters)
    else:
        solved = [(task.layer.module.weight.float() * task.mask, task.mask) for task in tasks]
    return [
        SolvedLayer(weight, mask, relative_error(task.layer.module.weight.float(), weight, moment))
        for task, (weight, mask) in zip(tasks, solved, strict=True)
    ]


def relative_error(dense: Tensor, weight: Tensor, moment: Tensor) -> float:
    """tr(D H D^T) / tr(W H W^T) for D = W - V; zero for a layer whose inputs were all zero."""
    difference = dense - weight
    whole = float(((dense @ moment) * dense).sum(dtype=torch.float64))
    return float(((difference @ moment) * difference).sum(dtype=torch.float64)) / whole if whole > 0 else 0.0


def _by_sparsegpt(
    tasks: list[LayerTask], moment: Tensor, parameters: ReconstructionParameters
) -> list[tuple[Tensor, Tensor]]:
    factor = inverse_factor(moment)
    keeps_masks = parameters.reconstruction_masks == "recipe"
    return [
        sparsegpt(
            task.layer.module.weight.float(),
            moment,
            task.pattern,
            sparsity=task.sparsity,
            mask=task.mask if keeps_masks else None,
            factor=factor,
        )
        for task in tasks
    ]


def _by_admm(
    tasks: list[LayerTask], moment: Tensor, parameters: ReconstructionParameters
) -> list[tuple[Tensor, Tensor]]:
    conditioned = condition(moment, parameters.reconstruction_damping)
    moves = parameters.reconstruction_masks == "refined" and parameters.reconstruction_iterations > 0
    inverse = conditioned.shifted_inverse(SHIFT) if moves else None
    return [_admm_layer(task, conditioned, inverse, parameters) for task in tasks]


def _admm_layer(
    task: LayerTask, conditioned: Conditioned, inverse: Tensor | None, parameters: ReconstructionParameters
) -> tuple[Tensor, Tensor]:
    """ADMM while the support moves; on the support that it settles on, conjugate gradients converge faster."""
    dense = task.layer.module.weight.float()
    target = conditioned.into(dense)
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
    solution = conjugate_gradients(
        target,
        conditioned.moment,
        mask,
        start,
        iterations=max(parameters.reconstruction_iterations, 1),
        tolerance=parameters.reconstruction_tolerance,
    )
    return conditioned.back(solution, dense) * mask, mask
