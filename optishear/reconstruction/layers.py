"""The layers of one decoder block that read one input, pruned and reconstructed from its second moment."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from optishear.batch_size import BatchSize
from optishear.models.finite import not_finite
from optishear.models.layers import PrunableLayer, expert_group
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
# Second moments of experts that are solved together; fewer where memory is too small for the rest of the work.
_STACK_BYTES = 2**29


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
    _check_moment(tasks[0].layer, moment)
    # Without calibration tokens there is no information about the weights.
    unused = not bool(moment.diagonal().any())
    if parameters.reconstruction == "sparsegpt" and not unused:
        return _by_sparsegpt(tasks, moment)
    if parameters.reconstruction == "admm" and not unused:
        return _by_admm(tasks, moment, parameters)
    return [_masked(task) for task in tasks]


@torch.no_grad()
def solve_groups(
    groups: Sequence[tuple[list[LayerTask], Tensor]], parameters: ReconstructionParameters
) -> list[list[SolvedLayer]]:
    """Reconstruct the layers of a block, experts of one shape together.

    A layer of which nothing is pruned keeps its weights. Many small products take a device less time as one. The
    results are those of ``solve_layers`` up to rounding.

    Args:
        groups: the layers that share an input, and its second moment [in, in] float32.
        parameters: as for ``solve_layers``.

    Returns:
        The layers of each group, in their order.

    Raises:
        InputError: if the inputs of a layer were not finite.
    """
    pruned = [([task for task in tasks if task.sparsity], moment) for tasks, moment in groups]
    solved: dict[int, list[SolvedLayer]] = {}
    stacks: dict[tuple[tuple[torch.Size, Pattern], ...], list[int]] = {}
    for index, (tasks, moment) in enumerate(pruned):
        is_stackable = parameters.reconstruction in ("sparsegpt", "admm") and bool(moment.diagonal().any())
        if not tasks:
            solved[index] = []
        elif is_stackable and all(expert_group(task.layer) is not None for task in tasks):
            key = tuple((task.layer.module.weight.shape, task.pattern) for task in tasks)
            stacks.setdefault(key, []).append(index)
        else:
            solved[index] = solve_layers(tasks, moment, parameters)
    for indices in stacks.values():
        experts = [pruned[index] for index in indices]
        together = BatchSize(max(1, _STACK_BYTES // (experts[0][1].numel() * 4)), "expert", "solution")
        solutions = together.each(len(experts), lambda part: _solve_experts(experts[part], parameters))  # noqa: B023
        solved |= dict(zip(indices, itertools.chain.from_iterable(solutions), strict=True))
    return [_with_dense(tasks, solved[index]) for index, (tasks, _) in enumerate(groups)]


def _with_dense(tasks: list[LayerTask], solved: list[SolvedLayer]) -> list[SolvedLayer]:
    """The layers of a group in their order; those that lose no weight stay as they are."""
    pruned = iter(solved)
    return [next(pruned) if task.sparsity else _masked(replace(task, mask=None)) for task in tasks]


def _solve_experts(
    groups: Sequence[tuple[list[LayerTask], Tensor]], parameters: ReconstructionParameters
) -> list[list[SolvedLayer]]:
    return _solve_stack(groups, parameters) if len(groups) > 1 else [solve_layers(*groups[0], parameters)]


def _solve_stack(
    groups: Sequence[tuple[list[LayerTask], Tensor]], parameters: ReconstructionParameters
) -> list[list[SolvedLayer]]:
    """The layers of groups of equal shapes; the first of all groups together, then the second, and so on."""
    for tasks, moment in groups:
        _check_moment(tasks[0].layer, moment)
    by_position = zip(*(tasks for tasks, _ in groups), strict=True)
    moments = [moment for _, moment in groups]
    if parameters.reconstruction == "sparsegpt":
        factors = torch.stack([inverse_factor(moment) for moment in moments])
        positions = [_stack_by_sparsegpt(tasks, torch.stack(moments), factors) for tasks in by_position]
    else:
        conditioned = [condition(moment, parameters.reconstruction_damping) for moment in moments]
        moves = parameters.reconstruction_masks == "refined"
        inverses = torch.stack([system.shifted_inverse(SHIFT) for system in conditioned]) if moves else None
        positions = [_stack_by_admm(tasks, conditioned, inverses, parameters) for tasks in by_position]
    return [list(layers) for layers in zip(*positions, strict=True)]


def _stack_by_sparsegpt(tasks: Sequence[LayerTask], moments: Tensor, factors: Tensor) -> list[SolvedLayer]:
    masks = [task.mask for task in tasks if task.mask is not None]
    weights, support = sparsegpt(
        torch.stack([task.layer.module.weight.float() for task in tasks]),
        moments,
        tasks[0].pattern,
        sparsity=[task.sparsity for task in tasks],
        mask=torch.stack(masks) if masks else None,
        factor=factors,
    )
    return [SolvedLayer(weight, mask) for weight, mask in zip(weights, support, strict=True)]


def _stack_by_admm(
    tasks: Sequence[LayerTask],
    conditioned: Sequence[Conditioned],
    inverses: Tensor | None,
    parameters: ReconstructionParameters,
) -> list[SolvedLayer]:
    dense = [task.layer.module.weight.float() for task in tasks]
    target = torch.stack([each.into(weight) for each, weight in zip(conditioned, dense, strict=True)])
    moment = torch.stack([each.moment for each in conditioned])
    mask = torch.stack([task.mask for task in tasks if task.mask is not None])
    start = target * mask
    if inverses is not None:

        def select(values: Tensor) -> Tensor:
            masks = [largest(scores, task.pattern, task.sparsity) for scores, task in zip(values, tasks, strict=True)]
            return torch.stack(masks)

        start, mask = admm(
            target,
            moment,
            inverses,
            SHIFT,
            mask,
            iterations=parameters.reconstruction_iterations,
            refinements=parameters.reconstruction_iterations,
            select=select,
        )
    solution, converged = conjugate_gradients(
        target,
        moment,
        mask,
        start,
        iterations=parameters.reconstruction_iterations,
        tolerance=parameters.reconstruction_tolerance,
    )
    return [
        SolvedLayer(_pruned(each.back(weight, original), kept), kept, float(rows.float().mean()))
        for each, weight, original, kept, rows in zip(conditioned, solution, dense, mask, converged, strict=True)
    ]


def chooses_masks(parameters: ReconstructionParameters) -> bool:
    """Whether the method makes its masks without those of the recipe."""
    return parameters.reconstruction == "sparsegpt" and parameters.reconstruction_masks == "refined"


def relative_error(dense: Tensor, weight: Tensor, moment: Tensor) -> float:
    """tr(D H D^T) / tr(W H W^T) for D = W - V; zero for a layer whose inputs were all zero."""
    difference = dense - weight
    whole = float(((dense @ moment) * dense).sum(dtype=torch.float64))
    return float(((difference @ moment) * difference).sum(dtype=torch.float64)) / whole if whole > 0 else 0.0


def _check_moment(layer: PrunableLayer, moment: Tensor) -> None:
    if not bool(moment.isfinite().all()):
        raise not_finite(f"The inputs of the layer {layer.name!r} are", layer.module.weight.dtype)


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
            conditioned.moment,
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
    return SolvedLayer(_pruned(conditioned.back(solution, dense), mask), mask, float(converged.float().mean()))


def _pruned(weight: Tensor, mask: Tensor) -> Tensor:
    """The weight with zeros where none is kept; a product would leave negative zeros, which formats keep."""
    return weight.masked_fill(~mask, 0)
