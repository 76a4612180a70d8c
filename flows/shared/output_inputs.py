"""The output folder and what a run reads are apart from each other."""

from collections.abc import Iterator
from pathlib import Path

from flows.parameters.output import OutputParameters
from optishear.errors import InputError
from optishear.home import home_folder, journals_folder, recoveries_folder
from optishear.parameters.base import Parameters
from optishear.parameters.roles import Role, roles_of
from tasks.store.artifacts import artifacts_folder


def check_output(parameters: OutputParameters, *more_inputs: tuple[str, Path]) -> None:
    """Refuse an output folder that is, contains or lies inside something that the run reads.

    Symbolic links are followed.

    Args:
        parameters: of the flow.
        more_inputs: further files or folders that it reads, each after the name of its parameter.

    Raises:
        InputError: naming the input.
    """
    output = parameters.output.resolve()
    for name, path in (*local_inputs(parameters), *more_inputs):
        source = path.resolve()
        if _is_within(output, source):
            relation = "is" if _is_same(output, source) else "lies inside"
        elif _is_within(source, output):
            relation = "contains"
        else:
            continue
        raise InputError(
            f"The output folder {str(parameters.output)!r} {relation} the {name} {str(path)!r}, which is read; "
            "name another output folder."
        )
    for kept in _kept_folders():
        if _is_within(output, kept.resolve()):
            raise InputError(
                f"The output folder {str(parameters.output)!r} lies inside {str(kept)!r}, which is kept for all runs; "
                "name another output folder."
            )


def local_inputs(parameters: Parameters) -> Iterator[tuple[str, Path]]:
    """The files and folders of this machine that a flow's parameters name for reading, after the parameter's name."""
    for name, role in roles_of(type(parameters)).items():
        if role is Role.PLACE:
            continue
        value = getattr(parameters, name)
        for source in value if isinstance(value, list) else [value]:
            path = _local_path(role, getattr(source, "source", source))
            if path is not None and path.exists():
                yield name, path


def _local_path(role: Role, source: str | Path | None) -> Path | None:
    if not source:
        return None
    # The name of a published recipe or a suite may be that of a folder too, which is not read.
    path = Path(source)
    return None if role is Role.TEXT and path.is_dir() else path


def _kept_folders() -> list[Path]:
    others = [home_folder() / name for name in ("models", "packages", "registered", "mlartifacts", "results")]
    return [artifacts_folder(), journals_folder(), recoveries_folder(), *others]


def _is_within(inner: Path, outer: Path) -> bool:
    return any(_is_same(path, outer) for path in (inner, *inner.parents))


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there yet
        return one == other
