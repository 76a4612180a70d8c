"""The printed summary of a flow."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from flows.shared.defaults import uses_embedded_prefect
from optishear.run_metrics.checkpoint import CheckpointMetrics
from optishear.run_metrics.schema import RunMetrics
from tasks.tracking.experiment import Tracking, public_uri
from tasks.tracking.mlflow_run import TrackedRun
from tasks.tracking.prefect_link import prefect_address
from tasks.tracking.runs_view import WORKFLOW, runs_route


def where(output: Path, results: Mapping[str, str], run: TrackedRun | None = None) -> str:
    """The places of the results, and how to open the pages of the run.

    Args:
        output: the results' folder.
        results: for each result, its name in the folder.
        run: the MLflow run, where there is one.
    """
    lines = {title: shlex.quote(str(output.absolute() / name)) for title, name in results.items()}
    if run is not None:
        lines["MLflow"] = _mlflow(run)
        lines["all runs"] = runs_page(run.tracking) or f"http://127.0.0.1:5000/{runs_route(run.tracking.experiment_id)}"
    lines["Prefect"] = _prefect()
    width = max(map(len, lines))
    return "\n".join(f"{title:<{width}}  {line}" for title, line in lines.items())


def zeros_in_words(metrics: CheckpointMetrics | RunMetrics, model: str = "") -> str:
    """The share of zeros and its base, as the subject of a sentence.

    Args:
        metrics: of the pruned checkpoint.
        model: the model's name; empty to leave it out.
    """
    of_model = f" of {model}" if model else ""
    achieved, share = metrics.achieved_sparsity, metrics.coverage.prunable_share
    if share == 1:
        return f"{achieved:.2%} of the weights in the decoder layers{of_model}"
    overall = metrics.sparsity_of_all_matrices
    return (
        f"{overall:.2%} of the weights in the decoder layers{of_model} ({achieved:.2%} of the prunable ones, "
        f"which are {share:.2%} of them)"
    )


def mlflow_page(run: TrackedRun, file: str = "") -> str | None:
    """The address of the run's page; ``None`` for a database without a server.

    ``OPTISHEAR_MLFLOW_UI_URL`` is the server's address for users, if workers use another one, as ``PREFECT_UI_URL`` is
    for Prefect's.

    Args:
        run: the run.
        file: one of the run's files, for the page that shows it.
    """
    return _page(run.tracking.uri, _route(run, file))


def runs_page(tracking: Tracking) -> str | None:
    """The address of the list of all runs, with the columns to compare them; ``None`` as for ``mlflow_page``."""
    return _page(tracking.uri, runs_route(tracking.experiment_id))


def _page(uri: str, route: str) -> str | None:
    if not uri.startswith("http"):
        return None
    address = os.environ.get("OPTISHEAR_MLFLOW_UI_URL") or public_uri(uri)
    return f"{address.rstrip('/')}/{route}"


def _route(run: TrackedRun, file: str = "") -> str:
    page = f"{run.run_id}/artifacts/{file}" if file else run.run_id
    return f"#/experiments/{run.tracking.experiment_id}/runs/{page}?{WORKFLOW}"


def _mlflow(run: TrackedRun) -> str:
    store = shlex.quote(public_uri(run.tracking.uri))
    return mlflow_page(run) or (
        f"mlflow ui --backend-store-uri {store}   (then open http://127.0.0.1:5000/{_route(run)})"
    )


def _prefect() -> str:
    if uses_embedded_prefect():
        home = shlex.quote(os.environ["PREFECT_HOME"])
        return f"PREFECT_HOME={home} prefect server start   (then open http://127.0.0.1:4200)"
    return prefect_address() or "prefect server start   (then open http://127.0.0.1:4200)"
