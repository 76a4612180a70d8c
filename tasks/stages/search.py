"""Stage 3: search the recipe, ``trials.parquet``, ``recipe.yaml`` and ``front/``."""

from pathlib import Path

import pyarrow.parquet as pq
from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.calibrate import calibrate, check_calibration
from optishear.calibration.text import text_digest
from optishear.errors import InputError
from optishear.file_names import CALIBRATION, FRONT, RECIPE, STATISTICS, TRIALS
from optishear.home import journals_folder
from optishear.memory.model_shape import ModelShape
from optishear.memory.need import Need
from optishear.models.devices import SHARD, resolve_device
from optishear.models.selection import Selection
from optishear.parameters.model import ModelParameters
from optishear.parameters.roles import plain_fields
from optishear.parameters.search import SearchParameters
from optishear.recipes.recipe import Recipe
from optishear.searching.dense_share import check_dense_share
from optishear.searching.finalists import fitting_sequences
from optishear.searching.ray_workers import check_workers
from optishear.searching.rounds import DEFAULT_TRIALS
from optishear.searching.search import SearchResult, run_search
from optishear.searching.search_memory import search_fix, search_memory, search_work
from optishear.searching.search_workers import workers_on
from optishear.searching.trials import Trial
from tasks.engine.memory import Choice, check_stage_memory, plan_stage
from tasks.engine.model_cache import shared_model
from tasks.engine.placement import uses_deployments
from tasks.engine.progress import progress_bar
from tasks.engine.stage import Stage
from tasks.stages.calibrate import calibrate_stage, load_calibration
from tasks.stages.parameters import SearchStageParameters
from tasks.stages.statistics import load_statistics
from tasks.store.artifacts import Artifact
from tasks.store.keys import digest, model_digest
from tasks.store.provenance import provenance, public_source
from tasks.tracking.search_metrics import search_metrics

# Versions of the recipe for the same inputs, and of the measurements in the journal.
VERSION = 10
_JOURNAL_VERSION = 9


def load_recipe(artifact: Artifact) -> Recipe:
    """The recipe that the search chose."""
    return Recipe.load(artifact.path(RECIPE))


def check_search(parameters: SearchStageParameters) -> None:
    """Refuse numbers of sequences that do not fit each other, and dense layers beside an unstructured sparsity.

    Raises:
        InputError: names the parameter.
    """
    if parameters.search_sequences > parameters.sequences:
        raise InputError(
            f"The parameter search_sequences is {parameters.search_sequences}, but there are {parameters.sequences} "
            "calibration sequences; lower it or raise sequences."
        )
    fitting_sequences(parameters, parameters.sequences)
    check_dense_share(parameters, parameters.sparsity)


def check_search_texts(parameters: SearchParameters) -> None:
    """Refuse further calibration texts that cannot be read.

    Raises:
        InputError: names the text and the reason.
    """
    for text in parameters.search_calibrations:
        check_calibration(text.source)


def check_search_workers(parameters: ModelParameters, search: SearchParameters) -> None:
    """Refuse workers without Ray, without GPUs for them, or for a model on all GPUs; a stage's process checks its own.

    Raises:
        InputError: names the number or the address.
    """
    if search.workers and parameters.device == SHARD:
        raise InputError(
            f"The parameter workers is {str(search.workers)!r}, but the device {SHARD!r} needs all GPUs for one model; "
            "leave out one of them."
        )
    if not uses_deployments(parameters):
        check_workers(search.workers, resolve_device(parameters.device))


def check_memory_of_search(model: PreTrainedModel, parameters: SearchStageParameters) -> None:
    """Refuse a model whose search does not fit the device in any way.

    Raises:
        InputError: names the memory.
    """
    memory = _memory(parameters, parameters.sequences, parameters.sequence_length)
    check_stage_memory(model, parameters, memory, search_fix(parameters.workers.count))


