"""Write the versions and the hashes of all packages of the command line, as this machine's index has them.

    python tools/lock.py requirements.lock
    pip install --require-hashes -r requirements.lock
    pip install --no-deps .

The versions are those of ``constraints.txt``.
"""

import os
import subprocess
import sys
from pathlib import Path

from install import CONSTRAINTS, PIP, pip_settings, uv_variables

PROJECT = CONSTRAINTS.with_name("pyproject.toml")


def main(file: Path) -> int:
    """Write the file; returns the exit status."""
    listed = subprocess.run([*PIP, "config", "list"], stdout=subprocess.PIPE, text=True, check=True).stdout
    variables = uv_variables(pip_settings(listed))
    if variables is None:
        print("uv has no setting for one that pip is configured with, and pip writes no hashes.", file=sys.stderr)
        return 2
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--generate-hashes", "--no-header"]
    command += ["--no-annotate", "--python", sys.executable, "--constraints", str(CONSTRAINTS), "--extra", "pipeline"]
    command += ["--output-file", str(file), str(PROJECT)]
    return subprocess.run(command, env={**variables, **os.environ}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
