"""The results on a flow's page in Prefect: a table and figures, each under its own key."""

import base64
from collections.abc import Iterable
from pathlib import Path

from prefect.artifacts import create_image_artifact, create_markdown_artifact


def show_results(name: str, text: str, description: str, figures: Iterable[Path]) -> None:
    """Put a text and figures on the run's page.

    Prefect keeps one artifact per key, regardless of its type, so the text's key differs from those of the figures.

    Args:
        name: of the results; the text's key is ``NAME-table``.
        text: in Markdown.
        description: of the text.
        figures: PNG files, whose names without the ending are their keys.
    """
    create_markdown_artifact(text, key=f"{name}-table", description=description)
    for figure in figures:
        image = base64.b64encode(figure.read_bytes()).decode()
        create_image_artifact(f"data:image/png;base64,{image}", key=figure.stem, description=figure.stem)
