"""Statistics equal a direct computation from the layers' inputs."""

from pathlib import Path

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


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "statistics.parquet").write_text("no")
    with pytest.raises(InputError, match="cannot be read"):
        Statistics.load(tmp_path / "statistics.parquet")
