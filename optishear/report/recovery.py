"""Recovery: the held-out divergence against the tokens that were trained on."""

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from optishear.recovery.summary import RecoverySummary
from optishear.report.formatting import number
from optishear.report.labels import Label, label_points
from optishear.report.style import LIGHT, Theme, dress, new_figure


def recovery_curve(recovery: RecoverySummary, theme: Theme = LIGHT) -> Figure:
    """One point for each check, and a ring around the one whose weights were kept.

    Args:
        recovery: of the run.
        theme: the inks.
    """
    figure = new_figure(3.6, theme)
    axes = dress(figure.add_subplot(), theme)
    tokens = [point.tokens for point in recovery.curve]
    divergences = [point.kl for point in recovery.curve]
    axes.plot(tokens, divergences, color=theme.searched, marker="o", markersize=4, linewidth=1.8)
    best = min(range(len(divergences)), key=divergences.__getitem__)
    axes.plot(tokens[best], divergences[best], color=theme.searched, marker="o", markersize=11, fillstyle="none")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("tokens")
    axes.set_ylabel("held-out divergence, nats per token")
    axes.margins(x=0.12, y=0.15)
    kept = Label(tokens[best], divergences[best], number(divergences[best]), theme.searched, bold=True)
    label_points(axes, [kept], list(zip(tokens, divergences, strict=True)), theme)
    return figure
