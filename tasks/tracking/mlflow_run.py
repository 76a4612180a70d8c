"""One MLflow run, to which everything may be logged repeatedly."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from optishear.json_file import finite
from tasks.store.home_lock import home_lock
from tasks.tracking.experiment import Tracking

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Run
    from mlflow.tracking import MlflowClient

# MLflow's limit in characters.
_LONGEST_METRIC_NAME = 250


@dataclass(frozen=True)
class TrackedRun:
    """One run; a value that is logged twice, by two processes at once too, is stored once.

    Attributes:
        tracking: where it is.
        run_id: its id.
        logged_steps: steps at which a metric is logged, by name, once they are read; no other process logs them.
    """

    tracking: Tracking
    run_id: str
    logged_steps: dict[str, set[int]] = field(default_factory=dict, compare=False, repr=False)

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log parameters that are new: MLflow refuses a changed value, and a repeated run may be on another device."""
        from mlflow.entities import Param

        with home_lock("mlflow"):  # another process may log the same
            present = self.read().data.params
            missing = {name: value for name, value in parameters.items() if name not in present and value is not None}
            self.client.log_batch(self.run_id, params=[Param(name, str(value)) for name, value in missing.items()])

    def log_metrics(self, metrics: Mapping[str, float | None]) -> None:
        """Log the metrics that are finite and whose value is new, each at the step after its last."""
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        with home_lock("mlflow"):  # another process may log the same
            present = self.read().data.metrics
            cleaned = {
                _metric_name(name): value
                for name, value in metrics.items()
                if value is not None and math.isfinite(value)
            }
            steps = {
                name: max(self.steps(name)) + 1 if name in present else 0
                for name, value in cleaned.items()
                if present.get(name) != value
            }
            now = get_current_time_millis()
            self.client.log_batch(
                self.run_id, metrics=[Metric(name, cleaned[name], now, step) for name, step in steps.items()]
            )

    def log_points(self, points: Iterable[tuple[str, int, float]]) -> None:
        """Log values of metrics at steps, as (name, step, value), without those whose step is logged already.

        The history of a metric is read once, and again after a failure, of which one cannot know what was stored.
        """
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        new = []
        now = get_current_time_millis()
        known = self.logged_steps
        try:
            for label, step, value in points:
                name = _metric_name(label)
                if name not in known:
                    known[name] = self.steps(name)
                if step not in known[name]:
                    known[name].add(step)
                    new.append(Metric(name, value, now, step))
            if new:
                self.client.log_batch(self.run_id, metrics=new)
        except BaseException:
            known.clear()
            raise

    def steps(self, metric: str) -> set[int]:
        """The steps at which a metric is logged."""
        return {value.step for value in self.client.get_metric_history(self.run_id, metric)}

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        for name, value in tags.items():
            self.client.set_tag(self.run_id, name, value)

    def log_file(self, path: Path, folder: str = "") -> None:
        """Upload a file to a folder of the run's artifacts, in place of one of the same name."""
        self.client.log_artifact(self.run_id, str(path), folder or None)

    def log_table(self, table: pa.Table, name: str) -> None:
        """Log a table that MLflow shows and loads as one, in place of one of the same name.

        ``MlflowClient.log_table`` would append to it.
        """
        from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS

        rows = [list(row.values()) for row in table.to_pylist()]
        self.client.log_dict(self.run_id, finite({"columns": table.column_names, "data": rows}), name)
        self.client.set_tag(self.run_id, MLFLOW_LOGGED_ARTIFACTS, json.dumps([{"path": name, "type": "table"}]))

    def log_inputs(self, datasets: "Sequence[DatasetInput]") -> None:
        """Log the data sets of the run; MLflow identifies a data set by its name and digest."""
        self.client.log_inputs(self.run_id, datasets=list(datasets))

    @property
    def client(self) -> "MlflowClient":
        """A client of where the run is."""
        return self.tracking.client

    def read(self) -> "Run":
        """The run as it is now."""
        return self.client.get_run(self.run_id)


def _metric_name(name: str) -> str:
    """The name with ``_`` for what MLflow refuses: other characters, and parts that mean a folder or nothing."""
    parts = re.sub(r"[^\w\-. :/]", "_", name).split("/")
    return "/".join("_" if part.strip() in ("", ".", "..") else part for part in parts)[:_LONGEST_METRIC_NAME]
