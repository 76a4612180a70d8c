"""Layer ratios of several methods under several metrics: what the searched ratios bring to metrics they were not
searched for."""

from optishear.evidence.evidence import Evidence, HeatMap, failures_remarks, times
from optishear.evidence.matrix import LEVEL, LEVEL_WORDS, Matrix, Scores, geometric_mean, is_level, matrix_table

UNIFORM = "uniform"
SEARCHED = "searched"


def transplant_evidence(subject: str, matrix: Matrix, tasks: Scores) -> Evidence:
    """Read a matrix whose rows are layer ratios and whose columns are metrics.

    Args:
        subject: what it is about.
        matrix: perplexities; one row is ``UNIFORM``.
        tasks: the cells' scores in tasks.
    """
    relative = matrix.relative(lambda column: matrix.of(UNIFORM, column))
    others = [row for row in matrix.rows if row != UNIFORM]
    means = {row: geometric_mean(list(relative.row(row).values())) for row in others}
    said = ", ".join(f"{row} {times(mean)}" for row, mean in means.items())
    verdict = f"Perplexity on average over the metrics, against the same metrics with uniform ratios: {said}."
    return Evidence(
        subject,
        verdict,
        (*_on_searched(matrix), *failures_remarks(matrix, tasks)),
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
    """For how many metrics the searched ratios beat the best of the others."""
    if SEARCHED not in matrix.rows:
        return ()
    others = matrix.relative(
        lambda column: min(
            (value for row in matrix.rows if row != SEARCHED and (value := matrix.of(row, column)) is not None),
            default=None,
        ),
        (SEARCHED,),
    )
    multiples = list(others.row(SEARCHED).values())
    if not multiples:
        return ()
    best = sum(value < 1 - LEVEL for value in multiples)
    level = sum(map(is_level, multiples))
    return (
        f"The searched ratios are the best of all for {best} of {len(multiples)} metrics"
        + (f", and level with the best for {level} ({LEVEL_WORDS})" if level else "")
        + ".",
    )
