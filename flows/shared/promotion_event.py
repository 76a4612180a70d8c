"""The event of a new champion, which the automations of ``optishear deploy`` pass on."""

from prefect.events import emit_event

from optishear.run_metrics.schema import Registration

PROMOTED = "optishear.promoted"


def announce_promotion(registered: Registration, page: str | None) -> None:
    """Emit the event; Prefect adds the flow run that it belongs to.

    Args:
        registered: the version that became the champion.
        page: address of its MLflow run, where there is a server.
    """
    emit_event(
        PROMOTED,
        resource={
            "prefect.resource.id": f"optishear.registered-model.{registered.name}",
            "prefect.resource.name": registered.name,
        },
        payload={"version": registered.version, "reason": registered.reason, "page": page or ""},
    )
