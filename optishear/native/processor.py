"""What the processor can do."""

import platform
from pathlib import Path


def processor_features() -> set[str]:
    """The processor's features as Linux names them, such as ``avx2``; empty where they are not known."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return set()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").partition(":")[2].split())
