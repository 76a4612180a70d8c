"""What a search needs, and the ways to do it in less memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from optishear.memory.model_shape import ModelShape
from optishear.memory.need import Need, need_at_peak
from optishear.memory.needs import MASKS, SEQUENCES_PER_PASS, weights_bytes
from optishear.memory.passes import backward_bytes, forward_bytes, gram_bytes, head_bytes, target_bytes
from optishear.memory.solver_needs import solver_bytes
from optishear.units import format_bytes

# Bytes for each weight of the largest layer: a new mask with ranks, ranks that are not kept, marginal costs.
_RANKS, _RANKS_NOT_KEPT, _COSTS = 16, 18, 16
_WIDEST_SHORT_RANK = 2**15
# Sequences of the comparison with Wanda.
_HELD_OUT = 8
# What a rank cache of fewer layers is a share of.
_SHARES = 8


@dataclass(frozen=True)
class SearchWork:
    """What a search does, as far as its memory depends on it.

    Attributes:
        sequences: whose dense outputs it keeps, of all sets of search tokens.
        measured: of these, evaluated in each trial.
        length: tokens of a sequence.
        descends: whether the ratios are moved by gradients.
        ranks: whether masks change in their counts alone, by ranks that are kept.
        reconstructed: sequences that finalists are reconstructed on; 0 without.
    """

    sequences: int
    measured: int
    length: int
    descends: bool
    ranks: bool
    reconstructed: int = 0


@dataclass(frozen=True)
class SearchMemory:
    """How a search uses the memory of its device.

    Attributes:
        copy_on_host: whether the dense weights are in the host's memory.
        rank_bytes: limit of the rank caches.
        sequences_per_pass: sequences of a pass.
        recomputed: whether the backward passes of the descent compute activations again.
        need: what that takes.
    """

    copy_on_host: bool
    rank_bytes: int
    sequences_per_pass: int
    recomputed: bool
    need: Need


def rank_bytes(shape: ModelShape) -> int:
    """The ranks of all layers."""
    return shape.prunable * (2 if shape.inner < _WIDEST_SHORT_RANK else 4)


def search_need(
    shape: ModelShape,
    itemsize: int,
    work: SearchWork,
    *,
    ranks: int,
    copy_on_host: bool = False,
    sequences_per_pass: int = SEQUENCES_PER_PASS,
    recomputed: bool = False,
    ways: tuple[str, ...] = (),
) -> Need:
    """What a search needs.

    Args:
        shape: of the model.
        itemsize: bytes of a weight.
        work: what it does.
        ranks: limit of the rank caches in bytes.
        copy_on_host: whether the dense weights are in the host's memory.
        sequences_per_pass: sequences of a pass.
        recomputed: whether the backward passes of the descent compute activations again.
        ways: as in ``Need``.
    """
    weights = weights_bytes(shape, itemsize)
    copy = shape.prunable * itemsize
    tokens = sequences_per_pass * work.length
    targets = target_bytes(shape, itemsize, (work.sequences + _HELD_OUT) * work.length, work.measured * work.length)
    head = head_bytes(shape, itemsize, tokens)
    ranks = min(ranks, rank_bytes(shape)) if work.ranks else 0
    # A layer of a copy on the host is on the device while it is masked.
    layer = shape.layer * itemsize if copy_on_host else 0
    kept = {"weights": weights, "copy": layer if copy_on_host else copy, "ranks": ranks, "dense targets": targets}
    moments = [
        {"weights": weights, "dense targets": targets + max(gram_bytes(shape), head)},
        {**kept, "masks": shape.layer * (_RANKS if ranks else MASKS)},
        {**kept, "activations": forward_bytes(shape, itemsize, tokens) + head},
    ]
    if work.descends:
        costs = shape.layer * (_COSTS + (0 if ranks == rank_bytes(shape) else _RANKS_NOT_KEPT))
        moments.append(
            {**kept, "activations": backward_bytes(shape, itemsize, tokens, recomputed=recomputed) + max(costs, head)}
        )
    if work.reconstructed:
        states = work.reconstructed * work.length * shape.width * itemsize
        moments.append({**kept, "hidden states": states, **solver_bytes(shape, "admm")})
    host = {"copy": copy} if copy_on_host else {}
    return need_at_peak("search", *moments, host=host, ways=ways)


def plan_search(
    shape: ModelShape,
    itemsize: int,
    work: SearchWork,
    free: int | None,
    *,
    host_copy: bool,
    memory_budget: int | None = None,
) -> SearchMemory:
    """The fastest search that fits the free memory; the smallest one where none does.

    Args:
        shape: of the model.
        itemsize: bytes of a weight.
        work: what the search does.
        free: bytes of the device that are free before the weights are loaded; ``None`` where that is unknown.
        host_copy: whether the dense weights may be kept in the host's memory.
        memory_budget: limit of the rank caches in bytes, where one is given.
    """
    for memory in _by_speed(shape, itemsize, work, host_copy, memory_budget):
        if free is None or memory.need.total <= free:
            break
    return memory


def _by_speed(
    shape: ModelShape, itemsize: int, work: SearchWork, host_copy: bool, memory_budget: int | None
) -> Iterator[SearchMemory]:
    """The ways of a search, from the fastest to the smallest."""
    most = rank_bytes(shape) if memory_budget is None else min(memory_budget, rank_bytes(shape))
    for copy_on_host, sequences, share, recomputed in product(
        (False, True) if host_copy else (False,),
        (SEQUENCES_PER_PASS, SEQUENCES_PER_PASS // 2, 1),
        range(_SHARES, -1, -1) if work.ranks else (0,),
        (False, True) if work.descends else (False,),
    ):
        ranks = most * share // _SHARES
        ways = {
            "the dense weights in the host's memory": copy_on_host,
            f"{sequences} sequences per pass": sequences < SEQUENCES_PER_PASS,
            f"ranks of at most {format_bytes(ranks)}": work.ranks and share < _SHARES,
            "activations that are computed again in the backward pass": recomputed,
        }
        need = search_need(
            shape,
            itemsize,
            work,
            ranks=ranks,
            copy_on_host=copy_on_host,
            sequences_per_pass=sequences,
            recomputed=recomputed,
            ways=tuple(way for way, taken in ways.items() if taken),
        )
        yield SearchMemory(copy_on_host, ranks, sequences, recomputed, need)
