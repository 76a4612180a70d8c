"""The stage before all others: the speed of the model on this device, and the work of its evaluation,
``speed.json``."""

import time
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from optishear.calibration.calibrate import longest_sequence
from optishear.calibration.self_generated import TEXTS_PER_BATCH
from optishear.calibration.text import text_digest
from optishear.evaluation.task_files import suites_of
from optishear.json_file import write_json
from optishear.models.devices import resolve_device
from optishear.models.folder import checkpoint_folder
from optishear.models.precision import processor_of
from optishear.parameters.evaluation import EvaluationParameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.timing.evaluation_work import EvaluationWork, evaluation_work
from optishear.timing.measure import MeasuredPass, Step, measure_speed
from optishear.timing.speed import Speed
from tasks.engine.model_cache import shared_model
from tasks.engine.parameter_groups import part
from tasks.engine.placement import computed_on_pool, measured_on
from tasks.engine.stage import Stage
from tasks.stages.parameters import SpeedStageParameters
from tasks.store.artifacts import Artifact
from tasks.store.keys import digest, folder_digest, model_digest
from tasks.store.model_sources import find_model

NAME = "speed"
SPEED = "speed.json"
# The context that lm-eval assumes where a model's configuration gives none.
_CONTEXT = 2048


class MeasuredSpeed(BaseModel):
    """The content of ``speed.json``: the measured times, and the work of one model's evaluation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    speed: Speed
    evaluation: EvaluationWork


def load_speed(artifact: Artifact) -> MeasuredSpeed:
    """What the stage measured."""
    return MeasuredSpeed.model_validate(artifact.read_json(SPEED))


def _inputs(parameters: SpeedStageParameters, steps: list[Step]) -> dict[str, str]:
    inputs = {"model": model_digest(parameters), "device": _device(parameters), "steps": ",".join(sorted(steps))}
    if "window" in steps:
        # Where the number of windows is given, the text is not read.
        inputs["text"] = text_digest(parameters.evaluation_text) if parameters.windows is None else ""
        inputs["suites"] = digest([suite.model_dump() for suite in suites_of(parameters)])
        inputs["task_files"] = folder_digest(parameters.include_path)
    return inputs


def _device(parameters: SpeedStageParameters) -> str:
    """The device, and in this process the processor with its threads, since the store may be shared."""
    if computed_on_pool(parameters, NAME):
        return measured_on(parameters, NAME)
    processor = processor_of(resolve_device(parameters.device))
    return f"{processor.name} with {processor.instruction_set}, {torch.get_num_threads()} threads"


def _write(outputs: Path, parameters: SpeedStageParameters, steps: list[Step]) -> None:
    checkpoint_folder(find_model(parameters.model))  # a GGUF file is converted once, which is no part of loading
    started = time.perf_counter()
    with shared_model(parameters) as loaded:
        load_seconds = time.perf_counter() - started
        request = MeasuredPass(
            steps=frozenset(steps),
            sequence_length=parameters.sequence_length,
            window_length=parameters.window_length,
            sequences=min(parameters.sequences, TEXTS_PER_BATCH),
            pattern=parameters.sparsity,
            reconstruction=part(parameters, ReconstructionParameters),
        )
        speed = measure_speed(loaded.model, loaded.tokenizer, request, load_seconds)
        work = EvaluationWork()
        if "window" in steps:
            context = longest_sequence(loaded.model) or _CONTEXT
            work = evaluation_work(loaded.tokenizer, part(parameters, EvaluationParameters), context)
    write_json(outputs / SPEED, MeasuredSpeed(speed=speed, evaluation=work).model_dump(mode="json"))


speed_stage = Stage(
    name=NAME,
    version=4,
    parameters=(
        "dtype",
        "sequences",
        "sequence_length",
        "window_length",
        "windows",
        "bos",
        "limit",
        "fewshot",
        "sparsity",
        *ReconstructionParameters.model_fields,
    ),
    inputs=_inputs,
    write=_write,
    on_gpu=SpeedStageParameters,
)
