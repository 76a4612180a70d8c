"""The page over a sweep: one HTML file that needs nothing else."""

from collections.abc import Sequence
from pathlib import Path

from optishear.files import write_text
from optishear.report.figures import ReportFigure
from optishear.report.html import figures_as_svg, render
from optishear.report.sparsity_curve import perplexity_by_sparsity
from optishear.report.sweep import SweepCell, sweep_columns, sweep_rows, sweep_verdict
from optishear.report.tables import settings_words

_CAPTION = (
    "Perplexity of {published} and of the searched recipes against the share of weights that are zero; hollow points "
    "are N:M patterns, the dashed line is the dense model."
)


def write_sweep(path: Path, model: str, cells: Sequence[SweepCell], command: str) -> None:
    """Write the page, whole or not at all.

    Args:
        path: the file.
        model: name of the pruned model.
        cells: one for each sparsity.
        command: command line of the sweep.

    Raises:
        InputError: if the folder cannot be written.
    """
    write_text(path, sweep_page(model, cells, command))


def sweep_page(model: str, cells: Sequence[SweepCell], command: str) -> str:
    """The page as text; the arguments are those of ``write_sweep``."""
    evaluated = next((cell.metrics for cell in cells if cell.metrics is not None), None)
    published = "Wanda, of SparseGPT" if evaluated is not None and evaluated.sparsegpt is not None else "Wanda"
    caption = _CAPTION.format(published=published)
    figure = ReportFigure("sweep", "Perplexity against sparsity", perplexity_by_sparsity(cells), caption)
    return render(
        "sweep.html",
        title=f"{model}, {', '.join(str(cell.sparsity) for cell in cells)}",
        model=model,
        verdict=sweep_verdict(cells),
        columns=sweep_columns(cells),
        scores=sweep_rows(cells),
        settings=settings_words(evaluated) if evaluated else "",
        figures=figures_as_svg([figure]),
        command=command,
    )
