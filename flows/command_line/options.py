"""Command-line options from a parameter group: every field is a flag of the same name."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from optishear.errors import InputError
from optishear.home import expand_home
from optishear.named_source import NamedModel, NamedSource
from optishear.parameters.base import Parameters
from optishear.parameters.former_names import FORMER_NAMES
from optishear.pattern import Pattern
from optishear.units import Duration
from optishear.workers import Workers

_HEADINGS = [
    "Model",
    "Export",
    "Output",
    "Recipe",
    "Sparsity",
    "Layers",
    "Time",
    "Calibration",
    "Tokens",
    "Search",
    "Reconstruction",
    "Recovery",
    "Evaluation",
    "Comparison",
    "Footprint",
    "Matrix",
    "Generation",
    "Proof",
    "Tracking",
    "Registry",
    "Placement",
    "General",
]


_METAVARS = {
    int: "INTEGER",
    float: "NUMBER",
    str: "TEXT",
    Path: "PATH",
    Pattern: "FRACTION|N:M",
    Duration: "DURATION",
    NamedSource: "NAME=SOURCE",
    NamedModel: "[NAME=]MODEL",
    Workers: "NUMBER|ADDRESS",
}


class GroupCommand(click.Command):
    """A command whose help shows its options under the headings of their groups."""

    def __init__(self, *args: Any, group: type[Parameters], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, one section per group."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(_heading(self.group, parameter.name or ""), []).append(record)
        for heading in sorted(sections, key=_HEADINGS.index):
            with formatter.section(heading):
                formatter.write_dl(sections[heading])


def _heading(group: type[Parameters], name: str) -> str:
    """The heading of the group that defines a field. A class that only combines groups has none."""
    for base in group.__mro__:
        if name in inspect.get_annotations(base) and "heading" in vars(base):
            return str(vars(base)["heading"])
    return Parameters.heading


def options_of(group: type[Parameters]) -> list[click.Option]:
    """One option per field, in the order of the groups, base groups first.

    Values stay text: the parameter group checks them, so that the command line, the YAML file and Prefect refuse
    a value with the same sentence. Flags of former names are hidden.
    """
    fields = group.model_fields
    options = [_option(name, field) for name, field in fields.items()]
    for former, name in FORMER_NAMES.items():
        if name in fields:
            option = _option(former, fields[name])
            option.hidden = True
            options.append(option)
    return options


def _local_file(text: str) -> Path:
    try:
        return Path(expand_home(text))
    except ValueError as error:
        raise InputError(f"The configuration file cannot be {text[:80]!r}: {error}.") from None


def config_option() -> click.Option:
    """The option for a YAML file."""
    return click.Option(
        ["--config"],
        type=_local_file,
        metavar="FILE",
        help="YAML file with any of these parameters.",
    )


def given_values(context: click.Context, group: type[Parameters]) -> dict[str, Any]:
    """The values of the given flags; the others come from the YAML file and the defaults."""
    source = click.core.ParameterSource
    values = {
        name: value
        for name, value in context.params.items()
        if FORMER_NAMES.get(name, name) in group.model_fields
        and context.get_parameter_source(name) in (source.COMMANDLINE, source.ENVIRONMENT)
    }
    return {name: _split(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _split(values: Sequence[str]) -> list[str]:
    return [item.strip() for value in values for item in value.split(",") if item.strip()]


def _option(name: str, field: FieldInfo) -> click.Option:
    flag = "--" + name.replace("_", "-")
    kind = _without_none(field.annotation)
    help_text = field.description or ""
    default = field.get_default(call_default_factory=True)
    if kind is bool:
        shown = "" if default is None else "on" if default else "off"
        return click.Option([f"{flag}/--no-{flag[2:]}"], default=None, help=f"{help_text}{_default_hint(shown)}")
    if get_origin(kind) is list:
        item = _metavar(get_args(kind)[0])
        text = ",".join(map(str, default)) if default else ""
        more = " Repeat the flag or separate with commas."
        return click.Option([flag], multiple=True, metavar=item, help=f"{help_text}{more}{_default_hint(text)}")
    default_text = "" if default in (None, PydanticUndefined) else str(default)
    return click.Option([flag], metavar=_metavar(kind), help=f"{help_text}{_default_hint(default_text)}")


def _default_hint(default: str) -> str:
    return f"  [default: {default}]" if default else ""


def _without_none(annotation: Any) -> Any:
    """The type itself of ``T | None`` and of ``Annotated[T, ...]``."""
    while True:
        if hasattr(annotation, "__metadata__"):
            annotation = annotation.__origin__
            continue
        members = [member for member in get_args(annotation) if member is not type(None)]
        is_optional = len(members) == 1 and type(None) in get_args(annotation)
        if not is_optional or get_origin(annotation) in (list, Literal):
            return annotation
        annotation = members[0]


def _metavar(kind: Any) -> str:
    kind = _without_none(kind)
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    if get_origin(kind) is Union:
        return "VALUE"
    return _METAVARS[kind]
