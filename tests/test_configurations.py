"""The ready-made configurations are valid, so that they can be examples."""

from pathlib import Path

import pytest

from flows.parameters.pipeline import PipelineParameters
from optishear.parameters.read import read_parameters

CONFIGURATIONS = Path(__file__).parent.parent / "configurations"
# The plan of a night holds several, and has a test of its own.
FILES = sorted(set(CONFIGURATIONS.glob("*.yaml")) - {CONFIGURATIONS / "nightly.yaml"})


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_valid(file: Path) -> None:
    parameters = read_parameters(PipelineParameters, {}, file)
    assert parameters.model_fields_set


def test_there_are_some() -> None:
    assert {file.stem for file in FILES} >= {"demo", "paper"}
