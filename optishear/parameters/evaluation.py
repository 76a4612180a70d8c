"""What a model is evaluated on."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from optishear.parameters.base import Parameters, Positive
from optishear.parameters.roles import Role


class EvaluationParameters(Parameters):
    """The text and the tasks that a model is evaluated on."""

    heading: ClassVar[str] = "Evaluation"

    evaluation_text: Annotated[str, Role.TEXT] = Field(
        "python-docs",
        description="Text for the perplexity: python-docs (the standard library's own topics, offline), "
        "hub:NAME[/CONFIG] or a file; none leaves the perplexity out.",
    )
    window_length: Annotated[int, Field(ge=8)] = Field(1024, description="Tokens per perplexity window.")
    windows: Positive | None = Field(
        None, description="Number of windows from the start of the text; all where not given."
    )
    suite: Annotated[str | None, Role.TEXT] = Field(
        None, description="Tasks by one name: paper, math, knowledge, or a YAML file with a suite of your own."
    )
    tasks: list[str] = Field([], description="lm-eval tasks, by name; beside the suite's, where there is one.")
    include_path: Annotated[Path | None, Role.FOLDER] = Field(
        None,
        description="Folder with lm-eval task files of your own; local_NAME in it stands in for a suite's NAME.",
    )
    limit: Positive | None = Field(None, description="Examples per task; all where not given.")
    fewshot: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Few-shot examples; each task's own where not given."
    )
    batch_size: Positive = Field(
        1,
        description="Sequences per forward pass in the evaluation; more is faster on a GPU, and moves the last digits.",
    )
    max_length: Positive | None = Field(
        None, description="Tokens of context in the tasks; the model's own where not given."
    )
