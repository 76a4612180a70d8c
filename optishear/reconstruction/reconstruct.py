"""Prune a model by a recipe and make the weights that stay as good as they can be."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm
from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.calibration_set import CalibrationSet
from optishear.errors import InputError
from optishear.models.finite import check_weights
from optishear.models.in_memory import frozen
from optishear.models.layers import PrunableLayer, by_parameter, decoder_blocks, expert_group
from optishear.models.select_layers import select_layers
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.pruning.apply import PruningSummary, check_pattern, check_statistics, count_zeros, layer_mask
from optishear.pruning.channels import permute_channels
from optishear.recipes.fit import check_fits
from optishear.recipes.layer_counts import layer_counts
from optishear.recipes.recipe import Recipe
from optishear.reconstruction.block_tuning import tune_block
from optishear.reconstruction.layers import LayerTask, SolvedLayer, chooses_masks, relative_error, solve_groups
from optishear.reconstruction.second_moment import SecondMoments
from optishear.reconstruction.stream import BlockCalls, check_calls, equal_batches, first_inputs
from optishear.statistics.statistics import Statistics
from optishear.training.schedule import held_out


@dataclass(frozen=True)
class ExpertCounts:
    """Layers of experts in a reconstruction.

    Attributes:
        layers: number of them.
        reconstructed: of which a method gave the kept weights new values.
        on_shared_tokens: of these, those with too few tokens of their own, solved on the tokens of all experts of
            their block.
        left_at_masks: whose kept weights are the dense ones, since no token reached any expert of the block, the recipe
            prunes nothing of them, or no method was asked for.
    """

    layers: int
    reconstructed: int
    on_shared_tokens: int
    left_at_masks: int


@dataclass(frozen=True)
class ReconstructionSummary:
    """What reconstruction did.

    Attributes:
        pruning: the zeros.
        layer_errors: for each layer the mean square of its output's difference from that of its dense weight on the
            same inputs, relative to the latter; after the layer solver, before any tuning. Empty where not asked for.
        converged: for each layer the fraction of its rows whose conjugate gradients reached the tolerance; of the
            layers that were solved by them.
        block_errors: for each block the held-out error before and after its tuning; empty without tuning.
        experts: how the layers of experts fared; ``None`` for a model without experts.
    """

    pruning: PruningSummary
    layer_errors: dict[str, float]
    converged: dict[str, float]
    block_errors: list[tuple[float, float]]
    experts: ExpertCounts | None = None


def reconstruct(
    model: PreTrainedModel,
    recipe: Recipe,
    statistics: Statistics | None,
    calibration: CalibrationSet,
    parameters: ReconstructionParameters,
    *,
    layer_errors: bool = True,
    progress: bool = False,
) -> ReconstructionSummary:
    """Prune a dense model in place, block by block on the inputs of what is pruned already.

    Beside the model, one block's second moments and the hidden states of the calibration tokens are in memory, with
    tuning these of the dense model too, and the block's weights in training (``TrainedWeights``).

    Args:
        model: dense.
        recipe: pattern, ratios, and the metric of the first masks.
        statistics: of the dense model, for the recipe's masks; where not given, the masks are made from what the
            layers read in the model pruned so far, which a metric of gradients cannot.
        calibration: what the errors are measured on.
        parameters: methods and how long to work.
        layer_errors: measure each layer's error, two products with its second moment.
        progress: show progress bars.

    Raises:
        InputError: before any weight is touched, if the recipe or the pattern does not fit the model, the statistics
            are another model's, or the sequences are too few; later, if a layer's inputs are not finite.
    """
    layers = select_layers(model, recipe.selection)
    _check(model, layers, recipe, statistics, calibration, parameters)
    check_weights(model)
    if statistics is not None:
        statistics = permute_channels(model, recipe, statistics)
    in_memory = Residence(lambda _: nullcontext(), nullcontext, lambda: count_zeros(model, layers))
    with frozen(model):
        return _reconstruct(
            model, layers, recipe, statistics, calibration, parameters, in_memory, layer_errors, progress
        )


@dataclass(frozen=True)
class Residence:
    """Where the blocks of a model are while it is reconstructed.

    Attributes:
        block: a context in which the block of an index is in memory; what its body makes of it is kept.
        without_blocks: a context in which the model runs without the work of its blocks.
        zeros: what pruning did, once all blocks are done.
    """

    block: Callable[[int], AbstractContextManager[None]]
    without_blocks: Callable[[], AbstractContextManager[None]]
    zeros: Callable[[], PruningSummary]


def reconstruct_blocks(
    model: PreTrainedModel,
    layers: list[PrunableLayer],
    recipe: Recipe,
    statistics: Statistics | None,
    calibration: CalibrationSet,
    parameters: ReconstructionParameters,
    residence: Residence,
    *,
    layer_errors: bool = True,
    progress: bool = False,
) -> ReconstructionSummary:
    """As ``reconstruct``, for a model whose blocks need not be in memory and whose channels keep their order.

    Args:
        model: dense.
        layers: that the recipe prunes.
        recipe: as for ``reconstruct``.
        statistics: as for ``reconstruct``.
        calibration: as for ``reconstruct``.
        parameters: as for ``reconstruct``.
        residence: where the blocks are.
        layer_errors: as for ``reconstruct``.
        progress: as for ``reconstruct``.

    Raises:
        InputError: as ``reconstruct``, but for weights that are not finite.
    """
    _check(model, layers, recipe, statistics, calibration, parameters)
    with frozen(model):
        return _reconstruct(
            model, layers, recipe, statistics, calibration, parameters, residence, layer_errors, progress
        )


def _check(
    model: PreTrainedModel,
    layers: list[PrunableLayer],
    recipe: Recipe,
    statistics: Statistics | None,
    calibration: CalibrationSet,
    parameters: ReconstructionParameters,
) -> None:
    check_sequences(parameters, len(calibration.tokens))
    check_fits(recipe, layers, model.config.model_type)
    check_pattern(recipe.sparsity, layers)
    if statistics is not None:
        check_statistics(recipe, layers, statistics)


def check_sequences(parameters: ReconstructionParameters, sequences: int) -> None:
    """Refuse fewer calibration sequences than the parts that are on can work with.

    Raises:
        InputError: naming the parameter.
    """
    limit = parameters.reconstruction_sequences
    if limit is not None and limit > sequences:
        raise InputError(
            f"The parameter reconstruction_sequences is {limit}, but there are {sequences} calibration sequences; "
            "lower it or raise sequences."
        )
    if parameters.tuning_steps and (limit or sequences) < 2:
        raise InputError(
            f"The parameter tuning_steps is {parameters.tuning_steps}, but one calibration sequence leaves none to "
            "hold out, which decides whether the steps helped; raise sequences, or reconstruction_sequences where it "
            "is given."
        )


def _reconstruct(
    model: PreTrainedModel,
    layers: list[PrunableLayer],
    recipe: Recipe,
    statistics: Statistics | None,
    calibration: CalibrationSet,
    parameters: ReconstructionParameters,
    residence: Residence,
    with_errors: bool,
    progress: bool,
) -> ReconstructionSummary:
    fitted_on = calibration.tokens[: parameters.reconstruction_sequences]
    blocks = _Blocks(model, fitted_on, parameters.tuning_steps > 0, residence.without_blocks)
    count_of = dict(zip((layer.name for layer in layers), layer_counts(recipe, layers), strict=True))
    layer_errors: dict[str, float] = {}
    converged: dict[str, float] = {}
    block_errors: list[tuple[float, float]] = []
    experts: dict[str, bool] = {}
    few_tokens: set[str] = set()
    for index in tqdm(range(len(blocks)), desc="reconstruction", unit="block", disable=not progress):
        with residence.block(index):
            mine = [layer for layer in layers if layer.decoder_layer == index]
            blocks.advance_dense(index)
            solved: dict[str, SolvedLayer] = {}
            moments = blocks.moments(index, mine)
            few_tokens |= moments.few_tokens
            groups = moments.groups()
            tasks = []
            for moment, members in groups:
                layer_statistics = None
                if not chooses_masks(parameters):
                    layer_statistics = statistics or _of_stream(moment, members, fitted_on.shape[1])
                tasks.append([_task(layer, count_of[layer.name], recipe, layer_statistics) for layer in members])
            of_groups = solve_groups(
                [(group_tasks, moment) for group_tasks, (moment, _) in zip(tasks, groups, strict=True)], parameters
            )
            for (moment, members), solutions in zip(groups, of_groups, strict=True):
                for layer, solution in zip(members, solutions, strict=True):
                    if with_errors:
                        layer_errors[layer.name] = relative_error(layer.module.weight.float(), solution.weight, moment)
                    if solution.converged is not None:
                        converged[layer.name] = solution.converged
                    solved[layer.name] = solution
            experts |= {layer.name: solved[layer.name].is_solved for layer in mine if expert_group(layer) is not None}
            for layer in mine:
                layer.module.weight.data.copy_(solved[layer.name].weight)
            if parameters.tuning_steps:
                block_errors.append(blocks.tune(index, list(by_parameter(mine)), parameters))
            blocks.advance(index)
    return ReconstructionSummary(residence.zeros(), layer_errors, converged, block_errors, _counts(experts, few_tokens))


def _counts(experts: dict[str, bool], few_tokens: set[str]) -> ExpertCounts | None:
    """Counts of experts' layers, from whether each was solved."""
    solved = {name for name, is_solved in experts.items() if is_solved}
    counts = ExpertCounts(len(experts), len(solved), len(solved & few_tokens), len(experts) - len(solved))
    return counts if experts else None


