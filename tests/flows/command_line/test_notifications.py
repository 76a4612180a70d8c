"""Whom the server calls, and for which events."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from prefect.blocks.system import Secret
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.actions import SendNotification

from flows.command_line.deploy import deploy
from flows.command_line.notifications import _calls, delay_until, notify
from flows.shared.promotion_event import PROMOTED
from optishear.errors import InputError
from wording import refused

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def calls(client: SyncPrefectClient) -> dict[str, SendNotification]:
    found = [automation for automation in client.read_automations() if automation.name.startswith("optishear: call")]
    return {automation.name: action for automation in found for action in automation.actions}


def prefect_file(folder: Path, cron: str) -> Path:
    path = folder / "prefect.yaml"
    path.write_text(yaml.safe_dump({"deployments": [{"name": "nightly", "schedules": [{"cron": cron}]}]}))
    return path


def test_it_calls_for_failed_flows_and_not_for_their_stages() -> None:
    failed, champion, late = _calls(timedelta(minutes=30))
    assert failed.trigger.expect == {"prefect.flow-run.Failed", "prefect.flow-run.Crashed"}
    tag, flows = failed.trigger.match_related
    assert tag.root["prefect.resource.id"] in ("prefect.tag.optishear", ["prefect.tag.optishear"])
    assert {"pipeline", "nightly", "cross-model"} <= set(flows.root["prefect.resource.name"])
    assert not [name for name in flows.root["prefect.resource.name"] if name.endswith("-stage")]
    assert champion.trigger.expect == {PROMOTED}
    assert late.trigger.after == {"prefect.flow-run.Late"}
    assert "prefect.flow-run.Running" in late.trigger.expect
    assert late.trigger.within == timedelta(minutes=30)


def test_calls_are_made_once_and_follow_the_last_target(client: SyncPrefectClient) -> None:
    notify("http://127.0.0.1:9/first")
    first = calls(client)
    notify("http://127.0.0.1:9/second", timedelta(minutes=5))
    second = calls(client)
    assert len(first) == 3
    assert first.keys() == second.keys()
    (block,) = {action.block_document_id for action in second.values()}
    assert client.read_block_document(block).data["url"] == "http://127.0.0.1:9/second"


def test_a_block_that_is_not_there_or_sends_nothing_is_refused(client: SyncPrefectClient) -> None:
    name = f"secret-{uuid4().hex[:8]}"
    Secret(value="x").save(name)
    with refused(name):
        notify(name)
    with refused("nobody", "webhook"):
        notify("nobody")


@pytest.mark.parametrize(("hour", "minutes"), [("02:30", 30), ("03:00", 60), ("01:00", 23 * 60)])
def test_the_delay_is_from_the_scheduled_hour_to_the_stated_one(tmp_path: Path, hour: str, minutes: int) -> None:
    assert delay_until(hour, prefect_file(tmp_path, "0 2 * * *")) == timedelta(minutes=minutes)


def test_the_schedule_of_the_repository_is_understood() -> None:
    assert delay_until("02:30", REPOSITORY / "prefect.yaml") > timedelta(0)


@pytest.mark.parametrize(("hour", "cron"), [("2", "0 2 * * *"), ("02:00", "0 2 * * *"), ("03:00", "0 2 * * 1")])
def test_an_hour_that_cannot_be_awaited_is_refused(tmp_path: Path, hour: str, cron: str) -> None:
    with pytest.raises(InputError, match="--night-by"):
        delay_until(hour, prefect_file(tmp_path, cron))


def test_an_hour_needs_somebody_to_call() -> None:
    with pytest.raises(InputError, match="--notify"):
        deploy.callback(gpus=1, notify=None, night_by="03:00")  # type: ignore[misc]
