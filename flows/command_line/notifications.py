"""Automations on the Prefect server that call someone: a run failed, a champion is new, a night has not begun."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import yaml
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from prefect.client.orchestration import get_client
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from pydantic import SecretStr

from flows.command_line.automations import put_automation
from flows.registry import FLOWS
from flows.shared.promotion_event import PROMOTED
from optishear.errors import InputError, first_line
from tasks.tracking.prefect_link import prefect_page

_BLOCK = "optishear-notify"
_NAME = "optishear: call"
# A run becomes late some seconds after its hour.
_DEFAULT_DELAY = timedelta(minutes=30)


@dataclass(frozen=True)
class _Call:
    """What to call for: an event of a run or a model, and the message in Prefect's template language."""

    name: str
    trigger: EventTrigger
    subject: str
    body: str


def notify(target: str, delay: timedelta | None = None) -> None:
    """Call when a run fails or crashes, a champion is new, or a night has not begun; replaces earlier calls.

    Args:
        target: the address of a webhook, of Slack or any other, or the name of a block with notifications in Prefect.
        delay: how long after its scheduled hour a night must have begun.

    Raises:
        InputError: if there is no such block.
    """
    block = _block(target)
    with get_client(sync_client=True) as client:
        for call in _calls(delay or _DEFAULT_DELAY):
            automation = AutomationCore(
                name=f"{_NAME} when {call.name}",
                description=f"Calls {_BLOCK if _is_address(target) else target}; made by optishear deploy --notify.",
                trigger=call.trigger,
                actions=[SendNotification(block_document_id=block, subject=call.subject, body=call.body)],
            )
            put_automation(client, automation)


def delay_until(hour: str, prefect_file: Path) -> timedelta:
    """From the scheduled hour of the night to a stated one.

    Args:
        hour: such as ``02:30``, in the time zone of the schedule.
        prefect_file: ``prefect.yaml``, which has the schedule.

    Raises:
        InputError: if it is no hour, or the schedule is not daily.
    """
    try:
        stated = datetime.strptime(hour, "%H:%M")
    except ValueError:
        raise InputError(f"The hour {hour!r} of --night-by is none; write it as 02:30.") from None
    deployments = yaml.safe_load(prefect_file.read_text(encoding="utf-8"))["deployments"]
    schedules = next(each for each in deployments if each["name"] == "nightly").get("schedules") or [{}]
    cron = str(schedules[0].get("cron"))
    daily = re.fullmatch(r"(\d+) (\d+) \* \* \*", cron)
    if daily is None:
        raise InputError(
            f"The schedule {cron!r} of {str(prefect_file)!r} is not one hour of each day, which --night-by needs; "
            "leave out --night-by, and the call comes 30 minutes after any scheduled hour."
        )
    begins = timedelta(hours=int(daily[2]), minutes=int(daily[1]))
    delay = (timedelta(hours=stated.hour, minutes=stated.minute) - begins) % timedelta(days=1)
    if not delay:
        raise InputError(f"The hour {hour!r} of --night-by is when the night is scheduled; name a later one.")
    return delay


def _calls(delay: timedelta) -> list[_Call]:
    flows = [entry.module.replace("_", "-") for entry in FLOWS if entry.deployed]
    return [
        _Call(
            "a run fails",
            EventTrigger(
                expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
                match={"prefect.resource.id": "prefect.flow-run.*"},
                match_related=[_tagged(), _of_flows(flows)],
                posture=Posture.Reactive,
                threshold=1,
                within=timedelta(0),
            ),
            "{{ flow_run.name }}: {{ flow_run.state.name }}",
            # The server knows its own address only where PREFECT_UI_URL is set for it.
            f"{{{{ flow_run.state.message }}}}\n{prefect_page('{{ flow_run.id }}') or ''}",
        ),
        _Call(
            "a champion is new",
            EventTrigger(
                expect={PROMOTED},
                match={"prefect.resource.id": "optishear.registered-model.*"},
                posture=Posture.Reactive,
                threshold=1,
                within=timedelta(0),
            ),
            "{{ event.resource.name }}: version {{ event.payload.version }} is the champion",
            "{{ event.payload.reason }}\n{{ event.payload.page }}",
        ),
        _Call(
            "a night has not begun",
            EventTrigger(
                after={"prefect.flow-run.Late"},
                expect={"prefect.flow-run.Running", "prefect.flow-run.Cancelled"},
                match={"prefect.resource.id": "prefect.flow-run.*"},
                match_related=[_tagged(), _of_flows(["nightly"])],
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                threshold=1,
                within=delay,
            ),
            "The night has not begun",
            f"The scheduled run of nightly has not begun {_words(delay)} after its hour; is the worker of the pool cpu "
            "running?",
        ),
    ]


def _tagged() -> dict[str, str | list[str]]:
    return {"prefect.resource.id": "prefect.tag.optishear", "prefect.resource.role": "tag"}


def _of_flows(names: list[str]) -> dict[str, str | list[str]]:
    return {"prefect.resource.role": "flow", "prefect.resource.name": names}


def _words(delay: timedelta) -> str:
    minutes = round(delay.total_seconds() / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _is_address(target: str) -> bool:
    return urlsplit(target).scheme in ("http", "https")


def _block(target: str) -> UUID:
    """The id of the block that sends: one over the address, or the one of that name."""
    if not _is_address(target):
        return _named_block(target)
    block: NotificationBlock
    if urlsplit(target).hostname == "hooks.slack.com":
        block = SlackWebhook(url=SecretStr(target))
    else:
        block = CustomWebhookNotificationBlock(
            name="OptiShear",
            url=target,
            json_data={"subject": "{{subject}}", "body": "{{body}}"},
            headers=None,
            cookies=None,
        )
    try:
        saved = block.save(_BLOCK, overwrite=True)
    except Exception as error:  # the block of that name may be of the other type
        raise InputError(f"The block {_BLOCK!r} cannot be saved in Prefect ({first_line(error)}).") from None
    assert isinstance(saved, UUID)
    return saved


def _named_block(name: str) -> UUID:
    """``NAME`` or ``TYPE/NAME``, as Prefect shows it."""
    kind, _, own = name.rpartition("/")
    with get_client(sync_client=True) as client:
        found = [
            block
            for block in client.read_block_documents(include_secrets=False)
            if block.name == own and (not kind or (block.block_type is not None and block.block_type.slug == kind))
        ]
        sending = [
            block for block in found if block.block_schema is not None and "notify" in block.block_schema.capabilities
        ]
    if len(sending) == 1:
        return sending[0].id
    if found and not sending:
        raise InputError(f"The Prefect block {name!r} sends no notifications; name one that does, or a webhook's URL.")
    known = "several" if sending else "no"
    raise InputError(
        f"There are {known} Prefect blocks {name!r} to notify; give a webhook's URL, or TYPE/NAME as prefect block ls "
        "shows them."
    )
