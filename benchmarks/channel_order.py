"""What reordered channels are worth at N:M: perplexity of Wanda's masks with and without.

    python benchmarks/channel_order.py [--sparsity 2:4] [--windows 16]

SmolLM2-135M-Instruct; statistics on 32 sequences of 512 tokens of the C4 sample; perplexity on the first windows of the
WikiText-2 test text. The last line is JSON.
"""

import json
import time

from common import c4_calibration, model_and_tokenizer, parser, wikitext_windows

from optishear.evaluation.perplexity import perplexity
from optishear.pruning.apply import apply_recipe
from optishear.pruning.channels import permute_channels
from optishear.recipes.recipe import named_recipe
from optishear.statistics.collect import collect_statistics


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sparsity", default="2:4", help="an N:M pattern")
    options.add_argument("--windows", type=int, default=16, help="windows of 1,024 tokens")
    options.add_argument("--seed", type=int, default=0, help="of the calibration text")
    arguments = options.parse_args()
    model, tokenizer = model_and_tokenizer(arguments)
    windows = wikitext_windows()[: arguments.windows]
    dense = {name: value.clone() for name, value in model.state_dict().items()}
    statistics = collect_statistics(model, c4_calibration(model, tokenizer, 32, 512, arguments.seed))
    wanda = named_recipe("wanda", arguments.sparsity)
    result: dict[str, object] = {"sparsity": arguments.sparsity, "windows": len(windows), "seed": arguments.seed}
    for name, permuted in (("given_order", False), ("permuted", True)):
        model.load_state_dict(dense)
        recipe = wanda.model_copy(update={"permute_channels": permuted})
        if permuted:
            started = time.perf_counter()
            permute_channels(model, recipe, statistics)
            result["seconds"] = round(time.perf_counter() - started, 1)
            model.load_state_dict(dense)
        apply_recipe(model, recipe, statistics, progress=True)
        result[name] = round(perplexity(model, windows, batch_size=4), 2)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
