"""The parameters of the flow ``sweep``."""

from pydantic import Field, field_validator

from flows.parameters.pipeline import PipelineParameters
from flows.parameters.prune_and_evaluate import PruneAndEvaluateParameters
from optishear.parameters.search import SearchParameters
from optishear.parameters.sparsity import ChannelParameters
from optishear.parameters.time_split import TimeParameters
from optishear.pattern import Pattern
from tasks.engine.parameter_groups import part


class SweepParameters(TimeParameters, SearchParameters, ChannelParameters, PruneAndEvaluateParameters):
    """What the pipeline does, at several sparsities."""

    sparsities: list[Pattern] = Field(
        ["0.5", "0.6", "0.7", "2:4"],
        min_length=1,
        validate_default=True,
        description="Fractions such as 0.5, or N:M such as 2:4.",
    )

    @field_validator("sparsities")
    @classmethod
    def _each_once(cls, values: list[Pattern]) -> list[Pattern]:
        return list(dict.fromkeys(values))


def pipelines_of(parameters: SweepParameters) -> dict[Pattern, PipelineParameters]:
    """The pipeline of each sparsity of a sweep; each writes to a folder of its own, such as ``0.5`` or ``2of4``."""
    return {
        sparsity: part(
            parameters,
            PipelineParameters,
            sparsity=sparsity,
            # A fraction has no groups that an order of channels could change.
            permute_channels=parameters.permute_channels and sparsity.is_structured,
            output=parameters.output / str(sparsity).replace(":", "of"),
        )
        for sparsity in parameters.sparsities
    }
