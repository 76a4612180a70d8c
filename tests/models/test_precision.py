"""What auto is on which processor, and that it stays so."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
import torch

from optishear.models import precision
from optishear.models.precision import announce, choose_precision, processor_of, product_seconds, warn_if_emulated
from wording import refused

CPU = torch.device("cpu")
AVX2 = {"architecture": "x86_64", "cpu_name": "an old one", "avx2": True}
AVX512 = {**AVX2, "avx512_f": True}
BF16 = {**AVX512, "avx512_bf16": True}
AMX = {**BF16, "amx_bf16": True}
LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets PyTorch see a CPU, with what it and oneDNN may use of it."""

    def see(has: Mapping[str, object], *, aten: str = "AVX512", onednn: bool = True, **limits: str) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: MappingProxyType(dict(has)))
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: aten)
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
        for name, value in limits.items():
            monkeypatch.setenv(name, value)

    for name in LIMITS:
        monkeypatch.delenv(name, raising=False)
    return see


@pytest.mark.parametrize(
    ("native", "bfloat16_time", "dtype", "words"),
    [
        (False, 8.0, "float32", "emulates bfloat16, and a matrix product takes 8 times as long"),
        (True, 0.5, "bfloat16", "has instructions for bfloat16, and a matrix product takes 0.5 times as long"),
        # Nothing clear is measured: the instruction set decides.
        (False, 0.7, "float32", "emulates bfloat16, and"),
        (True, 1.4, "bfloat16", "has instructions for bfloat16, and"),
        # Clear, and against it.
        (False, 0.6, "bfloat16", "emulates bfloat16, but a matrix product takes 0.6 times as long"),
        (True, 1.6, "float32", "has instructions for bfloat16, but a matrix product takes 1.6 times as long"),
    ],
)
def test_the_instruction_set_decides_unless_the_measurement_clearly_says_otherwise(
    processor: Callable[..., None], native: bool, bfloat16_time: float, dtype: str, words: str
) -> None:
    processor(native=native, bfloat16_time=bfloat16_time)

    chosen = choose_precision("auto", CPU)

    assert chosen.dtype == dtype
    assert words in chosen.reason
    assert "a processor with AVX" in str(chosen)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_dtype_that_is_given_is_not_measured(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    monkeypatch.setattr(precision, "bfloat16_time", lambda _: pytest.fail("measured"))

    chosen = choose_precision(dtype, CPU)

    assert (chosen.dtype, chosen.reason) == (dtype, "as given")
    assert chosen.torch_dtype == getattr(torch, dtype)


@pytest.mark.parametrize("dtype", ["int8", "float8", "fp16", ""])
def test_another_dtype_is_refused(dtype: str) -> None:
    with refused(repr(dtype), "auto", "float32", "bfloat16", "float16"):
        choose_precision(dtype, CPU)


def test_a_decision_holds_in_the_process_and_on_the_machine(
    processor: Callable[..., None], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor(native=True, bfloat16_time=1.6)
    first = choose_precision("auto", CPU)
    processor(native=True, bfloat16_time=0.5)
    assert choose_precision("auto", CPU) == first

    monkeypatch.setattr(precision, "_decisions", {})
    assert choose_precision("auto", CPU) == first  # as another process
    (file,) = (home / "precision").glob("*.json")
    assert json.loads(file.read_text())["dtype"] == "float32"

    monkeypatch.setattr(precision, "_decisions", {})
    processor(native=True, bfloat16_time=0.5, name="another processor")
    assert choose_precision("auto", CPU).dtype == "bfloat16"
    assert len(list((home / "precision").glob("*.json"))) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"dtype": "int8", "bfloat16_time": 1}', '{"dtype": "float32"}'])
def test_a_damaged_decision_is_made_again(
    processor: Callable[..., None], home: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    processor(native=True, bfloat16_time=0.5)
    choose_precision("auto", CPU)
    (file,) = (home / "precision").glob("*.json")
    file.write_text(content)
    monkeypatch.setattr(precision, "_decisions", {})

    assert choose_precision("auto", CPU).dtype == "bfloat16"
    assert json.loads(file.read_text())["dtype"] == "bfloat16"


def test_a_home_that_cannot_be_written_is_no_obstacle(
    processor: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OPTISHEAR_HOME", str(tmp_path / "file"))
    processor(native=True, bfloat16_time=0.5)

    assert choose_precision("auto", CPU).dtype == "bfloat16"


@pytest.mark.parametrize(
    ("has", "instruction_set", "native"),
    [
        ({"architecture": "x86_64"}, "SSE", False),
        (AVX2, "AVX2", False),
        (AVX512, "AVX-512", False),
        (BF16, "AVX-512 BF16", True),
        (AMX, "AMX BF16", True),
        ({"architecture": "arm64", "neon": True}, "arm64", False),
        ({"architecture": "arm64", "neon": True, "bf16": True}, "arm64 BF16", True),
    ],
)
def test_what_a_cpu_has(
    hardware: Callable[..., None], has: dict[str, object], instruction_set: str, native: bool
) -> None:
    hardware(has)
    found = processor_of(CPU)
    assert (found.instruction_set, found.native_bfloat16) == (instruction_set, native)


@pytest.mark.parametrize(
    "limits",
    [
        {"aten": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
        {"aten": "DEFAULT", "ATEN_CPU_CAPABILITY": "default"},
        {"onednn": False, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
        {"ONEDNN_MAX_CPU_ISA": "avx512_core_vnni"},
        {"DNNL_MAX_CPU_ISA": "AVX512_CORE"},
    ],
)
@pytest.mark.parametrize("has", [BF16, AMX])
def test_the_limits_of_the_environment_count(
    hardware: Callable[..., None], has: dict[str, object], limits: dict[str, str]
) -> None:
    hardware(has, **limits)
    found = processor_of(CPU)
    ((name, value),) = ((name, value) for name, value in limits.items() if name in LIMITS)
    assert not found.native_bfloat16
    assert found.instruction_set.endswith(f"BF16 limited by {name}={value}")


@pytest.mark.parametrize("limit", ["AVX512_CORE_BF16", "AVX512_CORE_AMX", "ALL"])
def test_a_limit_that_leaves_bfloat16_is_none(hardware: Callable[..., None], limit: str) -> None:
    hardware(AMX, ONEDNN_MAX_CPU_ISA=limit)
    assert processor_of(CPU).native_bfloat16


@pytest.mark.parametrize(("capability", "native"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_what_a_gpu_has(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], native: bool) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.version, "hip", None)

    found = processor_of(torch.device("cuda"))

    assert (found.name, found.native_bfloat16) == ("a GPU", native)
    assert found.instruction_set == "compute capability {}.{}".format(*capability)


@pytest.mark.parametrize("limit", ["ATEN_CPU_CAPABILITY=default", "ONEDNN_MAX_CPU_ISA=AVX2"])
def test_this_machine_limited_computes_in_float32(tmp_path: Path, limit: str) -> None:
    script = (
        "import torch; from optishear.models.precision import choose_precision; "
        "print(choose_precision('auto', torch.device('cpu')))"
    )
    environment = {name: value for name, value in os.environ.items() if name not in LIMITS}
    name, _, value = limit.partition("=")
    # oneDNN heeds its own variable alone, and would be measured to be fast.
    environment |= {name: value, "ONEDNN_MAX_CPU_ISA": "AVX2", "OPTISHEAR_HOME": str(tmp_path)}

    told = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)

    assert told.stdout.startswith("float32 (")
    assert limit in told.stdout or "x86_64" not in torch.cpu.get_capabilities().values()


def test_wording_of_the_log_that_comes_once(processor: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    processor(native=False, bfloat16_time=8.0)
    with caplog.at_level(logging.INFO, "optishear"):
        for _ in range(2):
            announce(choose_precision("auto", CPU))
            warn_if_emulated("bfloat16", CPU)
            warn_if_emulated("float32", CPU)
    said, warned = caplog.messages
    assert said.startswith("Working precision: float32 (a processor with AVX2 emulates bfloat16")
    assert warned.startswith("bfloat16 is emulated on a processor (AVX2) and takes 8 times as long as float32")


def test_a_product_is_measured() -> None:
    assert 0 < product_seconds("float32", CPU, 8, 16, 16) < 1
