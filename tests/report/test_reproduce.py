import shlex
from typing import Annotated

from pydantic import Field

from optishear.named_source import NamedSource
from optishear.parameters.model import ModelParameters
from optishear.parameters.roles import Role
from optishear.parameters.search import SearchParameters
from optishear.parameters.sparsity import SparsityParameters
from optishear.report.reproduce import command_line


class Run(SearchParameters, SparsityParameters, ModelParameters):
    tracking_uri: Annotated[str | None, Role.PLACE] = None
    others: list[NamedSource] = Field([])


def flags(text: str) -> dict[str, str]:
    words = shlex.split(text.replace("\\\n", " "))
    return dict(zip(words[2::2], words[3::2], strict=True))


def test_model_and_sparsity_are_always_there() -> None:
    assert flags(command_line("run", Run(model="some/model"))) == {"--model": "some/model", "--sparsity": "0.5"}


def test_given_values_are_flags_and_defaults_and_places_stay_out() -> None:
    given = Run(
        model="m",
        sparsity="2:4",
        budget="2h",
        population=24,
        divergences=["kl", "frobenius"],
        others=["a=b", "c=d"],
        tracking_uri="https://u:password@host",
        device="cuda:1",
    )
    text = command_line("run", given)
    assert text.startswith("optishear run \\\n    --")
    assert flags(text) == {
        "--model": "m",
        "--sparsity": "2:4",
        "--budget": "2h",
        "--divergences": "kl,frobenius",
        "--others": "a=b,c=d",
    }


def test_a_switch_has_no_value() -> None:
    words = shlex.split(command_line("run", Run(trust_remote_code=True)).replace("\\\n", " "))
    assert "--trust-remote-code" in words
    assert "True" not in words


def test_hostile_names_are_quoted() -> None:
    text = command_line("run", Run(model="x; rm -rf ~ $(id)"))
    assert flags(text)["--model"] == "x; rm -rf ~ $(id)"
    assert "'x; rm -rf ~ $(id)'" in text
