"""Stage 3 over several models: one recipe for all, ``trials.parquet``, ``recipe.yaml`` and ``front/``."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from optishear.file_names import CALIBRATION, STATISTICS
from optishear.models.selection import Selection
from optishear.searching.rounds import DEFAULT_TRIALS
from optishear.searching.trials import Trial
from optishear.searching.universal import Member, search_universal
from tasks.engine.model_cache import take_model
from tasks.engine.progress import progress_bar
from tasks.engine.stage import Stage
from tasks.stages.calibrate import load_calibration
from tasks.stages.parameters import SearchStageParameters
from tasks.stages.search import MATTER, VERSION, journal_of, load_recipe, search_inputs, write_result
from tasks.stages.statistics import load_statistics
from tasks.store.artifacts import Reference
from tasks.store.keys import model_digest
from tasks.store.model_sources import find_model
from tasks.store.provenance import code_version, public_source
from tasks.tracking.search_metrics import search_metrics

_UNIVERSAL_VERSION = 1


class MemberArtifacts(BaseModel):
    """The parameters, calibration and statistics of one of the models.

    Attributes:
        parameters: of a search on this model alone.
        calibration: its token blocks.
        statistics: its activation statistics on them.
    """

    parameters: SearchStageParameters
    calibration: Reference
    statistics: Reference


def _inputs(parameters: SearchStageParameters, members: Mapping[str, MemberArtifacts]) -> dict[str, str]:
    inputs = {}
    for name, member in members.items():
        inputs[f"model {name}"] = model_digest(member.parameters)
        inputs[f"calibration {name}"] = member.calibration.artifact().digest(CALIBRATION)
        inputs[f"statistics {name}"] = member.statistics.artifact().digest(STATISTICS)
    return inputs


def _write(outputs: Path, parameters: SearchStageParameters, members: Mapping[str, MemberArtifacts]) -> None:
    planned = parameters.trials or DEFAULT_TRIALS
    loaded = [
        Member(
            name=name,
            model=take_model(member.parameters.model_copy(update={"dtype": parameters.dtype})).model,
            calibration=load_calibration(member.calibration.artifact()),
            statistics=load_statistics(member.statistics.artifact()),
            # Measurements of the model's own search are reused.
            journal=journal_of(
                search_inputs(member.parameters, member.calibration.artifact(), member.statistics.artifact()),
                parameters.dtype,
            ),
        )
        for name, member in members.items()
    ]
    origin: dict[str, object] = {
        "model": ", ".join(find_model(member.parameters.model).public_name for member in members.values()),
        "optishear_version": code_version(),
        "calibration": public_source(parameters.calibration),
        "dtype": parameters.dtype,
    }
    with search_metrics() as log_best, progress_bar("search", "trials of the search") as show:

        def tell(trials: list[Trial]) -> None:
            show(len(trials) / planned)
            log_best(trials)

        result = search_universal(
            loaded,
            parameters,
            parameters.sparsity,
            seed=parameters.seed,
            origin=origin,
            on_generation=tell,
            selection=Selection.of(parameters.include, parameters.exclude),
        )
    write_result(outputs, result, parameters.permute_channels)


universal_search_stage = Stage(
    name="universal-search",
    # The sum of two versions that never fall, so that it changes when one of them does.
    version=VERSION + _UNIVERSAL_VERSION,
    parameters=(*MATTER, "sparsity", "permute_channels", "include", "exclude", "seed", "dtype"),
    inputs=_inputs,
    write=_write,
    scores=lambda artifact: load_recipe(artifact).objectives,
    on_gpu=SearchStageParameters,
)
