"""What each part of a run brought: perplexity after the masks, the reconstruction and the recovery."""

from matplotlib.figure import Figure

from optishear.report.perplexity_bars import Bar, draw_perplexities
from optishear.report.style import LIGHT, Theme, new_figure
from optishear.report.tables import relative_change
from optishear.run_metrics.schema import RunMetrics


def perplexity_steps(metrics: RunMetrics) -> dict[str, float | None]:
    """The perplexities by what they are of, in the order of the parts, all on the same text.

    Empty where no part but the masks was measured.
    """
    last = "+ reconstruction" if metrics.recovery is None else "+ recovery"
    models = {
        "dense": metrics.dense,
        "Wanda": metrics.wanda,
        "SparseGPT": metrics.sparsegpt,
        "masks": metrics.masked,
        "+ reconstruction": metrics.reconstructed,
        last: metrics.pruned,
    }
    if metrics.masked is None or metrics.masked.perplexity is None:
        return {}
    # A later entry of the same name replaces the value of an earlier one, and keeps its place.
    return {name: model.perplexity for name, model in models.items() if model is not None}


def steps(values: dict[str, float | None], theme: Theme = LIGHT) -> Figure:
    """One bar for each of the dense model, Wanda, SparseGPT, and the pruned model after each part.

    The masks have their change from Wanda beside them, each later part its change from the part before.

    Args:
        values: as ``perplexity_steps``, not empty.
        theme: the inks.
    """
    figure = new_figure(0.6 + 0.3 * len(values), theme)
    colours = {"dense": theme.muted, "Wanda": theme.reference, "SparseGPT": theme.green}
    last = list(values)[-1]
    notes = _changes(values)
    bars = [
        Bar(name, value, colours.get(name, theme.searched), name == last, notes.get(name, ""), name)
        for name, value in values.items()
    ]
    draw_perplexities(figure.add_subplot(), bars, theme)
    return figure


def _changes(values: dict[str, float | None]) -> dict[str, str]:
    """What each part changed, such as ``−2.1 % from Wanda``, by part; none where a perplexity is missing."""
    parts = [name for name in values if name == "masks" or name.startswith("+ ")]
    before = dict(zip(parts, ["Wanda", *parts], strict=False))
    changes = {part: relative_change(values[part], values.get(other)) for part, other in before.items()}
    return {part: f"{change} from {_short(before[part])}" for part, change in changes.items() if change}


def _short(part: str) -> str:
    return part.removeprefix("+ ")
