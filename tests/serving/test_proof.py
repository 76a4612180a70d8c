"""What may be claimed of an export."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from flows.command_line.main import main
from optishear.inference.kernel import Kernel, best_kernel
from optishear.models.layers import prunable_layers
from optishear.parameters.proof import ProveParameters
from optishear.pruning.export import export_checkpoint
from optishear.serving.export import export_model
from optishear.serving.proof import EngineRun, Proof, prove
from optishear.serving.proof_page import proof_table, write_proof
from served_models import CONFIGURATIONS, byte_level_tokenizer, served_model
from wording import refused

LAYERS = 14
QUICK = {"prompt_tokens": 24, "new_tokens": 4, "rounds": 1}


def proof(**changes: object) -> Proof:
    """A proof of an export that runs sparse and is twice as fast, changed."""
    speeds = {"engine": "an engine", "memory_bytes": 1000, "prompt_tokens_per_second": 100.0}
    values = {
        "format": "bitmask",
        "disk_bytes": 1000,
        "threads": 1,
        "pruned_layers": 10,
        "sparse_layers": 10,
        "dense_layers": (),
        "divergence": 1e-4,
        "same_tokens": 1.0,
        "export": EngineRun(**speeds, tokens_per_second=20.0),
        "dense": EngineRun(**speeds, tokens_per_second=10.0),
    }
    return Proof.model_validate(values | changes)


def test_a_gain_of_sparse_layers_is_claimed() -> None:
    assert proof().faster
    assert proof().decode_gain == 2
    assert "10 of 10" in proof().verdict


@pytest.mark.parametrize(
    "changes",
    [
        {"sparse_layers": 0},  # whatever the speed
        {"sparse_layers": 0, "pruned_layers": 0},
        {"divergence": 0.1},
        {"divergence": float("inf")},
        {"export": proof().dense},
    ],
)
def test_no_claim_without_sparse_layers_equal_outputs_and_saved_time(changes: dict[str, object]) -> None:
    found = proof(**changes)
    assert not found.faster
    assert "aster here" not in found.verdict.replace("No faster here", "")


def pruned(folder: Path, share: float = 0.5) -> Path:
    """A checkpoint of a Llama with zeros in all prunable layers."""
    model = served_model(CONFIGURATIONS["llama"])
    torch.manual_seed(1)
    with torch.no_grad():
        for layer in prunable_layers(model):
            layer.module.weight[torch.rand_like(layer.module.weight) < share] = 0
    model.to(torch.bfloat16).save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    (folder / "README.md").write_text("# A model\n\n## License\n\nNone.\n")
    return folder


def test_packed_layers_run_sparse(tmp_path: Path) -> None:
    if best_kernel() is None:
        pytest.skip("no sparse kernel for this processor, or no compiler")
    export_checkpoint(pruned(tmp_path / "dense"), tmp_path / "packed", "bitmask")
    found = prove(ProveParameters(folder=tmp_path / "packed", **QUICK))
    assert (found.pruned_layers, found.sparse_layers, found.dense_layers) == (LAYERS, LAYERS, ())
    assert found.same_outputs
    assert found.same_tokens > 0.9
    assert found.export.memory_bytes < found.dense.memory_bytes


def test_a_wrong_kernel_is_found_though_it_is_only_for_single_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if best_kernel() is None:
        pytest.skip("no sparse kernel for this processor, or no compiler")
    export_checkpoint(pruned(tmp_path / "dense"), tmp_path / "packed", "bitmask")
    right = Kernel.matvec

    def wrong(*arguments: Any) -> None:
        right(*arguments)
        arguments[-1].neg_()

    monkeypatch.setattr(Kernel, "matvec", wrong)
    found = prove(ProveParameters(folder=tmp_path / "packed", **QUICK))
    assert found.sparse_layers == LAYERS
    assert not found.same_outputs
    assert not found.faster


def test_without_a_kernel_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is packed, and the layers run dense."""
    from optishear.inference import pack_layers

    monkeypatch.setattr(pack_layers, "best_kernel", lambda: None)
    export_checkpoint(pruned(tmp_path / "dense"), tmp_path / "packed", "bitmask")
    found = prove(ProveParameters(folder=tmp_path / "packed", **QUICK))
    assert (found.pruned_layers, found.sparse_layers) == (LAYERS, 0)
    assert len(found.dense_layers) == LAYERS
    assert not found.faster


def test_a_dense_checkpoint_runs_dense(tmp_path: Path) -> None:
    found = prove(ProveParameters(folder=pruned(tmp_path / "dense"), **QUICK))
    assert (found.pruned_layers, found.sparse_layers, found.divergence) == (LAYERS, 0, 0)
    assert not found.faster


def test_nothing_pruned_is_said(tmp_path: Path) -> None:
    found = prove(ProveParameters(folder=pruned(tmp_path / "dense", share=0.0), **QUICK))
    assert found.pruned_layers == 0
    assert not found.faster


@pytest.mark.parametrize("gguf_type", ["bf16", "q8_0", "q4_0"])
def test_llama_cpp_runs_dense(tmp_path: Path, gguf_type: str) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'optishear[llama-cpp]'")
    export_model(pruned(tmp_path / "dense"), tmp_path / "served" / "model", "gguf", gguf_type, "tiny")
    found = prove(ProveParameters(folder=tmp_path / "served", **QUICK))
    assert (found.format, found.pruned_layers, found.sparse_layers) == ("gguf", LAYERS, 0)
    assert found.same_outputs
    assert not found.faster


def test_the_card_has_the_table_once(tmp_path: Path) -> None:
    folder = pruned(tmp_path / "dense")
    write_proof(folder, proof())
    write_proof(folder, proof(sparse_layers=9, dense_layers=("model.layers.0.mlp.up_proj",)))
    card = (folder / "README.md").read_text()
    assert card.count("## Measured") == 1
    assert card.count("## License") == 1
    assert "`model.layers.0.mlp.up_proj`" in card
    assert card.startswith("# A model")
    assert "9 of 10" in card
    stored = json.loads((folder / "proof.json").read_text())
    assert stored["faster"] is True
    assert stored["sparse_layers"] == 9


def test_the_section_of_the_card_may_stand_before_others(tmp_path: Path) -> None:
    folder = pruned(tmp_path / "dense")
    write_proof(folder, proof())
    card = folder / "README.md"
    card.write_text(card.read_text() + "\n## More\n\nText.\n")
    write_proof(folder, proof(sparse_layers=8))
    assert card.read_text().endswith("## More\n\nText.\n")
    assert "8 of 10" in card.read_text()
    assert "10 of 10" not in card.read_text()


def test_the_table_has_a_row_each(tmp_path: Path) -> None:
    table = proof_table(proof())
    assert "| ratio | | 1.00 | 1.00 | 2.00 |" in table


def test_the_command_prints_and_writes(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pruned(tmp_path / "model")
    flags = [part for name, value in QUICK.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    main(["prove", str(tmp_path), *flags])
    assert "No faster here" in capsys.readouterr().out
    assert (folder / "proof.json").is_file()


def test_a_folder_without_an_export_is_one_sentence(tmp_path: Path) -> None:
    with refused(tmp_path, "export"):
        prove(ProveParameters(folder=tmp_path))
