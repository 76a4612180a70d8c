"""The file ``metrics.json``."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from optishear.errors import InputError, first_line
from optishear.json_file import parse_json
from optishear.run_metrics.schema import SCHEMA_VERSION, Metrics

AnyMetrics = TypeVar("AnyMetrics", bound=Metrics)


def read_metrics(path: Path, kind: type[AnyMetrics]) -> AnyMetrics:
    """Read what ``write_json`` wrote; its texts ``"nan"``, ``"inf"`` and ``"-inf"`` are numbers again.

    Args:
        path: the file.
        kind: ``RunMetrics``, ``EvaluationMetrics`` or ``SweepMetrics``.

    Raises:
        InputError: if the file cannot be read, has another schema version, or holds other sections.
    """
    try:
        values: Any = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"The metrics {str(path)!r} cannot be read ({first_line(error)}).") from None
    if not isinstance(values, dict):
        raise InputError(f"The metrics {str(path)!r} are no mapping of sections.")
    # Files of version 0.3 and before state no version; their shape is that of version 1.
    version = values.setdefault("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise InputError(
            f"The metrics {str(path)!r} have the schema version {version!r}, and this OptiShear reads "
            f"{SCHEMA_VERSION}; read them with the version that wrote them, or repeat the run."
        )
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"The metrics {str(path)!r} are not those of this OptiShear: {place}: {first['msg']}; repeat the run."
        ) from None