def _task(layer: PrunableLayer, count: int, recipe: Recipe, statistics: Statistics | None) -> LayerTask:
    """The task of a layer, with the recipe's mask if there are statistics for it."""
    width = layer.module.in_features
    pattern = recipe.sparsity.pruning(count, width)
    mask = None
    if statistics is not None:
        mask = layer_mask(recipe.metric_of(layer), layer, statistics, pattern, count)
    return LayerTask(layer, mask, pattern, pattern.fraction if pattern.is_structured else count / width)


def _of_stream(moment: Tensor, layers: list[PrunableLayer], length: int) -> Statistics:
    """Statistics of layers with one input: a channel's squared norm over a sequence of that length."""
    squared_norms = moment.diagonal() * length
    return Statistics({layer.name: squared_norms for layer in layers})


class _Blocks:
    """The decoder's blocks, and the calibration tokens' hidden states before the block in work.

    Where memory runs out, what was done for this block or batch is repeated in smaller parts, and nothing before it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokens: Tensor,
        with_dense: bool,
        without_blocks: Callable[[], AbstractContextManager[None]],
    ) -> None:
        _, self.blocks = decoder_blocks(model)
        batches = equal_batches(tokens)
        with without_blocks():
            check_calls(model, self.blocks, tokens)
        self._calls = BlockCalls(model, self.blocks, batches[0], without_blocks)
        self._hidden = first_inputs(model, self.blocks, batches)
        self._dense: list[Tensor] | None = list(self._hidden) if with_dense else None
        # Whole batches, since the others are trained on.
        self._held_out = min(len(batches) - 1, -(-held_out(len(tokens)) // len(batches[0])))

    def __len__(self) -> int:
        return len(self.blocks)

    def advance_dense(self, index: int) -> None:
        """Run the dense block on the dense model's hidden states, where they are followed."""
        if self._dense is not None:
            self._run(index, self._dense)

    def moments(self, index: int, layers: list[PrunableLayer]) -> SecondMoments:
        """Second moments of the layers' inputs in the pruned model up to here, without what tuning holds out."""
        count = len(self._hidden) - (self._held_out if self._dense is not None else 0)

        def measure(size: int) -> SecondMoments:
            call, moments = self._calls.of(index, size), SecondMoments(layers)
            with moments.watching(), torch.no_grad():
                for hidden in self._hidden[:count]:
                    call.run(self.blocks[index], hidden)
            return moments

        return self._calls.sequences.run(measure)

    def tune(self, index: int, pruned: list[Tensor], parameters: ReconstructionParameters) -> tuple[float, float]:
        """Tune the pruned block; its held-out error before and after."""
        assert self._dense is not None
        block, hidden, dense = self.blocks[index], self._hidden, self._dense
        result = self._calls.sequences.run(
            lambda size: tune_block(
                block,
                self._calls.of(index, size),
                hidden,
                dense,
                pruned,
                steps=parameters.tuning_steps,
                rate=parameters.tuning_rate,
                held_out=self._held_out,
            )
        )
        return result.before, result.after

    def advance(self, index: int) -> None:
        """Run the pruned block on the pruned model's hidden states."""
        self._run(index, self._hidden)

    @torch.no_grad()
    def _run(self, index: int, hidden: list[Tensor]) -> None:
        """Put each batch's output in the place of its input, so that all are in memory once."""
        for position, batch in enumerate(hidden):
            hidden[position] = self._calls.sequences.run(
                lambda size: self._calls.of(index, size).run(self.blocks[index], batch)  # noqa: B023
            )
