"""Layer ratios of several methods under several metrics: the effect of searched ratios on other metrics."""

from optishear.evidence.evidence import Evidence, HeatMap, failures_remarks, times
from optishear.evidence.matrix import LEVEL, LEVEL_WORDS, Matrix, Scores, geometric_mean, is_level, matrix_table

UNIFORM = "uniform"
SEARCHED = "searched"


def transplant_evidence(subject: str, matrix: Matrix, tasks: Scores) -> Evidence:
    """Evaluate a matrix with layer ratios as rows and metrics as columns.

    Args:
        subject: title of the evidence.
        matrix: perplexities; one row is ``UNIFORM``.
        tasks: task scores of the cells.
    """
    relative = matrix.relative(lambda column: matrix.of(UNIFORM, column))
    others = [row for row in matrix.rows if row != UNIFORM]
    means = {row: geometric_mean(list(relative.row(row).values())) for row in others}
    listing = ", ".join(f"{row} {times(mean)}" for row, mean in means.items())
    verdict = f"Perplexity on average over the metrics, against the same metrics with uniform ratios: {listing}."
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
