"""MLflow: where runs are registered, and how a run that is repeated finds itself again."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from mlflow.entities import Metric, Param, Run
from mlflow.tracking import MlflowClient
from mlflow.utils.time import get_current_time_millis

from optishear.errors import InputError
from optishear.files import ensure_writable
from optishear.home import home_folder
from optishear.parameters import EvaluateStage, SearchStage, TrackingParameters, TransferStage
from tasks.keys import digest, folder_digest, text_digest
from tasks.sources import find_model

KEY_TAG = "optishear.key"
FAILURE_TAG = "optishear.failure"
# Where and on what a run ran, which is no part of what it made. A tracking address may hold a password, too.
PLACES = {"device", "output", "memory_budget", "experiment", "tracking_uri"}
_TEXTS = {"calibration", "evaluation_text", "recipe"}


TrackedParameters = SearchStage | EvaluateStage | TransferStage


@dataclass(frozen=True)
class Tracking:
    """An experiment on a tracking server or database."""

    uri: str
    experiment_id: str

    @cached_property
    def client(self) -> MlflowClient:
        """A client of it."""
        return MlflowClient(tracking_uri=self.uri)


@dataclass(frozen=True)
class TrackedRun:
    """One run; what is logged twice is there once."""

    tracking: Tracking
    run_id: str

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log what is not there yet: MLflow refuses another value, and a repeated run may be on another device."""
        present = self._run().data.params
        missing = {name: value for name, value in parameters.items() if name not in present and value is not None}
        self._client.log_batch(self.run_id, params=[Param(name, str(value)) for name, value in missing.items()])

    def log_metrics(self, metrics: Mapping[str, float | None]) -> None:
        """Log the metrics whose value is new."""
        present = self._run().data.metrics
        now = get_current_time_millis()
        cleaned = {_metric_name(name): value for name, value in metrics.items() if value is not None}
        changed = [Metric(name, value, now, 0) for name, value in cleaned.items() if present.get(name) != value]
        self._client.log_batch(self.run_id, metrics=changed)

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        for name, value in tags.items():
            self._client.set_tag(self.run_id, name, value)

    def log_file(self, path: Path, folder: str = "") -> None:
        """Upload a file to a folder of the run's artifacts, in place of one of the same name."""
        self._client.log_artifact(self.run_id, str(path), folder or None)

    @property
    def _client(self) -> MlflowClient:
        return self.tracking.client

    def _run(self) -> Run:
        return self._client.get_run(self.run_id)


def tracking_uri(parameters: TrackingParameters) -> str:
    """The parameter, else ``MLFLOW_TRACKING_URI``, else SQLite in the home folder."""
    given = parameters.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    return given or f"sqlite:///{home_folder().absolute() / 'mlflow.db'}"


def run_key(kind: str, parameters: TrackedParameters) -> str:
    """What a run is to make, by content: the same on another device, at another path, in another experiment."""
    sources = {"model": find_model(parameters.model).fingerprint}
    values = parameters.model_dump(mode="json", exclude=PLACES)
    for name in _TEXTS & set(values):
        sources[name] = text_digest(values.pop(name))
    for item in values.pop("search_calibrations", []):
        name, source = item.split("=", 1)
        sources[f"search calibration {name}"] = text_digest(source)
    sources["include_path"] = folder_digest(getattr(parameters, "include_path", None))
    left = {name: value for name, value in values.items() if name not in ("model", "include_path")}
    return digest({"kind": kind, "sources": sources, "parameters": left})


def run_name(kind: str, parameters: TrackedParameters) -> str:
    """What to call a run in the list: its flow, model and sparsity."""
    model = find_model(parameters.model).public_name.removeprefix("package:")
    return " ".join(filter(None, [kind, model, getattr(parameters, "sparsity", "")]))


def public_uri(uri: str) -> str:
    """The address without a password in it, for messages."""
    parts = urlsplit(uri)
    if parts.password is None:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))


def connect(parameters: TrackingParameters) -> Tracking:
    """Find or make the experiment.

    Raises:
        InputError: if the tracking server or database cannot be used.
    """
    uri = tracking_uri(parameters)
    ensure_writable(home_folder())
    try:
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(parameters.experiment)
        if experiment is not None and experiment.lifecycle_stage == "active":
            return Tracking(uri, experiment.experiment_id)
        # A server knows where it keeps files; a database alone would have them in the working folder.
        folder = None if uri.startswith("http") else str(home_folder().absolute() / "mlartifacts")
        return Tracking(uri, client.create_experiment(parameters.experiment, artifact_location=folder))
    except Exception as error:  # SQLAlchemy's, requests' and MLflow's own errors share no base class
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise InputError(
            f"The MLflow experiment {parameters.experiment!r} at {public_uri(uri)!r} cannot be used ({reason}); "
            "check tracking_uri and experiment."
        ) from error


@contextmanager
def tracked_run(kind: str, parameters: TrackedParameters) -> Iterator[TrackedRun]:
    """The run of these parameters: continued where there is one, else begun. It ends finished, or failed with a reason.

    Args:
        kind: the flow's name.
        parameters: of the flow.

    Raises:
        InputError: if the tracking server or database cannot be used.
    """
    tracking = connect(parameters)
    key = run_key(kind, parameters)
    found = tracking.client.search_runs(
        [tracking.experiment_id], filter_string=f"tags.`{KEY_TAG}` = '{key}'", max_results=1
    )
    if found:
        run_id = found[0].info.run_id
        tracking.client.update_run(run_id, status="RUNNING")
    else:
        name = run_name(kind, parameters)
        run_id = tracking.client.create_run(tracking.experiment_id, run_name=name, tags={KEY_TAG: key}).info.run_id
    try:
        yield TrackedRun(tracking, run_id)
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}"
        tracking.client.set_tag(run_id, FAILURE_TAG, reason[:5000])
        tracking.client.set_terminated(run_id, "FAILED")
        raise
    _forget_failure(tracking.client, run_id)
    tracking.client.set_terminated(run_id, "FINISHED")


def _forget_failure(client: MlflowClient, run_id: str) -> None:
    if FAILURE_TAG in client.get_run(run_id).data.tags:
        client.delete_tag(run_id, FAILURE_TAG)


def _metric_name(name: str) -> str:
    return re.sub(r"[^\w\-. :/]", "_", name)
