"""The page of a night: on its flow run in Prefect, in its own MLflow run, and in ``HOME/nights``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from flows.shared.night_history import Night
from flows.shared.prefect_page import show_mlflow_run, unless_away
from flows.shared.summary import runs_page
from optishear.errors import IncompleteError
from optishear.files import write_text
from optishear.report.night import NightRow, night_markdown, night_page, night_sentence
from tasks.tracking.experiment import connect
from tasks.tracking.flow_runs import fail, find_or_begin, finish, unless_unreachable
from tasks.tracking.mlflow_run import TrackedRun
from tasks.tracking.parameters import TrackingParameters
from tasks.tracking.prefect_link import prefect_tags

PAGE = "night.html"


def publish_night(night: Night, rows: Sequence[NightRow], tracking: TrackingParameters) -> Path:
    """Write the page of a night, and show it in Prefect and in MLflow.

    Args:
        night: its record, which is kept for the next night.
        rows: one for each run.
        tracking: where the night's MLflow run is.

    Returns:
        The file of the page.
    """
    title = str(flow_run.name)
    night.save()
    page = night.folder / PAGE
    runs = None
    with unless_unreachable("the page of all runs"):
        runs = runs_page(connect(tracking))
    write_text(page, night_page(title, rows, runs))
    text = night_markdown(title, rows, runs)
    with unless_away():
        create_markdown_artifact(text, key="night", description=night_sentence(rows))
    with unless_unreachable("the page of the night"), _night_run(night, title, rows, tracking) as run:
        champions = sum(row.champion for row in rows)
        failed = sum(bool(row.failure) for row in rows)
        run.log_metrics({"runs": len(rows), "failed": failed, "champions": champions})
        run.log_tags({MLFLOW_RUN_NOTE: text, **prefect_tags()})
        run.log_file(page)
        show_mlflow_run(run)
    return page


@contextmanager
def _night_run(
    night: Night, title: str, rows: Sequence[NightRow], tracking: TrackingParameters
) -> Iterator[TrackedRun]:
    run = find_or_begin(connect(tracking), title, f"night-{night.flow_run}")
    yield run
    if any(row.failure for row in rows):
        fail(run, IncompleteError(night_sentence(rows)))
    else:
        finish(run)
