"""An installed Chromium without a window, for tests of what a person sees and does."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

# Pages of both servers are large, and their first load takes seconds on a core that computes something else.
PATIENCE = 60_000  # ms
_ARGUMENTS = ("--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update")


def chromium() -> str | None:
    """The program: where Debian and others put it."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def browser_process(program: str) -> Iterator[Browser]:
    """A browser, with a profile of its own that goes with it."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        # Its sandbox needs rights that containers and root do not have; the pages are our own servers'.
        browser = playwright.chromium.launch(executable_path=program, args=list(_ARGUMENTS), chromium_sandbox=False)
        try:
            yield browser
        finally:
            browser.close()


def open_page(browser: Browser, **options: Any) -> Page:
    """A page in a fresh window, from which nothing but this machine can be reached.

    Args:
        browser: the process.
        options: of playwright's ``new_page``.
    """
    window = {"viewport": {"width": 1400, "height": 1000}, "timezone_id": "UTC"}
    page = browser.new_page(**{**window, **options})
    page.set_default_timeout(PATIENCE)
    page.route("**/*", _on_this_machine)
    return page


def _on_this_machine(route: Route) -> None:
    address = urlsplit(route.request.url)
    if address.scheme in ("data", "blob") or address.hostname == "127.0.0.1":
        route.continue_()
    else:
        route.abort()
