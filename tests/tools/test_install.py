"""What pip is configured with is what uv installs with."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from install import PIP, pip_settings, uv_variables

PROGRAM = Path(__file__).parents[2] / "tools" / "install.py"


def test_uv_gets_what_pip_is_configured_with(tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://first.invalid/simple\nextra-index-url =\n    https://second.invalid/simple\n"
        "    file:///third/simple\ncert = /some/bundle.pem\ntimeout = 20\n"
        "[install]\nfind-links = /some/wheels https://fourth.invalid/wheels\ntimeout = 30\n[wheel]\nno-index = true\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {"PIP_CONFIG_FILE": str(file), "PIP_CERT": "/another/bundle.pem"}
    listed = subprocess.run([*PIP, "config", "list"], env=environment, capture_output=True, text=True, check=True)
    variables = uv_variables(pip_settings(listed.stdout))
    assert variables is not None
    # pip has read the machine's own files as well.
    assert (
        variables.items()
        >= {
            "UV_INDEX_STRATEGY": "unsafe-best-match",
            "UV_DEFAULT_INDEX": "https://first.invalid/simple",
            "UV_INDEX": "https://second.invalid/simple file:///third/simple",
            "UV_FIND_LINKS": "/some/wheels,https://fourth.invalid/wheels",
            "SSL_CERT_FILE": "/another/bundle.pem",
            "UV_HTTP_TIMEOUT": "30",
        }.items()
    )
    assert "UV_NO_INDEX" not in variables


def test_a_setting_that_uv_does_not_have_is_left_to_pip() -> None:
    assert uv_variables(pip_settings("global.quiet='1'\ninstall.only-binary=':all:'")) is None
    assert uv_variables(pip_settings("global.quiet='1'\ndownload.only-binary=':all:'")) is not None


@pytest.mark.parametrize(("setting", "installer"), [({}, "uv"), ({"PIP_ONLY_BINARY": ":all:"}, "pip")])
def test_a_package_is_installed(setting: dict[str, str], installer: str, tmp_path: Path) -> None:
    pytest.importorskip("uv")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    described = "tiny_package-1.0.dist-info"
    with zipfile.ZipFile(wheels / "tiny_package-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_package.py", "")
        wheel.writestr(f"{described}/METADATA", "Metadata-Version: 2.1\nName: tiny-package\nVersion: 1.0\n")
        wheel.writestr(f"{described}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{described}/RECORD", "")
    target = tmp_path / "target"
    environment = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    subprocess.run(
        [sys.executable, str(PROGRAM), "--target", str(target), "tiny-package"],
        env={**environment, **setting},
        check=True,
    )
    assert (target / described / "INSTALLER").read_text().strip() == installer
