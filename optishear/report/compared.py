"""The page of a comparison of search algorithms: what came out, the values, the picture, and how to make it again."""

import statistics
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from optishear.files import write_text
from optishear.report.algorithms import algorithms
from optishear.report.figures import ReportFigure
from optishear.report.formatting import number
from optishear.report.html import figures_as_svg, render
from optishear.report.objectives import objective_label
from optishear.units import Duration


def write_compared(
    path: Path, compared: pa.Table, objective: str, model: str, budget: Duration | None, command: str
) -> None:
    """Write the page to a file, whole or not at all.

    Args:
        path: the file.
        compared: as ``searching.comparison.compare_searches`` makes it.
        objective: name of the values.
        model: name of the pruned model.
        budget: the time that each search had; ``None`` where trials alone were counted.
        command: the command line that does the comparison again.

    Raises:
        InputError: if the folder cannot be written.
    """
    write_text(path, compared_page(compared, objective, model, budget, command))


def compared_page(compared: pa.Table, objective: str, model: str, budget: Duration | None, command: str) -> str:
    """The page as text; the arguments are those of ``write_compared``."""
    header, *rows = compared_rows(compared)
    seeds = len(set(compared["seed"].to_pylist()))
    caption = f"The {objective_label(objective)} of the best candidate so far, lower is better" + (
        f": the median over {seeds} seeds, with a band from the best to the worst." if seeds > 1 else "."
    )
    if pc.any(compared["carried"]).as_py():
        caption += " A search that ended earlier keeps its best."
    figure = ReportFigure("algorithms", "How the algorithms went", algorithms(compared, objective), caption)
    return render(
        "compared.html",
        title=f"{model}, algorithms compared",
        model=model,
        sentences=compared_words(compared, objective, budget),
        header=header,
        rows=rows,
        measure=objective_label(objective),
        figures=figures_as_svg([figure]),
        command=command,
    )


def compared_words(compared: pa.Table, objective: str, budget: Duration | None = None) -> list[str]:
    """What came out, in a sentence, and what must be known to read it rightly.

    Args:
        compared: as ``searching.comparison.compare_searches`` makes it.
        objective: name of the values.
        budget: the time that each search had; ``None`` where trials alone were counted.
    """
    ends = _ends(compared)
    medians = {name: statistics.median(values) for name, values in ends.items()}
    ordered = sorted(medians, key=lambda name: medians[name])
    first = ordered[0]
    others = ", ".join(f"{number(medians[name])} with {name}" for name in ordered[1:])
    sentence = (
        f"{_effort(compared, budget)} {first} has the lowest {objective_label(objective)}: {number(medians[first])}"
        + (f", against {others}" if others else "")
        + "."
    )
    level = [name for name in ordered[1:] if min(ends[name]) <= max(ends[first])]
    seeds = len(ends[first])
    if seeds == 1:
        return [sentence, "There is one seed only, so nothing says how much of a difference is luck."]
    if level:
        return [sentence, f"Over the {seeds} seeds its values overlap with those of {', '.join(level)}."]
    return [sentence, f"Its worst seed of {seeds} is better than the best of every other."] if others else [sentence]


def compared_rows(compared: pa.Table) -> list[tuple[str, ...]]:
    """Heading and rows: the median after a quarter, half and all of the trials, and the range over the seeds.

    All of the trials are those of the longest search; one that ended earlier keeps its best.
    """
    longest = max(compared["trial"].to_pylist())
    marks = sorted({max(1, longest // 4), max(1, longest // 2), longest})
    ends = _ends(compared)
    rows = []
    for name in sorted(ends, key=lambda name: statistics.median(ends[name])):
        medians = [_median_at(compared, name, mark) for mark in marks]
        spread = f"{number(min(ends[name]))} to {number(max(ends[name]))}"
        rows.append((name, *map(number, medians), spread))
    return [("algorithm", *(f"after {mark}" for mark in marks), "range over the seeds"), *rows]


def compared_markdown(compared: pa.Table) -> str:
    """The rows as a table in Markdown."""
    header, *rows = compared_rows(compared)
    lines = [header, ("---", *("---:" for _ in header[1:])), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _effort(compared: pa.Table, budget: Duration | None) -> str:
    """How long the searches were, for the start of a sentence."""
    counts = dict.fromkeys(((row["algorithm"], row["seed"]) for row in compared.to_pylist()), 0)
    for row in compared.to_pylist():
        counts[row["algorithm"], row["seed"]] += not row["carried"]
    fewest, most = min(counts.values()), max(counts.values())
    trials = f"{most} trials" if fewest == most else f"{fewest} to {most} trials"
    if budget is not None:
        return f"With a budget of {budget} for each search, which made {trials},"
    return f"After {trials}" + ("," if fewest != most else "")


def _ends(compared: pa.Table) -> dict[str, list[float]]:
    """The last value of each seed, by algorithm."""
    longest = max(compared["trial"].to_pylist())
    ends: dict[str, list[float]] = {}
    for row in compared.to_pylist():
        if row["trial"] == longest:
            ends.setdefault(row["algorithm"], []).append(row["best"])
    return ends


def _median_at(compared: pa.Table, algorithm: str, trial: int) -> float:
    values: list[float] = [
        row["best"] for row in compared.to_pylist() if row["algorithm"] == algorithm and row["trial"] == trial
    ]
    return statistics.median(values)
