"""The model card: the README.md of a pruned checkpoint, with the front matter that the Hugging Face hub reads."""

from collections.abc import Mapping

import yaml

from optishear.markdown import block, code, plain
from optishear.metrics.metric import PUBLISHED, Metric, PowerMetric
from optishear.models.coverage import Coverage
from optishear.models.source import ModelSource
from optishear.parameters.export_formats import ExportFormat
from optishear.recipes.recipe import Recipe

_KINDS = {
    "attention_in": "attention inputs (queries, keys, values)",
    "attention_out": "attention output",
    "mlp_in": "MLP inputs (gate, up)",
    "mlp_out": "MLP output (down)",
}
_RULE = "in each row, the weights of the lowest score went"
_USES: dict[ExportFormat, str] = {
    "dense": "```python\n"
    "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
    'folder = "path/to/this/folder"\n'
    "model = AutoModelForCausalLM.from_pretrained(folder)\n"
    "tokenizer = AutoTokenizer.from_pretrained(folder)\n```",
    "bitmask": "The weights are packed, and transformers alone does not load them.\n\n"
    "```python\n"
    "import optishear\n\n"
    'loaded = optishear.load_model("path/to/this/folder")\n'
    "model, tokenizer = loaded.model, loaded.tokenizer\n```\n\n"
    "`optishear export --format dense --model path/to/this/folder --output dense` writes the checkpoint that "
    "`AutoModelForCausalLM` loads.",
    "gguf": "The file `model.gguf` is for llama.cpp and what is built on it.\n\n"
    "```bash\nllama-cli --model path/to/this/folder/model.gguf\n```",
    "fp8-2of4": "For vLLM with torchao on a Hopper GPU (H100, H200). The weights are stored in bfloat16; vLLM makes "
    "FP8 of them while it loads them:\n\n"
    "```bash\nvllm serve path/to/this/folder --dtype bfloat16 --quantization torchao \\\n"
    '  --hf-overrides \'{"quantization_config_file": "path/to/this/folder/torchao.json"}\'\n```\n\n'
    "`AutoModelForCausalLM.from_pretrained` loads the folder as the bfloat16 model.",
}
_SIZES: dict[ExportFormat, str] = {
    "dense": "The zeros are stored like any other number: the files are as large as the dense model's, and ordinary "
    "dense kernels take as long. `optishear export --format bitmask` leaves them out.",
    "bitmask": "The zeros are left out of the files: one bit says of each weight whether it is there. "
    "`optishear generate` keeps them out of memory too; loaded otherwise, the model is as large as the dense one.",
    "gguf": "llama.cpp multiplies zeros like any other number: the file is as large, and as fast, as the dense model's "
    "in the same type.",
    "fp8-2of4": "On a Hopper GPU, torchao's kernel multiplies half of the weights of the layers that `fp8-layers.json` "
    "lists as sparse, and dense FP8 kernels run the others. Without `torchao.json` the model runs dense.",
}


def card_for(card: str, format: ExportFormat) -> str:
    """A card whose words on use and size are those of a checkpoint's format; the rest stays."""
    for words in (_USES, _SIZES):
        for other in words.values():
            card = card.replace(other, words[format])
    return card


def model_card(
    source: ModelSource,
    recipe: Recipe,
    *,
    achieved_sparsity: float,
    sparsity_of_all_matrices: float,
    coverage: Coverage,
    layers: Mapping[str, float],
    comparison: str = "",
    reconstruction: str = "",
    mask_rule: str = "",
    experts: str = "",
) -> str:
    """The card as Markdown.

    Args:
        source: the dense model.
        recipe: the recipe that pruned it.
        achieved_sparsity: fraction of zeros over the pruned layers' weights.
        sparsity_of_all_matrices: fraction of zeros over all matrices of the decoder blocks.
        coverage: how much of these matrices is prunable.
        layers: fraction of zeros in each pruned layer, by its name.
        comparison: the measured scores as a Markdown table; left out where empty.
        reconstruction: what was done to the weights that stayed, in words; empty where nothing was.
        mask_rule: which weights went, where it was not simply those of the lowest score in each row.
        experts: which experts were pruned on other experts' tokens, as a sentence; empty for none.
    """
    front: dict[str, object] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["pruned", "sparse", "optishear"],
    }
    if source.hub_id:
        front["base_model"] = source.hub_id
    title = source.public_name.removeprefix("package:").rsplit("/", 1)[-1].removesuffix(".gguf")
    sections = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# {plain(title)}, {sparsity_of_all_matrices:.0%} sparse",
        f"{code(source.public_name)} with {sparsity_of_all_matrices:.2%} of the weights in its decoder layers set to "
        f"zero by [OptiShear](https://arxiv.org/abs/2502.10735). {_others(reconstruction)}",
        _pruned(recipe, achieved_sparsity, sparsity_of_all_matrices, coverage, layers, mask_rule or _RULE, experts),
        f"## Scores\n\n{comparison.strip()}" if comparison.strip() else "",
        f"## Use\n\n{_USES['dense']}",
        f"## What the sparsity is good for\n\n{_SIZES['dense']} {_gain(recipe)}",
        f"## Recipe\n\nAlso in `recipe.yaml`, to apply to another model.\n\n{block(recipe.to_yaml(), 'yaml')}",
        "## License\n\nThat of the base model.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _others(reconstruction: str) -> str:
    if not reconstruction:
        return "No weight was changed otherwise, and nothing was trained."
    return f"The weights that stayed make up for those that went, on calibration text: {reconstruction}."


