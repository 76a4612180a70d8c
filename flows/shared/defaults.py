"""The embedded defaults: Prefect and MLflow without a server to start, quiet, and with nothing sent anywhere.

Every command passes through here before it can be stopped in one line, so this imports next to nothing.
"""

import os
from pathlib import Path

from optishear.home import home_folder

_DEFAULTS = {
    # PyTorch's threads would spin while they wait, and take the cores from the threads that select masks and from
    # Prefect's server: on two cores that makes text generation up to ten times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    # The log lines of the stages are also shown on the run's page.
    "PREFECT_LOGGING_EXTRA_LOGGERS": "optishear",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # A stage continues without MLflow: it must not wait minutes for an unreachable server, as with MLflow's own limits.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    # Waits double from 2 s: a run waits eight minutes in all for a server that is started again, not one minute.
    "PREFECT_CLIENT_MAX_RETRIES": "8",
    # A server whose database is away, or locked, answers with 500 at once, which Prefect does not try again by itself.
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
    # On a busy machine the first start, which makes the database, takes longer than Prefect's own 20 s.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
}
_OWN_PREFECT = ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH")


def set_defaults() -> None:
    """Set what the environment leaves open; has to come before Prefect and MLflow are imported."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    if not _has_own_prefect():
        os.environ["PREFECT_HOME"] = str(embedded_prefect_home())
    # Results are references into the artifact store, so they are stored beside it, for every server and worker.
    os.environ.setdefault("PREFECT_RESULTS_LOCAL_STORAGE_PATH", str(home_folder().absolute() / "results"))


def embedded_prefect_home() -> Path:
    """Prefect's folder where the user has set up none."""
    return home_folder().absolute() / "prefect"


def uses_embedded_prefect() -> bool:
    """Whether runs are recorded in the embedded server."""
    return os.environ.get("PREFECT_HOME") == str(embedded_prefect_home())


def _has_own_prefect() -> bool:
    if any(os.environ.get(name) for name in _OWN_PREFECT):
        return True
    return (Path.home() / ".prefect" / "profiles.toml").exists()
