"""Algorithms compared: the best value so far against the trials, the median over the seeds and their range."""

import statistics

import pyarrow as pa
from matplotlib.figure import Figure

from optishear.report.labels import Label, label_right
from optishear.report.objectives import objective_label
from optishear.report.style import LIGHT, Theme, dress, make_log, needs_log, new_figure, plain

# Further lines are dashed: beyond so many, colours alone are hard to distinguish.
_SOLID = 4


def algorithms(compared: pa.Table, objective: str, theme: Theme = LIGHT) -> Figure:
    """One line for each algorithm, with a band from the best to the worst seed.

    Args:
        compared: as ``searching.comparison.compare_searches`` makes it.
        objective: name of the values.
        theme: the inks.
    """
    figure = new_figure(4.0, theme)
    # A computed layout would leave no room for the names at the right.
    figure.set_layout_engine("none")
    axes = dress(figure.add_axes((0.09, 0.12, 0.79, 0.85)), theme, grid=("y",))
    axes.margins(x=0)
    rows = compared.to_pylist()
    labels = []
    names = dict.fromkeys(row["algorithm"] for row in rows)
    for index, (name, colour) in enumerate(zip(names, theme.series(), strict=False)):
        by_trial: dict[int, list[float]] = {}
        for row in rows:
            if row["algorithm"] == name:
                by_trial.setdefault(row["trial"], []).append(row["best"])
        trials = sorted(by_trial)
        medians = [statistics.median(by_trial[trial]) for trial in trials]
        lowest, highest = ([pick(by_trial[trial]) for trial in trials] for pick in (min, max))
        axes.fill_between(trials, lowest, highest, step="post", color=colour, alpha=0.1, linewidth=0)
        axes.plot(
            trials,
            medians,
            drawstyle="steps-post",
            color=colour,
            linewidth=1.8,
            linestyle="-" if index < _SOLID else (0, (3, 1.2)),
            label=name,
        )
        labels.append(Label(trials[-1], medians[-1], name, colour, bold=True))
    if needs_log(row["best"] for row in rows):
        make_log(axes, "y")
    axes.set_xlabel("trial")
    axes.set_ylabel(plain(f"best {objective_label(objective)} so far"))
    label_right(axes, labels, theme)
    return figure
