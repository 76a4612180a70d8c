"""The Pareto front: the candidates evaluated on the most sequences, with the chosen one."""

import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from optishear.report.labels import Label, label_points
from optishear.report.objectives import (
    Row,
    comparable,
    finite_rows,
    objective_columns,
    objective_label,
    searched_objectives,
    varying,
)
from optishear.report.style import LIGHT, TEXT, Theme, dress, make_log, needs_log, new_figure, plain, statement


def pareto_front(trials: pa.Table, theme: Theme = LIGHT) -> Figure:
    """Candidates over the first two objectives; over one, against another measure, else from best to worst.

    Only the rows with the most sequences are drawn, since only these are comparable. A line joins the front of
    exactly two objectives. A front of more is not a line in two dimensions, so its members are drawn filled.
    The front of one objective is a point, the chosen one.

    Args:
        trials: the table of ``trials.parquet``.
        theme: the inks.
    """
    last_round = comparable(trials)
    searched = searched_objectives(last_round)
    further = [name for name in varying(last_round, objective_columns(last_round)) if name not in searched]
    objectives = searched if len(searched) > 1 else [*searched, *further[:1]]
    if not objectives:
        return statement("No candidates with different objective values were evaluated.", theme)
    rows = finite_rows(last_round, objectives[:2])
    if not rows:
        return statement("No candidate has a finite value in both objectives.", theme)
    figure = new_figure(4.2, theme)
    axes = dress(figure.add_subplot(), theme)
    if len(objectives) == 1:
        rows.sort(key=lambda row: float(row[objectives[0]]))
        points = [(float(rank), float(row[objectives[0]])) for rank, row in enumerate(rows, start=1)]
        axes.set_xlabel("candidates, from best to worst")
        axes.set_ylabel(plain(objective_label(objectives[0])))
    else:
        points = [(float(row[objectives[0]]), float(row[objectives[1]])) for row in rows]
        axes.set_xlabel(plain(objective_label(objectives[0])) + "  (lower is better)")
        axes.set_ylabel(plain(objective_label(objectives[1])))
    axes.margins(0.06)
    _draw_crowd(axes, rows, points, len(searched), theme)
    labels = _draw_named(axes, rows, points, theme)
    if len(objectives) > 1 and needs_log(x for x, _ in points):
        make_log(axes, "x")
    if needs_log(y for _, y in points):
        make_log(axes, "y")
    label_points(axes, labels, points, theme)
    _note_missing(axes, last_round.num_rows - len(rows), theme)
    return figure


def _draw_crowd(axes: Axes, rows: list[Row], points: list[tuple[float, float]], objectives: int, theme: Theme) -> None:
    crowd = [point for row, point in zip(rows, points, strict=True) if not row["name"]]
    axes.scatter(*_columns(crowd), s=14, color=theme.dots, linewidths=0, alpha=0.7, label="candidates", zorder=2)
    front = sorted(point for row, point in zip(rows, points, strict=True) if row["on_front"])
    if objectives > 1 and front:
        axes.plot(
            *_columns(front),
            color=theme.searched,
            linewidth=1.6 if objectives == 2 else 0,
            marker="o",
            markersize=4.5,
            markeredgecolor=theme.paper,
            markeredgewidth=0.6,
            drawstyle="steps-post",
            label="front",
            zorder=3,
        )


def _draw_named(axes: Axes, rows: list[Row], points: list[tuple[float, float]], theme: Theme) -> list[Label]:
    labels: list[Label] = []
    for row, (x, y) in zip(rows, points, strict=True):
        if row["chosen"]:
            axes.scatter(
                x, y, s=90, color=theme.searched, edgecolors=theme.paper, linewidths=1.4, label="chosen", zorder=5
            )
            name = f"chosen: {row['name']}" if row["name"] else f"chosen: trial {row['trial']}"
            labels.insert(0, Label(x, y, name, theme.searched, bold=True))
        elif row["name"]:
            axes.scatter(
                x, y, s=44, color=theme.reference, marker="D", edgecolors=theme.paper, label=row["name"], zorder=4
            )
            labels.append(Label(x, y, row["name"], theme.ink))
    return labels


def _note_missing(axes: Axes, missing: int, theme: Theme) -> None:
    if missing:
        text = f"{missing} more without a finite value"
        axes.set_title(text, loc="right", fontsize=TEXT, color=theme.muted)


def _columns(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
