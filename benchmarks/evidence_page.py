"""docs/evidence.md and docs/evidence/: what the commands of ``evidence.py`` left in their output folders."""

import json
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from optishear.diagnosis.diagnosis import Diagnosis
from optishear.files import write_aside, write_text
from optishear.pattern import parse_pattern
from optishear.recipe import Recipe
from optishear.report.algorithms import algorithms
from optishear.report.export import themed_svg
from optishear.report.figures import run_figures
from optishear.report.sparsity_curve import perplexity_by_sparsity
from optishear.report.sweep import SweepCell
from optishear.report.verdict import verdict
from optishear.report.words import duration, sparsity_words

SAID = "said.md"
RUN = "run.json"
TITLES = {
    "sweep": "At every sparsity",
    "reconstruction": "At every sparsity, with the weights that stay made anew",
    "paper": "The papers' tasks",
    "transplant": "The searched layer ratios with other metrics",
    "cross-task": "Found on one text, judged on another",
    "cross-model": "Found on one model, applied to another",
    "compare": "Search algorithms at one budget",
}
# What a table holds for programs alone.
_NESTED = ("metrics", "sparsity_ratios")


def write_evidence(docs: Path, folders: Mapping[str, Path], private: Mapping[str, str]) -> list[str]:
    """Write the page and its data, whole or not at all.

    Args:
        docs: where ``evidence.md`` and ``evidence/`` go.
        folders: the output folder of each section's command.
        private: what to write in place of this machine's folders.

    Returns:
        The sections whose command has run.
    """
    there = {name: folder for name, folder in folders.items() if (folder / SAID).exists()}
    with write_aside(docs / "evidence") as aside:
        aside.mkdir()
        parts = [_section(name, folder, aside / name, private) for name, folder in there.items()]
    head = (
        "# Evidence\n\nSmolLM2-135M-Instruct, made by `python benchmarks/evidence.py` from the commands below; the "
        "numbers behind it are in [evidence/](evidence/).\n"
    )
    write_text(docs / "evidence.md", "\n".join([head, *parts]))
    return list(there)


def _section(name: str, folder: Path, data: Path, private: Mapping[str, str]) -> str:
    data.mkdir()
    run = json.loads((folder / RUN).read_text(encoding="utf-8"))
    lines = [f"## {TITLES[name]}", "", _public((folder / SAID).read_text(encoding="utf-8"), private).strip(), ""]
    lines += _pictures(name, folder, data)
    lines += _runs(folder, data)
    _keep(folder, data, private)
    words = _public(shlex.join(run["command"]), private)
    lines += [
        f"{run['date']}, {run['machine']}; {run['software']}; {duration(float(run['seconds']))}.",
        "",
        f"```bash\n{words}\n```",
        "",
    ]
    write_text(data / RUN, _public(json.dumps(run, indent=1), private) + "\n")
    return "\n".join(lines)


def _pictures(name: str, folder: Path, data: Path) -> list[str]:
    """The pictures of the whole command."""
    drawings = {}
    if name == "compare":
        drawings["algorithms"] = algorithms(pq.read_table(folder / "algorithms.parquet"), "kl")
    if (folder / "sweep.parquet").exists():
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        cells = [SweepCell(sparsity, made) for sparsity, made in metrics["sparsities"].items()]
        drawings["sweep"] = perplexity_by_sparsity(cells)
    for drawing, figure in drawings.items():
        write_text(data / f"{drawing}.svg", themed_svg(figure))
    others = [image for image in sorted(folder.glob("*.png")) if image.stem not in drawings]
    for image in others:
        shutil.copyfile(image, data / image.name)
    files = [*(f"{drawing}.svg" for drawing in drawings), *(image.name for image in others)]
    return [line for file in files for line in (_picture(Path(file).stem, f"evidence/{name}/{file}"), "")]


def _runs(folder: Path, data: Path) -> list[str]:
    """A part for each pruned model among the results: the verdict, the pictures."""
    lines = []
    for metrics_file in sorted(folder.rglob("metrics.json")):
        results = metrics_file.parent
        if not (results / "recipe.yaml").exists():
            continue
        metrics = json.loads(metrics_file.read_text(encoding="utf-8"))
        recipe = Recipe.load(results / "recipe.yaml")
        trials = pq.read_table(results / "trials.parquet") if (results / "trials.parquet").exists() else pa.table({})
        diagnosis = Diagnosis.load(results / "diagnosis")
        pattern = parse_pattern(recipe.sparsity)
        told = verdict(metrics, pattern)
        lines += [f"### {sparsity_words(pattern)}", "", " ".join([told.sentence, *told.remarks]), ""]
        place = data if results == folder else data / results.name
        place.mkdir(exist_ok=True)
        for figure in run_figures(metrics, recipe, trials, diagnosis):
            write_text(place / f"{figure.name}.svg", themed_svg(figure.drawing))
            path = (place / f"{figure.name}.svg").relative_to(data.parent)
            lines += [f"**{figure.title}.** {figure.caption}", "", _picture(figure.title, f"evidence/{path}"), ""]
    return lines


def _picture(title: str, path: str) -> str:
    return f"![{title}]({path})"


def _keep(folder: Path, data: Path, private: Mapping[str, str]) -> None:
    """The numbers: tables as CSV, recipes and metrics as they are, without what only this machine knows."""
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder)
        if "model" in inside.parts or file.name in ("statistics.parquet", "calibration.parquet", RUN):
            continue
        target = data / inside
        if file.suffix == ".parquet":
            target.parent.mkdir(parents=True, exist_ok=True)
            table = pq.read_table(file)
            flat = table.drop_columns([column for column in _NESTED if column in table.column_names])
            pyarrow.csv.write_csv(flat, target.with_suffix(".csv"))
        elif file.name == "metrics.json":
            content = _without_places(json.loads(file.read_text(encoding="utf-8")))
            write_text(target, _public(json.dumps(content, indent=1, ensure_ascii=False), private) + "\n")
        elif file.suffix == ".yaml":
            write_text(target, file.read_text(encoding="utf-8"))


def _without_places(value: Any) -> Any:
    """Metrics without which of them were cached."""
    if isinstance(value, dict):
        return {key: _without_places(item) for key, item in value.items() if key != "cached"}
    return [_without_places(item) for item in value] if isinstance(value, list) else value


def _public(text: str, private: Mapping[str, str]) -> str:
    # The longest first, as one folder may be inside another.
    for folder in sorted(private, key=len, reverse=True):
        text = text.replace(folder, private[folder])
    return text
