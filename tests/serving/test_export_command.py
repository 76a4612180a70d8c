"""`optishear export --format gguf`."""

from pathlib import Path

import pytest
from gguf import GGUFReader

from flows.command_line.main import main
from optishear.parameters.read import read_parameters
from optishear.pruning.checkpoint import CARD_FILE
from served_models import saved_model
from tasks.stages.parameters import ExportStageParameters
from wording import refused


def test_the_file_lies_beside_config_and_tokenizer(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "tiny", tmp_path / "served"
    saved_model(source, "llama")
    flags = ["--model", str(source), "--format", "gguf", "--output", str(output)]
    for gguf_type in ("bf16", "q8_0"):  # the second time over what the first has laid out
        main(["export", *flags, "--gguf-type", gguf_type])
    assert "gguf: " in capsys.readouterr().out
    assert {"model.gguf", "config.json", "tokenizer.json"} <= {path.name for path in (output / "model").iterdir()}
    assert not list((output / "model").glob("*.safetensors"))
    reader = GGUFReader(output / "model" / "model.gguf")
    assert reader.get_field("general.name").contents() == "tiny"
    assert {tensor.tensor_type.name for tensor in reader.tensors} == {"Q8_0", "F32"}


def test_the_card_names_the_engine(tmp_path: Path) -> None:
    from optishear.pruning.card import _SIZES, _USES
    from optishear.serving.export import export_model

    saved_model(tmp_path / "tiny", "llama")
    (tmp_path / "tiny" / CARD_FILE).write_text(f"# Tiny\n\n{_USES['dense']}\n\n{_SIZES['dense']}\n")
    export_model(tmp_path / "tiny", tmp_path / "served", "gguf", "bf16", "tiny")
    card = (tmp_path / "served" / CARD_FILE).read_text()
    assert "llama-cli" in card
    assert "AutoModelForCausalLM" not in card


def test_a_type_is_for_gguf_alone() -> None:
    with refused("gguf_type", "bitmask"):
        read_parameters(ExportStageParameters, {"gguf_type": "q8_0"}, None)
