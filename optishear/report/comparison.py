"""The comparison: the dense model, Wanda, SparseGPT and the pruned one, by perplexity and by task."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from optishear.report.formatting import TITLES, duration
from optishear.report.perplexity_bars import Bar, draw_perplexities
from optishear.report.style import LIGHT, SMALL, TEXT, Theme, dress, new_figure, plain, statement
from optishear.run_metrics.measures import ComparedMeasure, perplexities, task_measures
from optishear.run_metrics.schema import Model, RunMetrics


def comparison(metrics: RunMetrics, theme: Theme = LIGHT) -> Figure:
    """Perplexity as bars from zero (as dots on a logarithmic axis where bars would vanish), tasks with their errors.

    A perplexity that is missing or not finite is written out instead of drawn. Task scores outside [0, 1] are
    not accuracies and stay in the table. What a model took to make is beside its perplexity.

    Args:
        metrics: of the run.
        theme: the inks.
    """
    perplexity = perplexities(metrics)
    tasks = [measure for measure in task_measures(metrics) if _is_score(measure)]
    has_perplexity = any(value is not None for value in perplexity.values())
    if not tasks and not has_perplexity:
        return statement("No model was evaluated.", theme)
    models = tuple(metrics.compared_models)
    heights = ([0.6 + 0.3 * len(models)] if has_perplexity else []) + ([1.1 + 0.34 * len(tasks)] if tasks else [])
    figure = new_figure(sum(heights), theme)
    panels = list(figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
    if has_perplexity:
        colours = _colours(theme)
        bars = [
            Bar(TITLES[model], perplexity[model], colours[model], model == "pruned", _note(metrics, model), model)
            for model in models
        ]
        draw_perplexities(panels.pop(0), bars, theme)
    if tasks:
        _draw_tasks(panels.pop(0), tasks, models, theme)
    return figure


def _note(metrics: RunMetrics, model: Model) -> str:
    seconds = metrics.making_seconds.get(model)
    return "" if seconds is None else f"made in {duration(seconds)}"


def _is_score(measure: ComparedMeasure) -> bool:
    values = [value for value in measure.values.values() if value is not None]
    return bool(values) and all(0 <= value <= 1 for value in values)


def _colours(theme: Theme) -> dict[Model, str]:
    return {"dense": theme.muted, "wanda": theme.reference, "sparsegpt": theme.green, "pruned": theme.searched}


def _draw_tasks(axes: Axes, tasks: list[ComparedMeasure], models: tuple[Model, ...], theme: Theme) -> None:
    dress(axes, theme, grid=("x",))
    for place, model in enumerate(models):
        shift = 0.2 * (2 * place / (len(models) - 1) - 1)
        # A missing value is drawn nowhere, as NaN.
        axes.errorbar(
            [math.nan if (value := measure.values[model]) is None else value for measure in tasks],
            [row + shift for row in range(len(tasks))],
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
        "\ntask scores with ± 1 standard error, higher is better; per task from top to bottom: "
        + ", ".join(TITLES[model] for model in models),
        loc="left",
        fontsize=TEXT,
        color=theme.muted,
    )
