"""The picture of the page on search efficiency, from the kept curves.

python benchmarks/search_efficiency_picture.py RESULTS [--output search-efficiency.png]
"""

import argparse
import json
import statistics
from pathlib import Path

from optishear.report.export import png
from optishear.report.labels import Label, label_right
from optishear.report.style import LIGHT, dress, new_figure, plain


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("results", type=Path, help="folder of the curves")
    options.add_argument("--sparsity", default="0.6")
    options.add_argument("--output", type=Path, default=Path("search-efficiency.png"))
    arguments = options.parse_args()
    curves: dict[str, list[list[list[float]]]] = {}
    for path in sorted(arguments.results.glob(f"{arguments.sparsity}-*.json")):
        way = path.stem.split("-", 1)[1].rsplit("-", 2)[0]
        curves.setdefault(way, []).append(json.loads(path.read_text(encoding="utf-8"))["curve"])
    end = max(curve[-1][0] for of_way in curves.values() for curve in of_way)
    figure = new_figure(4.0, LIGHT)
    figure.set_layout_engine("none")
    axes = dress(figure.add_axes((0.09, 0.12, 0.74, 0.85)), LIGHT, grid=("y",))
    axes.margins(x=0)
    labels = []
    for index, (way, of_way) in enumerate(curves.items()):
        colour = LIGHT.series()[index % len(LIGHT.series())]
        marks = sorted({tokens for curve in of_way for tokens, _ in curve} | {end})
        started = [mark for mark in marks if all(curve[0][0] <= mark for curve in of_way)]
        medians = [statistics.median(best_at(curve, mark) for curve in of_way) for mark in started]
        dashes = "-" if len(of_way[0]) > 1 else (0, (3, 1.2))
        axes.plot(started, medians, drawstyle="steps-post", color=colour, linewidth=1.8, linestyle=dashes)
        labels.append(Label(started[-1], medians[-1], way, colour))
    axes.set_xlabel("forwarded tokens")
    axes.set_ylabel(plain("best KL divergence so far"))
    label_right(axes, labels, LIGHT)
    arguments.output.write_bytes(png(figure))


def best_at(curve: list[list[float]], tokens: float) -> float:
    """The best divergence after so many tokens."""
    return min(best for spent, best in curve if spent <= tokens)


if __name__ == "__main__":
    main()
