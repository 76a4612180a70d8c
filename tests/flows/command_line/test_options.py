"""Flags are made from parameter groups, and only given flags override the YAML file."""

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from flows.command_line.options import GroupCommand, given_values, options_of
from flows.parameters.cross_task import CrossTaskParameters
from flows.parameters.pipeline import PipelineParameters
from flows.parameters.sweep import SweepParameters, pipelines_of
from optishear.errors import InputError
from optishear.parameters.base import Parameters
from optishear.parameters.read import read_parameters
from optishear.pattern import parse_pattern
from wording import refused


def parse(arguments: list[str], config: Path | None = None) -> PipelineParameters:
    """The parameters that a command line gives."""
    parsed: list[Parameters] = []

    def run(**_: Any) -> None:
        parsed.append(
            read_parameters(PipelineParameters, given_values(click.get_current_context(), PipelineParameters), config)
        )

    command = GroupCommand("run", group=PipelineParameters, callback=run, params=options_of(PipelineParameters))
    CliRunner().invoke(command, arguments, catch_exceptions=False, standalone_mode=False)
    (parameters,) = parsed
    assert isinstance(parameters, PipelineParameters)
    return parameters


def test_every_field_is_a_flag_with_its_description_and_default() -> None:
    options = {option.name: option for option in options_of(PipelineParameters)}
    assert set(options) == set(PipelineParameters.model_fields)
    for name, field in PipelineParameters.model_fields.items():
        assert f"--{name.replace('_', '-')}" in options[name].opts
        assert field.description is not None
        assert (options[name].help or "").startswith(field.description)
    assert "[default: 512]" in (options["sequence_length"].help or "")
    assert "[default: off]" in (options["trust_remote_code"].help or "")
    assert "[default" not in (options["limit"].help or "")
    assert "[default" not in (options["compare_sparsegpt"].help or "")


def test_no_flag_leaves_every_default() -> None:
    assert parse([]) == PipelineParameters()
    assert parse([]).model_fields_set == set()


def test_a_switch_without_a_default_can_be_on_and_off() -> None:
    assert parse([]).compare_sparsegpt is None
    assert parse(["--compare-sparsegpt"]).compare_sparsegpt is True
    assert parse(["--no-compare-sparsegpt"]).compare_sparsegpt is False


def test_values_get_their_types() -> None:
    parameters = parse(
        [
            "--sequences",
            "4",
            "--ratio-step",
            "0.1",
            "--trust-remote-code",
            "--include-path",
            "tasks",
            "--sparsity",
            "2:4",
        ]
    )
    assert parameters.sequences == 4
    assert parameters.ratio_step == 0.1
    assert parameters.trust_remote_code is True
    assert parameters.include_path == Path("tasks")
    assert parameters.sparsity == parse_pattern("2:4")


def test_lists_are_repeated_or_separated_by_commas() -> None:
    assert parse(["--tasks", "boolq,rte", "--tasks", "arc_easy"]).tasks == ["boolq", "rte", "arc_easy"]


def test_given_flags_override_the_file_and_no_others(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("sequences: 4\nseed: 7\ntrust_remote_code: true\ntasks: [boolq]\n")
    parameters = parse(["--seed", "8"], config)
    assert (parameters.sequences, parameters.seed, parameters.trust_remote_code) == (4, 8, True)
    assert parameters.tasks == ["boolq"]
    assert parse(["--no-trust-remote-code", "--tasks", "rte"], config).trust_remote_code is False


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--sequences", "0"], "The parameter sequences cannot be '0': input should be greater than or equal to 1."),
        (["--sparsity", "1.5"], "The sparsity '1.5' is neither a fraction in [0, 1), such as 0.5, nor an N:M pattern"),
        (["--algorithm", "magic"], "The parameter algorithm cannot be 'magic': input should be 'nsga3'"),
        (["--budget", "10x"], "The parameter budget cannot be '10x': '10x' is not a duration such as 90s, 10m or 2h."),
        (
            ["--search-calibrations", "a=b,c4.jsonl"],
            "The parameter search_calibrations cannot hold 'c4.jsonl': 'c4.jsonl' is not NAME=SOURCE, such as "
            "math=gsm8k.jsonl.",
        ),
    ],
)
def test_a_bad_value_is_one_sentence(arguments: list[str], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(arguments)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_an_unknown_key_of_the_file_is_one_sentence(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("sparsty: 0.5\n")
    with refused("sparsty", "sparsity"):
        parse([], config)


def test_a_sweep_takes_what_run_takes() -> None:
    assert set(PipelineParameters.model_fields) ^ set(SweepParameters.model_fields) == {"sparsity", "sparsities"}
    parameters = read_parameters(SweepParameters, {"sparsities": [0.50, "2:4", "0.5"]})
    assert parameters.sparsities == [parse_pattern("0.5"), parse_pattern("2:4")]
    permuted = pipelines_of(parameters.model_copy(update={"permute_channels": True}))
    assert {str(sparsity): run.permute_channels for sparsity, run in permuted.items()} == {"0.5": False, "2:4": True}


def test_the_flag_of_a_former_name_is_accepted_and_hidden() -> None:
    options = {option.name: option for option in options_of(CrossTaskParameters)}
    assert options["judged_sequences"].hidden
    assert not options["held_out_sequences"].hidden
    given: dict[str, Any] = {}

    def run(**_: Any) -> None:
        given.update(given_values(click.get_current_context(), CrossTaskParameters))

    command = GroupCommand("cross-task", group=CrossTaskParameters, callback=run, params=[*options.values()])
    CliRunner().invoke(command, ["--judged-sequences", "3"], catch_exceptions=False, standalone_mode=False)
    assert read_parameters(CrossTaskParameters, given).held_out_sequences == 3
