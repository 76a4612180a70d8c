"""Alignment over depth: how far apart the scales of the two factors lie, and which of them decides."""

import pyarrow as pa
from matplotlib.figure import Figure

from optishear.report.panels import curves_by_kind, draw_curves, dress_row, key, number_depth, title_kinds
from optishear.report.style import LIGHT, Theme, new_figure, statement


def alignment_by_layer(alignment: pa.Table, theme: Theme = LIGHT) -> Figure:
    """Two rows of panels by kind of layer: the distance of the scales, and the activations' share of the decision.

    Args:
        alignment: the table of ``alignment.parquet``.
        theme: the inks.
    """
    rows = alignment.to_pylist()
    distance = curves_by_kind(rows, "distance")
    if not distance:
        return statement("No layer's alignment was measured.", theme)
    share = curves_by_kind(rows, "activation_share")
    figure = new_figure(4.2, theme)
    upper, lower = figure.subplots(2, len(distance), sharex=True, sharey="row", squeeze=False)
    dress_row(upper, theme, "orders of magnitude\nbetween the scales")
    dress_row(lower, theme, "activations' share\nof the decision")
    title_kinds(upper, distance, theme)
    for kind, above, below in zip(distance, upper, lower, strict=True):
        draw_curves(above, distance[kind], theme)
        below.axhline(0.5, color=theme.muted, linewidth=0.8)
        draw_curves(below, share[kind], theme)
    upper[0].set_ylim(bottom=0)
    lower[0].set_ylim(0, max(0.6, lower[0].get_ylim()[1]))
    key(figure, upper[0], theme)
    number_depth(figure, theme)
    return figure