def _pruned(
    recipe: Recipe,
    achieved_sparsity: float,
    sparsity_of_all_matrices: float,
    coverage: Coverage,
    layers: Mapping[str, float],
    rule: str,
    experts: str,
) -> str:
    pattern = recipe.sparsity
    if pattern.is_structured:
        shape = f"{pattern}: of every {pattern.group} consecutive inputs of a row, {pattern.kept} are kept"
    else:
        shape = f"unstructured, {pattern.fraction:.0%} as the target"
    lines = [
        f"- Layers: the {len(layers)} linear layers inside the decoder blocks; embeddings, norms and the output head "
        "are dense.",
        *_chosen(recipe),
        f"- Pattern: {shape}.",
        *_dense(recipe, layers),
        f"- Achieved sparsity: {achieved_sparsity:.2%} of these layers' weights"
        + (f", from {min(layers.values()):.2%} to {max(layers.values()):.2%} by layer." if layers else "."),
        f"- Coverage: {coverage.in_words()}. {sparsity_of_all_matrices:.2%} of all these weights are zero.",
        *([f"- Experts: {experts}"] if experts else []),
        *_metrics(recipe, rule),
    ]
    return "## What was pruned\n\n" + "\n".join(lines)


def _chosen(recipe: Recipe) -> list[str]:
    """The patterns that the layers were chosen by, if any."""
    patterns = [
        f"{words} {', '.join(map(code, given))}"
        for words, given in (("only those that match", recipe.include), ("none that match", recipe.exclude))
        if given
    ]
    return [f"- Chosen layers: {', '.join(patterns)}."] if patterns else []


def _dense(recipe: Recipe, layers: Mapping[str, float]) -> list[str]:
    """The layers that are dense beside an N:M pattern, and those of another pattern."""
    if not recipe.layer_patterns and not recipe.dense_share:
        return []
    dense = [code(name) for name, zeros in layers.items() if not zeros]
    lines = [f"- Dense layers, which the pattern leaves out: {', '.join(dense) or 'none'}."]
    for pattern, names in recipe.layers_between(layers).items():
        lines.append(f"- Layers of the pattern {pattern}: {', '.join(map(code, names)) or 'none'}.")
    return lines


def _metrics(recipe: Recipe, rule: str) -> list[str]:
    legend = "|W| is a weight's size, x the norm of its input channel on calibration text"
    if any(isinstance(metric, PowerMetric) and metric.sums_exponent for metric in recipe.metrics.values()):
        legend += ", C and R the sums of |W| over its column and its row"
    if set(recipe.metrics) == {"all"}:
        return [f"- Pruning metric: {_in_words(recipe.metrics['all'])}; {rule} ({legend})."]
    return [
        f"- Pruning metric by kind of layer; {rule} ({legend}):",
        *(f"  - {_KINDS.get(kind, kind)}: {_in_words(metric)}" for kind, metric in recipe.metrics.items()),
    ]


def _in_words(metric: Metric) -> str:
    names = [name for name, named in PUBLISHED.items() if named == metric]
    return f"`{metric}`" + (f" ({names[0]})" if names else "")


def _gain(recipe: Recipe) -> str:
    if recipe.sparsity.is_structured and (recipe.sparsity.kept, recipe.sparsity.group) == (2, 4):
        some = "its layers of this pattern" if recipe.dense_share else "it"
        return f"2:4 sparse kernels on recent NVIDIA GPUs can run {some} faster."
    return "Kernels for unstructured sparsity are needed to gain speed."