def _memory(parameters: SearchStageParameters, sequences: int, length: int) -> Choice:
    """The need of the search and of its workers on the same device: on a CPU each of them holds the model."""
    work = search_work(parameters, sequences, length, parameters.sparsity)

    def need(shape: ModelShape, itemsize: int, free: int | None) -> Need:
        device = resolve_device(parameters.device)
        workers, on_gpu = workers_on(device, parameters.workers), device.type != "cpu"
        return search_memory(shape, itemsize, parameters, work, free, on_gpu=on_gpu, workers=workers).need

    return need


def search_inputs(parameters: SearchStageParameters, calibration: Artifact, statistics: Artifact) -> dict[str, str]:
    """Digests of what a search reads."""
    selection = Selection.of(parameters.include, parameters.exclude)
    further = [calibrate_stage.version, parameters.bos]
    return {
        "model": model_digest(parameters),
        "calibration": calibration.digest(CALIBRATION),
        "statistics": statistics.digest(STATISTICS),
        # A candidate's measurement says nothing of one with other layers.
        **({"layers": digest(selection.model_dump())} if selection else {}),
        **{f"search calibration {text.name}": text_digest(text.source) for text in parameters.search_calibrations},
        # Of the main set its content says how it was drawn.
        **({"further calibrations": digest(further)} if parameters.search_calibrations else {}),
    }


def _write(outputs: Path, parameters: SearchStageParameters, calibration: Artifact, statistics: Artifact) -> float:
    blocks = load_calibration(calibration)
    sequences, length = blocks.tokens.shape
    plan_stage(parameters, _memory(parameters, sequences, length), search_fix(parameters.workers.count))
    with (
        shared_model(parameters) as loaded,
        search_metrics() as log_best,
        progress_bar("search", "trials of the search") as show,
    ):
        calibrations = {"": blocks}
        for text in parameters.search_calibrations:
            calibrations[text.name] = calibrate(
                loaded.model,
                loaded.tokenizer,
                calibration=text.source,
                sequences=parameters.search_sequences,
                sequence_length=parameters.sequence_length,
                seed=parameters.seed,
                bos=parameters.bos,
            )
        planned = parameters.trials or DEFAULT_TRIALS

        def tell(trials: list[Trial]) -> None:
            show(len(trials) / planned)
            log_best(trials)

        result = run_search(
            loaded.model,
            calibrations,
            load_statistics(statistics),
            parameters,
            parameters.sparsity,
            seed=parameters.seed,
            journal=journal_of(search_inputs(parameters, calibration, statistics), parameters.dtype),
            origin={
                **provenance(parameters),
                "calibration": public_source(parameters.calibration),
                "dtype": parameters.dtype,
            },
            on_generation=tell,
            selection=Selection.of(parameters.include, parameters.exclude),
        )
    write_result(outputs, result, parameters.permute_channels)
    return result.earlier_seconds


def write_result(outputs: Path, result: SearchResult, permute_channels: bool) -> None:
    """Write the result of a search to a folder.

    Args:
        outputs: the folder.
        result: of the search.
        permute_channels: whether the recipes ask for it when they are applied; candidates are measured without.
    """
    changes = {"permute_channels": permute_channels}
    pq.write_table(result.trials, outputs / TRIALS)
    result.recipe.model_copy(update=changes).save(outputs / RECIPE)
    (outputs / FRONT).mkdir()
    for index, recipe in enumerate(result.front, start=1):
        recipe.model_copy(update=changes).save(outputs / FRONT / f"{index:02d}.yaml")


def journal_of(inputs: dict[str, str], dtype: str) -> Path:
    """The journal of all searches on the same inputs.

    It survives a kill, and the next search reuses its measurements, at another sparsity or with another budget.
    """
    return journals_folder() / f"{digest({**inputs, 'dtype': dtype, 'version': _JOURNAL_VERSION})}.jsonl"


# Further calibration sets are inputs by their content, and neither the memory budget nor workers change the result.
MATTER = tuple(sorted(plain_fields(SearchParameters)))

search_stage = Stage(
    name="search",
    version=VERSION,
    parameters=(*MATTER, "sparsity", "permute_channels", "seed", "dtype"),
    inputs=search_inputs,
    write=_write,
    scores=lambda artifact: load_recipe(artifact).objectives,
    on_gpu=SearchStageParameters,
)
