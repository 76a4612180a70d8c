"""Whether Prefect's server answers and takes the credentials, before a run begins."""

import time

from httpx import HTTPStatusError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from optishear.errors import InputError, first_line
from tasks.tracking.experiment import public_uri

_REFUSED = (401, 403)


def check_server(seconds: float = 0.0) -> str | None:
    """The address of Prefect's server; ``None`` where the embedded one is used.

    Args:
        seconds: to wait for a server that was just started.

    Raises:
        InputError: if it does not answer, or refuses the credentials.
    """
    url = PREFECT_API_URL.value()
    if not url:
        return None
    deadline = time.monotonic() + seconds
    # The client itself would repeat the question for minutes.
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client:
        while (problem := client.api_healthcheck()) is not None and time.monotonic() < deadline:
            time.sleep(1)
        if problem is None:
            problem = _refusal(client)
    shown = public_uri(str(url))
    if isinstance(problem, HTTPStatusError) and problem.response.status_code in _REFUSED:
        raise InputError(
            f"The Prefect server {shown} refuses the credentials ({problem.response.status_code} "
            f"{problem.response.reason_phrase}); set PREFECT_API_AUTH_STRING to USER:PASSWORD as the server has them."
        )
    if problem is not None:
        raise InputError(
            f"The Prefect server {shown} does not answer ({first_line(problem)}); start it, or fix PREFECT_API_URL."
        )
    return str(url)


def _refusal(client: SyncPrefectClient) -> Exception | None:
    """Why the server does not answer a question for which it wants credentials; its health needs none."""
    try:
        client.hello()
    except Exception as error:
        return error
    return None
