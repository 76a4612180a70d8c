"""A key has the dtype that is computed in, on this machine or on the pool, and never ``auto``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.parameters.statistics import StatisticsParameters
from optishear.models import precision as choice
from optishear.models.precision import Precision
from optishear.parameters.model import ModelParameters
from tasks.engine import precision
from tasks.engine.placement import GPU_POOL
from tasks.engine.precision import make_precision, precision_of, with_dtype
from tasks.engine.stage import Stage
from tasks.stages.parameters import CalibrateStageParameters
from tasks.store.artifacts import Artifact

NATIVE = {"native": True, "bfloat16_time": 0.5}
EMULATED = {"native": False, "bfloat16_time": 8.0}


def _write(outputs: Path, parameters: StatisticsParameters) -> None:
    (outputs / "dtype").write_text(parameters.dtype)


def stage(*parameters: str, on_gpu: bool = True) -> Stage[StatisticsParameters, []]:
    return Stage("dtype", 1, parameters, lambda _: {}, _write, on_gpu=ModelParameters if on_gpu else None)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch, processor: Callable[..., None]) -> list[str]:
    """A pool whose workers have bfloat16, asked from a machine without; holds the deployments that were run."""
    asked: list[str] = []

    def run(deployment: str, parameters: dict[str, Any], label: str, key: str, *, pool: str) -> None:
        assert pool == GPU_POOL
        asked.append(deployment)
        monkeypatch.setattr(choice, "_decisions", {})
        processor(**NATIVE, name="a worker's")
        made = make_precision(ModelParameters(**parameters["parameters"]))
        processor(**EMULATED)
        assert made.key == key

    processor(**EMULATED)
    monkeypatch.setattr(precision, "finish_deployment", run)
    monkeypatch.setattr(precision, "uses_deployments", lambda parameters: isinstance(parameters, StatisticsParameters))
    return asked


@pytest.mark.parametrize(("kind", "dtype"), [(NATIVE, "bfloat16"), (EMULATED, "float32")])
def test_a_key_has_the_dtype_that_is_computed_in(
    processor: Callable[..., None], kind: dict[str, Any], dtype: str
) -> None:
    processor(**kind)
    auto, plain = StatisticsParameters(), StatisticsParameters(dtype=dtype)
    request = stage("dtype", "seed").request(auto)
    assert request.parameters == {"dtype": dtype, "seed": 0}
    assert request.key == stage("dtype", "seed").request(plain).key
    other = "float32" if dtype == "bfloat16" else "bfloat16"
    assert request.key != stage("dtype", "seed").request(StatisticsParameters(dtype=other)).key


def test_what_is_written_is_computed_in_the_dtype_of_the_key(processor: Callable[..., None]) -> None:
    processor(**NATIVE)
    made: Artifact = stage("dtype").make(StatisticsParameters())
    assert made.path("dtype").read_text() == made.parameters["dtype"] == "bfloat16"


def test_a_stage_that_computes_nothing_has_no_dtype(processor: Callable[..., None]) -> None:
    processor(**NATIVE)
    assert (
        stage("seed").request(StatisticsParameters()).key
        == stage("seed").request(StatisticsParameters(dtype="float32")).key
    )


def test_the_pool_is_asked_once_and_its_answer_is_in_the_keys(pool: list[str]) -> None:
    for _ in range(2):
        assert stage("dtype").request(StatisticsParameters()).parameters == {"dtype": "bfloat16"}
    assert pool == ["precision-stage/precision"]
    found = precision_of(StatisticsParameters())
    assert found.dtype == "bfloat16"
    assert found.reason.startswith("a worker's with AVX-512 BF16")
    stage("dtype").request(StatisticsParameters(device="cpu"))
    assert len(pool) == 2


def test_a_stage_of_this_process_goes_by_this_machine(pool: list[str]) -> None:
    assert stage("dtype", on_gpu=False).request(StatisticsParameters()).parameters == {"dtype": "float32"}
    assert with_dtype(CalibrateStageParameters(), on_gpu=True).dtype == "float32"  # no placement
    assert pool == []


def test_a_dtype_that_is_given_asks_nobody(pool: list[str]) -> None:
    given = StatisticsParameters(dtype="float16")
    assert with_dtype(given, on_gpu=True) is given
    assert precision_of(given) == Precision("float16", "as given")
    assert pool == []
