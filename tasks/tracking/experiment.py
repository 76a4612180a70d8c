"""MLflow: the experiment of the runs, and the key of a run."""

import os
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from optishear.calibration.text import text_digest
from optishear.errors import InputError, first_line
from optishear.files import ensure_writable
from optishear.home import home_folder
from optishear.parameters.base import Parameters
from optishear.parameters.model import ModelParameters
from optishear.parameters.roles import Role, plain_fields, roles_of
from tasks.store.home_lock import home_lock
from tasks.store.keys import chosen, digest, folder_digest
from tasks.store.model_sources import find_model
from tasks.tracking.parameters import TrackingParameters
from tasks.tracking.runs_view import VIEW_TAG, runs_route, view_state

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

# Without a kind, MLflow versions that choose their view by it open the experiment in the one for generative AI, which
# has no runs; later versions choose by the address. MLflow has no constant for the tag: its web interface reads and
# writes it. The note's name is MLflow's MLFLOW_RUN_NOTE, not imported, since the process of a stage that is not tracked
# does without MLflow, which takes seconds to import.
_NOTE = "mlflow.note.content"
_DESCRIPTION = """Pruning runs of OptiShear, [with the columns to compare them]({runs}). Each flow is a run, and each of
its stages a run nested under it.

- `pruned/ratio_to_dense`, `wanda/ratio_to_dense`, `sparsegpt/ratio_to_dense`: perplexity over that of the dense
  model; 1 is no loss.
- `pruned/making_seconds` and so on: what it took to make each model.
- `achieved_sparsity`: fraction of zeros over the weights of the prunable layers.
- tags `model`, `sparsity`, `promoted` and `promotion`: what was pruned, whether it is the champion, and why.
- tag `prefect_run`: the run in Prefect; tag `optishear.failure`: why a run failed.
- runs `nightly · DATE`: one page over all runs of a night, `night.html`.
"""


@dataclass(frozen=True)
class Tracking:
    """An experiment on a tracking server or database.

    Attributes:
        uri: the server or database.
        experiment_id: the experiment's.
        given_uri: the parameter ``tracking_uri``; ``None`` where the environment says it, which may be another one in
            another process.
    """

    uri: str
    experiment_id: str
    given_uri: str | None = None

    @cached_property
    def client(self) -> "MlflowClient":
        """A client of it."""
        from mlflow.tracking import MlflowClient

        return MlflowClient(tracking_uri=self.uri)


def tracking_uri(parameter: str | None) -> str:
    """The parameter ``tracking_uri``, else ``MLFLOW_TRACKING_URI``, else SQLite in the home folder."""
    uri = parameter or os.environ.get("MLFLOW_TRACKING_URI")
    return uri or f"sqlite:///{home_folder().absolute() / 'mlflow.db'}"


def run_key(kind: str, parameters: Parameters) -> str:
    """The key of a run, by content: the same on another device, at another path, in another experiment."""
    group = type(parameters)
    sources: dict[str, str] = {}
    for name, role in roles_of(group).items():
        if role is not Role.PLACE:
            sources |= _contents(name, role, getattr(parameters, name))
    return digest({"kind": kind, "sources": sources, "parameters": chosen(parameters, plain_fields(group))})


def _contents(name: str, role: Role, value: Any) -> dict[str, str]:
    """The digest of the content that a parameter names; of several, each under its own name."""
    if not isinstance(value, list):
        return {name: _content(role, value)}
    singular = name.replace("_", " ").removesuffix("s")
    return {
        f"{singular} {named.name or find_model(named.source).public_name}": _content(role, named.source)
        for named in value
    }


def _content(role: Role, value: Any) -> str:
    if role is Role.MODEL:
        return find_model(value).fingerprint
    return folder_digest(value) if role is Role.FOLDER else text_digest(value or "")


def run_name(kind: str, parameters: ModelParameters) -> str:
    """The name of a run in MLflow's list: its flow, model and sparsity."""
    return " ".join([kind, *run_tags(parameters).values()])


