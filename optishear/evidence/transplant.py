"""Layer ratios of several methods under several metrics: what the searched ratios bring to metrics they were not
searched for."""

from optishear.evidence.evidence import Evidence, HeatMap, failures_remark, times
from optishear.evidence.matrix import Matrix, geometric_mean, matrix_table

UNIFORM = "uniform"
SEARCHED = "searched"


def transplant_evidence(subject: str, matrix: Matrix, tasks: dict[str, dict[tuple[str, str], float]]) -> Evidence:
    """Read a matrix whose rows are layer ratios and whose columns are metrics.

    Args:
        subject: what it is about.
        matrix: perplexities; one row is ``UNIFORM``.
        tasks: further scores of the cells, by name.
    """
    relative = matrix.relative(lambda column: matrix.of(UNIFORM, column))
    others = [row for row in matrix.rows if row != UNIFORM]
    means = {row: geometric_mean(list(relative.row(row).values())) for row in others}
    said = ", ".join(f"{row} {times(mean)}" for row, mean in means.items())
    verdict = f"Perplexity on average over the metrics, against the same metrics with uniform ratios: {said}."
    return Evidence(
        subject,
        verdict,
        (*_on_searched(matrix), *failures_remark(matrix)),
        matrix_table(("ratios", "metric"), "perplexity", matrix, {"to_uniform": relative}, tasks),
        (
            HeatMap(
                "transplant",
                relative,
                "What layer ratios bring to each metric",
                "perplexity as a multiple of the same metric's with uniform ratios",
                "pruning metric",
                "Each row is a way to share the sparsity out between the layers; below 1 it helps the metric.",
            ),
        ),
    )


def _on_searched(matrix: Matrix) -> tuple[str, ...]:
    if SEARCHED not in matrix.rows:
        return ()
    judged = [column for column in matrix.columns if (SEARCHED, column) in matrix.values]
    best = [
        column
        for column in judged
        if all(
            matrix.values[SEARCHED, column] <= value
            for row in matrix.rows
            if (value := matrix.of(row, column)) is not None
        )
    ]
    return (f"The searched ratios are the best of all for {len(best)} of {len(judged)} metrics.",) if judged else ()
