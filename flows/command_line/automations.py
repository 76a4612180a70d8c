"""Automations on the Prefect server that notice when a run's worker or machine is lost."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture


@dataclass(frozen=True)
class _Watch:
    """The events that must follow an event of a run, and within how many seconds."""

    awaited: str
    after: tuple[str, ...]
    expected: tuple[str, ...]
    seconds: int


_ENDS = ("Completed", "Failed", "Cancelled", "Crashed")
_BEGUN = ("prefect.flow-run.Running", "prefect.flow-run.Retrying")
_HEARTBEAT = "prefect.flow-run.heartbeat"
_WATCHES = (
    # Three heartbeats of prefect.yaml's deployments.
    _Watch("heartbeat", (*_BEGUN, _HEARTBEAT), (_HEARTBEAT,), seconds=90),
    # A process has to start, on a busy machine, and to import its libraries.
    _Watch("beginning", ("prefect.flow-run.Pending",), _BEGUN, seconds=600),
)


def watch_runs() -> None:
    """Let the server mark runs without heartbeats as crashed.

    A killed process sends nothing, and its worker may be killed with it: before the process began, before its first
    heartbeat, or later. A process that was only slow does no harm: the artifact's lock admits one of two.
    """
    with get_client(sync_client=True) as client:
        for watch in map(_automation, _WATCHES):
            put_automation(client, watch)


def put_automation(client: SyncPrefectClient, automation: AutomationCore) -> None:
    """Create an automation, or replace the one of its name where that is another.

    One that is the same is left alone, since an update forgets the runs that it is waiting for.
    """
    existing = client.read_automations_by_name(automation.name)
    if not existing:
        client.create_automation(automation)
    elif _content(existing[0]) != _content(automation):
        client.update_automation(existing[0].id, automation)


def _content(automation: AutomationCore) -> dict[str, Any]:
    """What an automation does, without what the server adds to it."""
    content = automation.model_dump(mode="json", include=set(AutomationCore.model_fields))
    trigger = {
        name: sorted(value, key=str) if isinstance(value, list) else value for name, value in content["trigger"].items()
    }
    return {**content, "trigger": {name: value for name, value in trigger.items() if name != "id"}}


def _automation(watch: _Watch) -> AutomationCore:
    return AutomationCore(
        name=f"optishear: a run with no {watch.awaited} has crashed",
        description="A killed worker cannot report the state of its runs.",
        trigger=EventTrigger(
            after=set(watch.after),
            expect={*watch.expected, *(f"prefect.flow-run.{end}" for end in _ENDS)},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.id": "prefect.tag.optishear", "prefect.resource.role": "tag"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=watch.seconds),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                force=False,
                message=f"No {watch.awaited} for {watch.seconds} seconds: its worker or machine was lost.",
            )
        ],
    )
