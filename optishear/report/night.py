"""One page over all runs of a night, as Markdown and as HTML: failures first, then a row for each run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from optishear.markdown import plain
from optishear.report.formatting import duration, number
from optishear.report.html import render
from optishear.report.tables import relative_change

# Dense models whose perplexities differ by more were not evaluated alike.
_SAME_EVALUATION = 1e-3
COLUMNS = ("run", "dense", "Wanda", "SparseGPT", "ours", "since last night", "champion", "time", "pages")
ALL_RUNS = "The runs of all nights, with the columns to compare them"


@dataclass(frozen=True)
class NightScores:
    """Perplexities of the dense model, of Wanda, of SparseGPT and of the result; ``None`` where none was measured."""

    dense: float | None
    wanda: float | None
    pruned: float | None
    sparsegpt: float | None = None


@dataclass(frozen=True)
class NightRow:
    """One run of a night.

    Attributes:
        name: model and sparsity.
        scores: ``None`` if it failed.
        before: the scores of the same run in the last night in which it completed.
        champion: whether its model is the champion.
        reason: why, or why not, in a sentence.
        seconds: how long it took.
        failure: the sentence of its failure; empty if it completed.
        pages: addresses or paths, by what they show.
    """

    name: str
    scores: NightScores | None = None
    before: NightScores | None = None
    champion: bool = False
    reason: str = ""
    seconds: float | None = None
    failure: str = ""
    pages: Mapping[str, str] = field(default_factory=dict)


def night_sentence(rows: Sequence[NightRow]) -> str:
    """How many runs completed, failed, and were promoted."""
    failed = sum(bool(row.failure) for row in rows)
    champions = sum(row.champion for row in rows)
    words = [f"{len(rows) - failed} of {len(rows)} runs completed"]
    if failed:
        words.append(f"{failed} failed")
    words.append(f"{champions or 'no'} champion{'' if champions == 1 else 's'}")
    return ", ".join(words) + "."


def change_since(row: NightRow) -> str:
    """The change of the result's perplexity since the last night, such as ``−2.1 %``."""
    if row.scores is None:
        return "–"
    if row.before is None:
        return "first night"
    now, before = row.scores, row.before
    if now.dense is None or before.dense is None or now.pruned is None or before.pruned is None:
        return "not compared"
    if not math.isclose(now.dense, before.dense, rel_tol=_SAME_EVALUATION):
        return "evaluated otherwise"
    return "unchanged" if now.pruned == before.pruned else relative_change(now.pruned, before.pruned)


def night_markdown(title: str, rows: Sequence[NightRow], all_runs: str | None = None) -> str:
    """The page as Markdown.

    Args:
        title: of the night.
        rows: in the order of the plan.
        all_runs: the address of the list of the runs of all nights, where there is one.
    """
    lines = [f"# {plain(title)}", "", night_sentence(rows), ""]
    if all_runs is not None:
        lines += [f"[{ALL_RUNS}]({all_runs})", ""]
    failed = [row for row in rows if row.failure]
    if failed:
        lines += ["## Failed", ""]
        lines += [f"- **{plain(row.name)}**: {plain(row.failure)} {_links(row)}".rstrip() for row in failed]
        lines.append("")
    lines += [
        "## Runs",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | --- |",
    ]
    lines += [f"| {' | '.join([*map(plain, _cells(row)), _links(row)])} |" for row in rows]
    reasons = [f"- {plain(row.name)}: {plain(row.reason)}" for row in rows if row.reason]
    if reasons:
        lines += ["", "## Champions", "", *reasons]
    return "\n".join(lines) + "\n"


def night_page(title: str, rows: Sequence[NightRow], all_runs: str | None = None) -> str:
    """The page as HTML; the arguments are those of ``night_markdown``. Everything is escaped."""
    return render(
        "night.html",
        title=title,
        sentence=night_sentence(rows),
        failed=[row for row in rows if row.failure],
        columns=COLUMNS,
        rows=[(row, _cells(row)) for row in rows],
        reasons=[row for row in rows if row.reason],
        all_runs=all_runs,
        all_runs_text=ALL_RUNS,
    )


def _cells(row: NightRow) -> list[str]:
    """The cells of all columns but the last."""
    scores = row.scores or NightScores(None, None, None)
    models = (scores.dense, scores.wanda, scores.sparsegpt, scores.pruned)
    champion = "failed" if row.failure else "yes" if row.champion else "no"
    perplexities = [number(value, "–") for value in models]
    return [row.name, *perplexities, change_since(row), champion, "–" if row.seconds is None else duration(row.seconds)]


def _links(row: NightRow) -> str:
    return " ".join(
        f"[{name}]({place})" if place.startswith("http") else f"`{place}`" for name, place in row.pages.items()
    )
