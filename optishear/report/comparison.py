"""The comparison: dense, Wanda and pruned, by perplexity and by task."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from optishear.report.formatting import TITLES
from optishear.report.perplexity_bars import Bar, draw_perplexities
from optishear.report.style import LIGHT, SMALL, TEXT, Theme, dress, new_figure, plain, statement
from optishear.run_metrics.measures import ComparedMeasure, perplexities, task_measures
from optishear.run_metrics.schema import MODELS, Model, RunMetrics


def comparison(metrics: RunMetrics, theme: Theme = LIGHT) -> Figure:
    """Perplexity as bars from zero (as dots on a logarithmic axis where bars would vanish), tasks with their errors.

    A perplexity that is missing or not finite is written out instead of drawn. Task scores outside [0, 1] are
    not accuracies and stay in the table.

    Args:
        metrics: of the run.
        theme: the inks.
    """
    perplexity = perplexities(metrics)
    tasks = [measure for measure in task_measures(metrics) if _is_score(measure)]
    has_perplexity = any(value is not None for value in perplexity.values())
    if not tasks and not has_perplexity:
        return statement("No model was evaluated.", theme)
    heights = ([1.5] if has_perplexity else []) + ([1.1 + 0.34 * len(tasks)] if tasks else [])
    figure = new_figure(sum(heights), theme)
    panels = list(figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
    if has_perplexity:
        colours = _colours(theme)
        bars = [
            Bar(TITLES[model], perplexity[model], colours[model], bold=model == "pruned", label=model)
            for model in MODELS
        ]
        draw_perplexities(panels.pop(0), bars, theme)
    if tasks:
        _draw_tasks(panels.pop(0), tasks, theme)
    return figure


def _is_score(measure: ComparedMeasure) -> bool:
    values = [value for value in measure.values.values() if value is not None]
    return bool(values) and all(0 <= value <= 1 for value in values)


def _colours(theme: Theme) -> dict[Model, str]:
    return {"dense": theme.muted, "wanda": theme.reference, "pruned": theme.searched}


def _draw_tasks(axes: Axes, tasks: list[ComparedMeasure], theme: Theme) -> None:
    dress(axes, theme, grid=("x",))
    shift: dict[Model, float] = {"dense": -0.2, "wanda": 0.0, "pruned": 0.2}
    for model in MODELS:
        # A missing value is drawn nowhere, as NaN.
        axes.errorbar(
            [math.nan if (value := measure.values[model]) is None else value for measure in tasks],
            [row + shift[model] for row in range(len(tasks))],
            xerr=[measure.errors[model] or 0.0 for measure in tasks],
            fmt="o",
            markersize=5,
            elinewidth=1.2,
            color=_colours(theme)[model],
            label=model,
        )
    axes.set_yticks(range(len(tasks)), [plain(measure.name) for measure in tasks])
    axes.tick_params(axis="y", labelsize=SMALL, labelcolor=theme.ink)
    axes.set_ylim(len(tasks) - 0.5, -0.5)
    axes.margins(x=0.06)
    axes.set_title(
        "\ntask scores with ± 1 standard error, higher is better; per task from top to bottom: dense, Wanda, pruned",
        loc="left",
        fontsize=TEXT,
        color=theme.muted,
    )
