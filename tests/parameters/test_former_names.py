"""A parameter is accepted under the name that it had in an earlier version."""

from pathlib import Path

import pytest

from flows.parameters.cross_task import CrossTaskParameters
from flows.parameters.pipeline import PipelineParameters
from flows.registry import FLOWS
from optishear.parameters.former_names import FORMER_NAMES
from optishear.parameters.read import read_parameters
from wording import refused


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "former.yaml"
    file.write_text("judged_sequences: 5\n")
    return file


def test_a_file_and_a_prefect_parameter_may_have_the_former_name(config: Path) -> None:
    assert read_parameters(CrossTaskParameters, {}, config).held_out_sequences == 5
    assert CrossTaskParameters.model_validate({"judged_sequences": 6}).held_out_sequences == 6


@pytest.mark.parametrize("name", ["judged_sequences", "held_out_sequences"])
def test_a_flag_of_either_name_overrides_the_file(config: Path, name: str) -> None:
    assert read_parameters(CrossTaskParameters, {name: 7}, config).held_out_sequences == 7


def test_both_names_together_are_refused(tmp_path: Path) -> None:
    both = tmp_path / "both.yaml"
    both.write_text("judged_sequences: 5\nheld_out_sequences: 6\n")
    with refused("judged_sequences"):
        read_parameters(CrossTaskParameters, {}, both)


def test_a_group_without_the_parameter_refuses_the_former_name() -> None:
    with refused("judged_sequences"):
        read_parameters(PipelineParameters, {"judged_sequences": 5})


def test_no_former_name_is_a_current_one() -> None:
    fields = {name for entry in FLOWS for name in entry.parameters.model_fields}
    assert FORMER_NAMES.keys().isdisjoint(fields)
    assert set(FORMER_NAMES.values()) <= fields
