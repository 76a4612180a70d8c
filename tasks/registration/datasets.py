"""The texts that a run read, as MLflow data sets with digests."""

import json
from collections.abc import Mapping, Sequence

import pyarrow.parquet as pq
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from optishear.calibration.text import HUB, hub_name
from optishear.evaluation.evaluate import NO_TEXT
from optishear.file_names import CALIBRATION
from tasks.store.artifacts import Artifact
from tasks.store.keys import digest
from tasks.store.provenance import public_source

# As long as MLflow keeps one.
_DIGITS = 32
_FURTHER = "search calibration "


def dataset_inputs(
    stages: Mapping[str, Sequence[Artifact]], calibration: str = "", evaluation_text: str = ""
) -> list[DatasetInput]:
    """The data sets of a run, without the folders of this machine.

    The digest of a calibration is that of its token blocks; that of another text is its file's, or says which text of
    a data set or package was meant.

    Args:
        stages: the artifacts of each stage, by the stage's name.
        calibration: the parameter.
        evaluation_text: the parameter.
    """
    inputs = []
    for blocks in stages.get("calibrate", []):
        metadata = pq.read_schema(blocks.path(CALIBRATION)).metadata
        profile = {name: int(metadata[name.encode()]) for name in ("sequences", "sequence_length")}
        inputs.append(_input("calibration", calibration, metadata[b"digest"].decode(), profile))
    for search in stages.get("search", []):
        named = {name: text for name, text in search.inputs.items() if name.startswith(_FURTHER)}
        inputs += [_input(name, name.removeprefix(_FURTHER), digest(text)) for name, text in named.items()]
    evaluations = stages.get("evaluate", []) if evaluation_text != NO_TEXT else []
    if evaluations:  # all models of a run are evaluated on one text
        inputs.append(_input("evaluation", evaluation_text, digest(evaluations[0].inputs["text"])))
    return inputs


def _input(context: str, source: str, content: str, profile: Mapping[str, int] | None = None) -> DatasetInput:
    name = public_source(source)
    where: dict[str, str | None] = {"uri": name}
    if source.startswith(HUB):
        where = dict(zip(("path", "config_name"), hub_name(source), strict=True))
    dataset = Dataset(
        name=name,
        digest=content[:_DIGITS],
        source_type="hugging_face" if source.startswith(HUB) else "local",
        source=json.dumps(where),
        profile=json.dumps(profile) if profile else None,
    )
    return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, context)])
