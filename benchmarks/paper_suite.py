"""The suite ``paper`` on SmolLM2-135M, offline: the dense model, Wanda, and a searched recipe, side by side.

    python benchmarks/paper_suite.py [--recipe RECIPE] [--limit 60]

``optishear transfer`` with the local task files in ``../shared/lm_eval_tasks`` (or OPTISHEAR_SHARED), calibration on
the C4 sample, and the papers' perplexity on the first 16 windows of 1,024 tokens of the WikiText-2 test text.
``--limit`` is the number of examples per task. What is judged is kept, so a run that was stopped goes on. The numbers,
with standard errors and the differences of the models on the same examples, are kept in
``benchmarks/results/paper_suite``.
"""

import json
import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from common import data_folder, parser, wikitext_file

from flows.cli import main as optishear
from optishear.files import write_text
from optishear.recipe import Recipe

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--recipe", default=str(RESULTS / "search_quality" / "0.5-seed0-3m.yaml"))
    options.add_argument("--limit", type=int, default=60, help="examples per task")
    arguments = options.parse_args()
    sparsity = Recipe.load(Path(arguments.recipe)).sparsity
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        optishear(
            ["transfer", "--model", arguments.model, "--dtype", arguments.dtype, "--recipe", arguments.recipe,
             "--calibration", str(data_folder() / "calibration" / "c4_sample.jsonl"),
             "--evaluation-text", str(wikitext_file(Path(folder))), "--windows", "16", "--suite", "paper",
             "--include-path", str(data_folder().parent / "lm_eval_tasks"), "--limit", str(arguments.limit),
             "--output", str(output)]
        )  # fmt: skip
        metrics = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    kept = {name: metrics[name] for name in ("model", "dense", "wanda", "pruned", "differences", "achieved_sparsity")}
    record = {
        **kept,
        "recipe": Path(arguments.recipe).name,
        "seconds": round(time.perf_counter() - started),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }
    path = RESULTS / "paper_suite" / f"{sparsity.replace(':', 'of')}-limit{arguments.limit}.json"
    write_text(path, json.dumps(record, indent=1) + "\n")
    print(json.dumps({"kept": str(path), "seconds": record["seconds"]}))


if __name__ == "__main__":
    main()
