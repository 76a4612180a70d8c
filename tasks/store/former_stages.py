"""Stages that had another name in an earlier version: their artifacts are renamed once."""

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from optishear.files import write_aside
from optishear.json_file import parse_json
from tasks.store.keys import content_key


@dataclass(frozen=True)
class FormerStage:
    """A stage under its former name.

    Attributes:
        name: the former name.
        files: current name of each renamed file, by its former name.
    """

    name: str
    files: Mapping[str, str] = field(default_factory=dict)


# By the current name.
FORMER_STAGES = {
    "hold-out": FormerStage("hold-back", {"judged.parquet": "held_out.parquet"}),
    "evaluate-held-out": FormerStage("judge", {"judgement.json": "perplexity.json"}),
    "universal-search": FormerStage("shared-search"),
}


def rename_former_stages(artifacts: Path, record: str) -> None:
    """Move artifacts of former stages to the current names and keys; drop those that cannot be read.

    Args:
        artifacts: the folder of all artifacts.
        record: name of the JSON file that describes an artifact, in its folder.
    """
    for stage, former in FORMER_STAGES.items():
        folder = artifacts / former.name
        if not folder.is_dir():
            continue
        for artifact in folder.glob("[!.]*"):
            # A damaged record, or another process was quicker.
            with suppress(OSError, ValueError, KeyError, TypeError):
                _rename(artifact, record, former, artifacts / stage)
        shutil.rmtree(folder, ignore_errors=True)


def _rename(artifact: Path, record: str, former: FormerStage, target: Path) -> None:
    content = parse_json((artifact / record).read_bytes())
    key = content_key(target.name, content["version"], content["parameters"], content["inputs"])
    outputs = {former.files.get(name, name): file for name, file in content["outputs"].items()}
    with write_aside(target / key) as aside:
        artifact.rename(aside)
        for name, current in former.files.items():
            (aside / name).rename(aside / current)
        content |= {"stage": target.name, "key": key, "outputs": outputs}
        (aside / record).write_text(json.dumps(content, indent=1), encoding="utf-8")
