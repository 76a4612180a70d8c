"""A smaller parameter group out of a bigger one."""

from typing import Any, TypeVar

from optishear.parameters import Parameters, Pipeline, SweepStage
from optishear.pattern import Pattern

Group = TypeVar("Group", bound=Parameters)


def part(parameters: Parameters, group: type[Group], **changes: Any) -> Group:
    """The parameters of a group that ``parameters`` holds among others, with some of them changed."""
    names = set(group.model_fields) & set(type(parameters).model_fields)
    return group(**{**{name: getattr(parameters, name) for name in names}, **changes})


def pipelines_of(parameters: SweepStage) -> dict[Pattern, Pipeline]:
    """The pipeline of each sparsity of a sweep; each writes to a folder of its own, such as ``0.5`` or ``2of4``."""
    return {
        sparsity: part(
            parameters, Pipeline, sparsity=sparsity, output=parameters.output / str(sparsity).replace(":", "of")
        )
        for sparsity in parameters.sparsities
    }