def public_uri(uri: str) -> str:
    """The address without a password in it, for messages."""
    try:
        parts = urlsplit(uri)
    except ValueError:  # no address
        return uri.rpartition("@")[2]
    if parts.password is None:
        return uri
    credentials, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{credentials.partition(':')[0]}:***@{host}"))


def run_tags(parameters: ModelParameters) -> dict[str, str]:
    """What a run is about, as tags that MLflow shows as columns: the model, and the sparsity where there is one."""
    sparsity = getattr(parameters, "sparsity", None)
    name = find_model(parameters.model).public_name.removeprefix("package:")
    return {"model": name, **({"sparsity": str(sparsity)} if sparsity is not None else {})}


def connect(parameters: TrackingParameters) -> Tracking:
    """Find or make the experiment; of several processes that begin at once, one makes the database and the experiment.

    Raises:
        InputError: if the tracking server or database cannot be used.
    """
    from mlflow.exceptions import MlflowException

    uri = tracking_uri(parameters.tracking_uri)
    ensure_writable(home_folder())
    try:
        with home_lock("mlflow"):
            _check_file(uri)
            return _experiment(parameters, uri)
    except InputError:
        raise
    except Exception as error:  # SQLAlchemy's, requests' and MLflow's own errors share no base class
        if isinstance(error, MlflowException) and error.get_http_status_code() in (401, 403):
            raise InputError(
                f"The MLflow server {public_uri(uri)!r} refuses the credentials; set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD."
            ) from error
        raise InputError(
            f"The MLflow experiment {parameters.experiment!r} at {public_uri(uri)!r} cannot be used "
            f"({first_line(error)}); "
            "check tracking_uri and experiment."
        ) from error


def _check_file(uri: str) -> None:
    """Refuse a SQLite database that cannot be opened, at once: MLflow tries for two minutes.

    Raises:
        InputError: if it is in memory alone, or its folder cannot be written.
        sqlite3.Error: if the file is no database, or is no file.
    """
    if not uri.startswith("sqlite:"):
        return
    file = uri.removeprefix("sqlite:").removeprefix("///").partition("?")[0]
    if file in ("", "//", ":memory:"):
        raise InputError(
            f"The tracking_uri {uri!r} names no file, so that everything would be lost at the end of the process; "
            "write sqlite:///mlflow.db."
        )
    ensure_writable(Path(file).parent)
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA schema_version")


def _experiment(parameters: TrackingParameters, uri: str) -> Tracking:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(parameters.experiment)
    if experiment is not None:
        if experiment.lifecycle_stage != "active":
            raise InputError(
                f"The MLflow experiment {parameters.experiment!r} at {public_uri(uri)!r} is deleted; restore it "
                f"with mlflow experiments restore --experiment-id {experiment.experiment_id}, or name another "
                "experiment."
            )
        _describe(client, experiment.experiment_id, experiment.tags)
        return Tracking(uri, experiment.experiment_id, parameters.tracking_uri)
    # A server has its own place for files; a database alone would put them into the working folder.
    folder = None if uri.startswith("http") else str(home_folder().absolute() / "mlartifacts")
    experiment_id = client.create_experiment(parameters.experiment, artifact_location=folder)
    _describe(client, experiment_id, {})
    return Tracking(uri, experiment_id, parameters.tracking_uri)


def _describe(client: "MlflowClient", experiment_id: str, present: Mapping[str, str]) -> None:
    """Set the experiment's kind, description and view of its runs, unless someone has set others."""
    tags = {
        "mlflow.experimentKind": "custom_model_development",
        _NOTE: _DESCRIPTION.format(runs=runs_route(experiment_id)),
        VIEW_TAG: view_state(int(time.time() * 1000)),
    }
    for tag, value in tags.items():
        if tag not in present:
            client.set_experiment_tag(experiment_id, tag, value)
