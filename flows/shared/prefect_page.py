"""The results on a flow's page in Prefect: a table and figures, each under its own key."""

import base64
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect.artifacts import create_image_artifact, create_link_artifact, create_markdown_artifact

from flows.shared.summary import mlflow_page, runs_page
from optishear.errors import first_line
from tasks.engine.retries import is_transient
from tasks.tracking.mlflow_run import TrackedRun

logger = logging.getLogger("optishear.stages")


def show_results(name: str, text: str, description: str, figures: Iterable[Path]) -> None:
    """Put a text and figures on the run's page.

    Prefect keeps one artifact per key, regardless of its type, so the text's key differs from those of the figures.

    Args:
        name: of the results; the text's key is ``NAME-table``.
        text: in Markdown.
        description: of the text.
        figures: PNG files, whose names without the ending are their keys.
    """
    with unless_away():
        create_markdown_artifact(text, key=f"{name}-table", description=description)
        for figure in figures:
            image = base64.b64encode(figure.read_bytes()).decode()
            create_image_artifact(f"data:image/png;base64,{image}", key=figure.stem, description=figure.stem)


def show_mlflow_run(run: TrackedRun) -> None:
    """Put links to an MLflow run and to all runs on the run's page, where the tracking server has pages."""
    page, runs = mlflow_page(run), runs_page(run.tracking)
    if page is not None and runs is not None:
        with unless_away():
            create_link_artifact(page, key="mlflow-run", link_text="MLflow run")
            create_link_artifact(runs, key="mlflow-runs", link_text="All runs in MLflow")


@contextmanager
def unless_away() -> Iterator[None]:
    """Continue where Prefect's server is away for longer than its client waits: the results are in their folder."""
    try:
        yield
    except Exception as error:
        if not is_transient(error):
            raise
        logger.warning("The results cannot be shown in Prefect: %s", first_line(error))
