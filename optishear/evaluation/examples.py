"""The examples of a score: one value per example, so that two models can be compared on the same examples."""

import math
from collections.abc import Mapping

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

_SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("metric", pa.string()),
        ("example", pa.int32()),
        ("value", pa.float64()),
        ("weight", pa.float64()),
        ("logarithmic", pa.bool_()),
    ]
)


class Examples(BaseModel):
    """The examples of one metric. The score is sum(values) / sum(weights), or exp of it.

    Attributes:
        values: for a mean, each example's score; for a perplexity, its negative log-likelihood in nats.
        weights: 1 for a mean; for a perplexity, the words, bytes or windows that the example counts for.
        logarithmic: whether the score is exp of the mean, as a perplexity is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    values: list[float]
    weights: list[float]
    logarithmic: bool = False

    @property
    def score(self) -> float:
        """The metric's value."""
        mean = sum(self.values) / sum(self.weights)
        try:
            return math.exp(mean) if self.logarithmic else mean
        except OverflowError:
            return math.inf


# By task, then by metric; the perplexity over windows is the metric "perplexity" of the task "".
ExampleTable = Mapping[tuple[str, str], Examples]


def examples_table(examples: ExampleTable) -> pa.Table:
    """One row per example: task, metric, example (from 0), value, weight, logarithmic."""
    rows = [
        {
            "task": task,
            "metric": metric,
            "example": index,
            "value": value,
            "weight": weight,
            "logarithmic": some.logarithmic,
        }
        for (task, metric), some in examples.items()
        for index, (value, weight) in enumerate(zip(some.values, some.weights, strict=True))
    ]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def read_examples(table: pa.Table) -> dict[tuple[str, str], Examples]:
    """The examples in a table of ``examples_table``."""
    columns_by_key: dict[tuple[str, str], dict[str, list[float]]] = {}
    logarithmic: dict[tuple[str, str], bool] = {}
    for row in table.to_pylist():
        key = row["task"], row["metric"]
        columns = columns_by_key.setdefault(key, {"values": [], "weights": []})
        columns["values"].append(row["value"])
        columns["weights"].append(row["weight"])
        logarithmic[key] = row["logarithmic"]
    return {key: Examples(**columns, logarithmic=logarithmic[key]) for key, columns in columns_by_key.items()}
