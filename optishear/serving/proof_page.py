"""A proof as a table: for the terminal, the model card, and the file ``proof.json``."""

import re
from pathlib import Path

from optishear.files import write_text
from optishear.json_file import write_json
from optishear.pruning.checkpoint import CARD_FILE
from optishear.serving.proof import EngineRun, Proof
from optishear.units import format_bytes

PROOF = "proof.json"
_HEADING = "## Measured where it runs"
# The section up to the next heading of its level, or the end.
_SECTION = re.compile(rf"^{_HEADING}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def proof_table(proof: Proof) -> str:
    """The proof as Markdown: a table, the outputs, and the verdict."""
    rows = [_row("this export", proof.export), _row("dense form", proof.dense)]
    gains = (
        f"| ratio | | {proof.export.memory_bytes / proof.dense.memory_bytes:.2f} | {proof.prompt_gain:.2f} | "
        f"{proof.decode_gain:.2f} |"
    )
    table = "\n".join(
        [
            "| | engine | weights in memory | prompt, tokens/s | token by token, tokens/s |",
            "| --- | --- | ---: | ---: | ---: |",
            *rows,
            gains,
        ]
    )
    outputs = (
        f"{format_bytes(proof.disk_bytes)} on disk; {proof.threads} threads. Outputs: {proof.divergence:.2g} nats per "
        f"token from the dense form, the same most likely token at {proof.same_tokens:.1%} of the positions."
    )
    return f"{table}\n\n{outputs} {_dense_layers(proof)}**{proof.verdict}**\n"


def write_proof(folder: Path, proof: Proof) -> None:
    """Write ``proof.json`` beside the weights, and the table into the model card, in place of an earlier one."""
    write_json(folder / PROOF, proof.model_dump(mode="json") | {"faster": proof.faster, "verdict": proof.verdict})
    card = folder / CARD_FILE
    if not card.is_file():
        return
    section = f"{_HEADING}\n\n{proof_table(proof)}"
    text = card.read_text(encoding="utf-8")
    if _SECTION.search(text):
        text = _SECTION.sub(lambda _: section + "\n", text).rstrip() + "\n"
    else:
        text = f"{text.rstrip()}\n\n{section}"
    write_text(card, text)


def _row(name: str, run: EngineRun) -> str:
    return (
        f"| {name} | {run.engine} | {format_bytes(run.memory_bytes)} | {run.prompt_tokens_per_second:.1f} | "
        f"{run.tokens_per_second:.1f} |"
    )


def _dense_layers(proof: Proof) -> str:
    """The pruned layers that run dense, where others run sparse."""
    if not proof.sparse_layers or not proof.dense_layers:
        return ""
    names = ", ".join(f"`{name}`" for name in proof.dense_layers[:5])
    more = len(proof.dense_layers) - 5
    return f"Pruned layers that run dense: {names}{f' and {more} more' if more > 0 else ''}. "
