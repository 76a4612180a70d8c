"""What the runs of each night measured, in ``HOME/nights``, so that the next night can be compared with it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ValidationError

from optishear.home import home_folder
from optishear.json_file import write_json
from optishear.report.night import NightScores

_RECORD = "night.json"


class Night(BaseModel):
    """One night.

    Attributes:
        flow_run: id of the night's flow run; a retry is the same night.
        began: when it began, in UTC.
        scores: of each run that completed, by its output folder.
    """

    flow_run: str
    began: AwareDatetime
    scores: dict[str, NightScores]

    @property
    def folder(self) -> Path:
        """The folder of the night's page and record."""
        return night_folder(self.flow_run)

    def save(self) -> None:
        """Write the record, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / _RECORD, self.model_dump(mode="json"))


def night_folder(flow_run: str) -> Path:
    """Where the page and the record of a night are."""
    return home_folder() / "nights" / flow_run


def new_night(flow_run: str) -> Night:
    """The record of this night: what an earlier try of it kept, or an empty one that begins now."""
    return _read(night_folder(flow_run) / _RECORD) or Night(flow_run=flow_run, began=datetime.now(UTC), scores={})


def nights_before(night: Night) -> list[Night]:
    """The records of all nights before this one, the last one first; each file is read."""
    records = (_read(path) for path in (home_folder() / "nights").glob(f"*/{_RECORD}"))
    before = [each for each in records if each and each.flow_run != night.flow_run and each.began < night.began]
    return sorted(before, key=lambda each: each.began, reverse=True)


def last_scores(output: Path, before: Sequence[Night]) -> NightScores | None:
    """The scores of a run in the last night in which it completed.

    Args:
        output: the run's output folder.
        before: the earlier nights, the last one first.
    """
    name = str(output.absolute())
    return next((night.scores[name] for night in before if name in night.scores), None)


def _read(path: Path) -> Night | None:
    try:
        return Night.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
