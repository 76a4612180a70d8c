"""The memory of a search, from its parameters."""

from dataclasses import replace

from transformers.modeling_utils import PreTrainedModel

from optishear.memory.fit import check_need, least_room, log_ways
from optishear.memory.model_shape import ModelShape, shape_of_shard
from optishear.memory.need import with_workers
from optishear.memory.needs import weights_bytes
from optishear.memory.search_plan import SearchMemory, SearchWork, plan_search
from optishear.models.shards import placement_of, weights_by_device
from optishear.parameters.search import SearchParameters
from optishear.pattern import Pattern
from optishear.search_space.space import has_ratios

_FIX = "set descent_steps to 0 or lower sequence_length"


def search_fix(workers: int) -> str:
    """What to change where a search does not fit, for the message.

    Args:
        workers: of the search, on its device.
    """
    return f"give fewer workers, {_FIX}" if workers else _FIX


def gradient_sequences(parameters: SearchParameters, sequences: int) -> int:
    """Number of sequences of the descent, of so many of the calibration, in whole batches of ``search_sequences``.

    At least a quarter of the calibration is held out.
    """
    if not parameters.descent_steps or parameters.ratio_scope == "none":
        return parameters.search_sequences
    batches = min(sequences * 3 // 4 // parameters.search_sequences, parameters.descent_steps)
    return max(batches, 1) * parameters.search_sequences


def search_work(parameters: SearchParameters, sequences: int, length: int, pattern: Pattern) -> SearchWork:
    """What a search does, as far as its memory depends on it.

    Args:
        parameters: of the search.
        sequences: of the main calibration set.
        length: tokens of a sequence.
        pattern: the target.
    """
    sets = 1 + len(parameters.search_calibrations)
    main = gradient_sequences(parameters, sequences)
    return SearchWork(
        sequences=main + (sets - 1) * parameters.search_sequences,
        measured=sets * parameters.search_sequences,
        length=length,
        descends=bool(parameters.descent_steps) and has_ratios(parameters, pattern),
        ranks=not pattern.is_structured,
        reconstructed=sequences if parameters.reconstructed_finalists else 0,
    )


def search_memory(
    shape: ModelShape,
    itemsize: int,
    parameters: SearchParameters,
    work: SearchWork,
    free: int | None,
    *,
    on_gpu: bool,
    models: int = 1,
    workers: int = 0,
) -> SearchMemory:
    """How a search and each of its workers use the memory of its device, or of each device of a model on several.

    The need is that of all of them.

    Args:
        shape: of the model, or of its part on one device.
        itemsize: bytes of a weight.
        parameters: of the search.
        work: what it does.
        free: bytes that they may take, with those of the search's own weights; ``None`` where that is unknown.
        on_gpu: whether the host's memory is another one, where the dense weights may be.
        models: number of models that share ``memory_budget``, beside their workers.
        workers: number of workers on the device.
    """
    budget = parameters.memory_budget
    in_bytes = None if budget is None else round(budget * 2**30 / (models * (1 + workers)))
    # Workers read the model from memory that all processes of the machine share.
    sent = weights_bytes(shape, itemsize) if workers and not on_gpu else 0
    share = None if free is None else max(0, free - sent) // (1 + workers)
    memory = plan_search(shape, itemsize, work, share, host_copy=on_gpu, memory_budget=in_bytes)
    return replace(memory, need=with_workers(memory.need, workers, sent))


def memory_of_loaded(
    model: PreTrainedModel, parameters: SearchParameters, work: SearchWork, models: int = 1, workers: int = 0
) -> SearchMemory:
    """How the search of a model in memory uses the rest of it.

    Args:
        model: dense, on its device.
        parameters: of the search.
        work: what it does.
        models: number of models that are searched together and share what is free.
        workers: number of workers on the model's device.

    Raises:
        InputError: if the search cannot fit in any way.
    """
    placement = placement_of(model)
    weights = weights_by_device(model, placement)
    available = least_room({device: count * model.dtype.itemsize for device, count in weights.items()}, models)
    shape = shape_of_shard(model, placement)
    on_gpu = model.device.type != "cpu"
    memory = search_memory(
        shape, model.dtype.itemsize, parameters, work, available, on_gpu=on_gpu, models=models, workers=workers
    )
    name = model.config.name_or_path or model.config.model_type
    check_need(memory.need, model.device, available, name, search_fix(workers))
    log_ways(memory.need, available)
    return memory
