"""A sweep over sparsities: the verdict, the rows of its table, and the table as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

from optishear.pattern import Pattern
from optishear.report.formatting import TITLES, sparsity_words
from optishear.report.tables import ScoreRow, making_row, score_rows
from optishear.report.verdict import Outcome, Verdict, verdict
from optishear.run_metrics.schema import Model, RunMetrics

_WORDS: dict[Outcome, str] = {
    "better": "better than Wanda",
    "level": "level with Wanda",
    "worse": "worse than Wanda",
    "unknown": "not compared with Wanda",
}


@dataclass(frozen=True)
class SweepCell:
    """One sparsity of a sweep.

    Attributes:
        sparsity: the target.
        metrics: of its run; ``None`` if it failed.
        failure: reason of the failure.
    """

    sparsity: Pattern
    metrics: RunMetrics | None = None
    failure: str = ""


def sweep_verdict(cells: Sequence[SweepCell]) -> Verdict:
    """The verdict over all sparsities, with the sentence of each as a remark."""
    verdicts = {cell.sparsity: verdict(cell.metrics, cell.sparsity) for cell in cells if cell.metrics is not None}
    failed = [cell for cell in cells if cell.metrics is None]
    parts = []
    for outcome, words in _WORDS.items():
        sparsities = [str(sparsity) for sparsity, result in verdicts.items() if result.outcome == outcome]
        if sparsities:
            parts.append(f"{words} at {'every sparsity' if len(sparsities) == len(cells) > 1 else _listed(sparsities)}")
    remarks = [" ".join([result.sentence, *result.remarks]) for result in verdicts.values()]
    remarks += [f"{sparsity_words(cell.sparsity)}: failed ({cell.failure})." for cell in failed]
    if not parts:
        return Verdict("unknown", "Nothing was evaluated.", tuple(remarks))
    sentence = f"The searched recipe is {_listed(parts)}"
    if failed:
        sentence += f"; {_listed([str(cell.sparsity) for cell in failed])} failed"
    outcomes = {result.outcome for result in verdicts.values()}
    return Verdict(outcomes.pop() if len(outcomes) == 1 else "unknown", f"{sentence}.", tuple(remarks))


def sweep_columns(cells: Sequence[SweepCell]) -> list[str]:
    """The headings above the cells of ``sweep_rows`` and their change."""
    return [*("searched" if model == "pruned" else TITLES[model] for model in _models(cells)), "searched against Wanda"]


def _models(cells: Sequence[SweepCell]) -> list[Model]:
    """The models of all sparsities, which are compared with the same ones; with Wanda where all failed."""
    compared = next((cell.metrics.compared_models for cell in cells if cell.metrics is not None), None)
    return ["dense", "wanda", "pruned"] if compared is None else list(compared)


def sweep_rows(cells: Sequence[SweepCell]) -> list[ScoreRow]:
    """The perplexity at each sparsity, and what each model took to make; failed ones are marked."""
    rows = []
    for cell in cells:
        name = str(cell.sparsity)
        if cell.metrics is None:
            rows.append(ScoreRow(name, ("–",) * len(_models(cells)), "failed"))
            continue
        perplexity = score_rows(cell.metrics)[0]
        rows.append(ScoreRow(name, perplexity.cells, perplexity.change))
        if cell.metrics.making_seconds:
            rows.append(making_row(f"{name}, time to make it", cell.metrics))
    return rows


def sweep_markdown(cells: Sequence[SweepCell]) -> str:
    """The rows as a Markdown table."""
    columns = sweep_columns(cells)
    lines = [f"| sparsity | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    lines += ["| " + " | ".join([row.name, *row.cells, row.change]) + " |" for row in sweep_rows(cells)]
    return "\n".join(lines) + "\n"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
