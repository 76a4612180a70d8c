"""Whether Prefect's server answers, before a run begins."""

import time

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from optishear.errors import InputError, first_line


def check_server(seconds: float = 0.0) -> str | None:
    """The address of Prefect's server; ``None`` where the embedded one is used.

    Args:
        seconds: to wait for a server that was just started.

    Raises:
        InputError: if it does not answer.
    """
    url = PREFECT_API_URL.value()
    if not url:
        return None
    deadline = time.monotonic() + seconds
    # The client itself would repeat the question for minutes.
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client:
        while (problem := client.api_healthcheck()) is not None and time.monotonic() < deadline:
            time.sleep(1)
    if problem is not None:
        raise InputError(
            f"The Prefect server {url} does not answer ({first_line(problem)}); start it, or fix PREFECT_API_URL."
        )
    return str(url)
