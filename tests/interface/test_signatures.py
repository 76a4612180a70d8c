"""The signatures of the library are those of the parameters: fields, types and defaults."""

import inspect
import subprocess
import sys
from importlib.metadata import version
from typing import get_type_hints

import arguments
import pytest

import optishear
from optishear.interface.arguments import EvaluateArguments, PruneArguments, RecoverArguments, SearchArguments
from optishear.parameters.base import Parameters
from optishear.parameters.calibration import CalibrationParameters
from optishear.parameters.evaluation import EvaluationParameters
from optishear.parameters.model import ModelParameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.parameters.recovery import RecoveryParameters
from optishear.parameters.search import SearchParameters

FUNCTIONS = {
    "search": (SearchArguments, (CalibrationParameters, SearchParameters)),
    "prune": (PruneArguments, (CalibrationParameters, ReconstructionParameters)),
    "recover": (RecoverArguments, (RecoveryParameters,)),
    "evaluate": (EvaluateArguments, (EvaluationParameters,)),
}


def test_the_typed_arguments_are_current() -> None:
    assert arguments.FILE.read_text(encoding="utf-8") == arguments.module(), "run: python tools/arguments.py"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_field_is_an_argument_with_its_default(name: str) -> None:
    typed, groups = FUNCTIONS[name]
    fields = {field: each for group in groups for field, each in group.model_fields.items()}
    shown = inspect.signature(getattr(optishear, name)).parameters
    assert set(fields) <= set(shown)
    assert set(get_type_hints(typed)) == set(fields) - {"calibration"}
    for field, each in fields.items():
        assert shown[field].default == each.get_default(call_default_factory=True)
    assert all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in shown.values())


def test_load_model_has_the_model_parameters() -> None:
    shown = inspect.signature(optishear.load_model).parameters
    fields = {name: field for name, field in ModelParameters.model_fields.items() if name != "seed"}
    assert list(shown) == list(fields)
    for name, parameter in shown.items():
        assert parameter.annotation == fields[name].annotation
        assert parameter.default in (inspect.Parameter.empty, fields[name].default)


class Changed(Parameters):
    sequences: int = 31


def test_a_changed_field_makes_the_module_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    before = arguments.module()
    changed = arguments.Arguments("CalibrationArguments", "", "The size of the calibration set.", Changed)
    monkeypatch.setattr(arguments, "ARGUMENTS", [changed, *arguments.ARGUMENTS[1:]])
    assert arguments.module() != before


def test_public_names() -> None:
    assert optishear.__version__ == version("optishear")
    assert {*optishear.__all__, "__version__"} <= set(dir(optishear))
    code = "import sys, optishear; dir(optishear); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
    with pytest.raises(AttributeError, match="serch"):
        optishear.serch  # noqa: B018
