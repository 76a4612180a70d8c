"""Statistics equal a direct computation from the layers' inputs."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from optishear.errors import InputError
from optishear.models.layers import prunable_layers
from optishear.statistics.collect import collect_statistics
from optishear.statistics.statistics import Statistics
from tiny import random_calibration, tiny_model


def test_equal_to_the_inputs_squared(family: str) -> None:
    model = tiny_model(family)
    calibration = random_calibration()
    inputs: dict[str, list[torch.Tensor]] = {}
    handles = [
        layer.module.register_forward_hook(
            lambda _m, args, _o, name=layer.name: inputs.setdefault(name, []).append(args[0].flatten(0, -2))
        )
        for layer in prunable_layers(model)
    ]
    with torch.no_grad():
        for sequence in calibration.tokens:
            model(sequence[None])
    for handle in handles:
        handle.remove()
    for batch_size in (1, 4):
        statistics = collect_statistics(model, calibration, batch_size=batch_size, progress=False)
        assert list(statistics.squared_norms) == [layer.name for layer in prunable_layers(model)]
        for name, seen in inputs.items():
            direct = torch.cat(seen).double().square().sum(dim=0) / len(calibration.tokens)
            torch.testing.assert_close(statistics.squared_norms[name].double(), direct, rtol=1e-5, atol=1e-6)


def test_no_hook_stays_behind() -> None:
    model = tiny_model()
    collect_statistics(model, random_calibration(), progress=False)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_round_trip_keeps_every_bit_and_the_origin(tmp_path: Path) -> None:
    statistics = collect_statistics(tiny_model(), random_calibration(), progress=False)
    statistics.save(tmp_path / "statistics.parquet", {"model": "tiny"})
    loaded = Statistics.load(tmp_path / "statistics.parquet")
    assert loaded.squared_norms.keys() == statistics.squared_norms.keys()
    assert all(torch.equal(loaded.squared_norms[name], values) for name, values in statistics.squared_norms.items())
    assert pq.read_schema(tmp_path / "statistics.parquet").metadata[b"model"] == b"tiny"


def test_other_models_statistics_are_refused() -> None:
    statistics = collect_statistics(tiny_model(), random_calibration(), progress=False)
    with pytest.raises(InputError, match="do not fit"):
        statistics.of("model.layers.0.self_attn.q_proj", 33)
    with pytest.raises(InputError, match="do not fit"):
        statistics.of("model.layers.9.self_attn.q_proj", 32)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_numbers_that_are_no_squares_are_refused(value: float) -> None:
    with pytest.raises(InputError, match="squares"):
        Statistics({"a": torch.tensor([1.0, value])}).of("a", 2)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "statistics.parquet").write_text("no")
    with pytest.raises(InputError, match="cannot be read"):
        Statistics.load(tmp_path / "statistics.parquet")


def test_tokens_of_experts_survive_a_round_trip(tmp_path: Path) -> None:
    statistics = Statistics(
        {"a": torch.ones(2), "b.0": torch.ones(2), "b.1": torch.ones(2)}, tokens={"b.0": 3, "b.1": 99}
    )
    statistics.save(tmp_path / "statistics.parquet", {})

    loaded = Statistics.load(tmp_path / "statistics.parquet")

    assert loaded.tokens == {"b.0": 3, "b.1": 99}
    assert loaded.few_tokens == {"b.0": 3}


def test_a_file_without_tokens_is_read(tmp_path: Path) -> None:
    table = pa.table({"layer": ["a"], "squared_norms": pa.array([[1.0, 2.0]], pa.list_(pa.float32()))})
    pq.write_table(table, tmp_path / "statistics.parquet")

    loaded = Statistics.load(tmp_path / "statistics.parquet")

    assert loaded.squared_norms["a"].tolist() == [1, 2]
    assert loaded.tokens == {}
