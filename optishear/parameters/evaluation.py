"""What a model is evaluated on."""

from typing import Annotated, ClassVar

from pydantic import Field

from optishear.parameters.base import MOST_FEWSHOT, Natural, Positive, at_most
from optishear.parameters.bos import BosParameters
from optishear.parameters.paths import LocalPath, Source
from optishear.parameters.roles import Role


class EvaluationParameters(BosParameters):
    """The text and the tasks that a model is evaluated on."""

    heading: ClassVar[str] = "Evaluation"

    evaluation_text: Annotated[Source, Role.TEXT] = Field(
        "python-docs",
        description="Text for the perplexity: python-docs (the standard library's own topics, offline), "
        "hub:NAME[/CONFIG] or a file; none turns the perplexity off.",
    )
    window_length: Annotated[Positive, Field(ge=8)] = Field(1024, description="Tokens per perplexity window.")
    windows: Positive | None = Field(None, description="Number of windows from the start of the text; default: all.")
    suite: Annotated[Source | None, Role.TEXT] = Field(
        None, description="A named list of tasks: paper, math, knowledge, or a YAML file with your own suite."
    )
    tasks: list[str] = Field([], description="Names of lm-eval tasks, added to those of the suite.")
    include_path: Annotated[LocalPath | None, Role.FOLDER] = Field(
        None,
        description="Folder with your own lm-eval task files; local_NAME in it replaces NAME of a suite.",
    )
    limit: Positive | None = Field(None, description="Examples per task; default: all.")
    fewshot: Annotated[Natural, at_most(MOST_FEWSHOT)] | None = Field(
        None, description="Few-shot examples; default: each task's own number."
    )
    batch_size: Positive | None = Field(
        None,
        description="Sequences per forward pass in the evaluation; more is faster on a GPU, with other last digits. "
        "Default: 1 on a CPU; on a GPU 64, halved while its memory is too small.",
    )
    max_length: Positive | None = Field(
        None, description="Context length of the tasks in tokens; default: the model's own."
    )
