"""SHA-256 of files; those of big files are remembered, so that a model of many gigabytes is read for it once."""

import contextlib
import json
import re
from pathlib import Path

from optishear.errors import InputError
from optishear.files import sha256_of_file, write_text
from optishear.home import home_folder
from optishear.json_file import parse_json

_DIGEST = re.compile("[0-9a-f]{64}")
# Below this size, reading a file again is quicker than looking it up is worth.
_BIG_BYTES = 8 * 2**20


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    That of a big file is remembered in ``home_folder()/digests.json`` by absolute path, size and time of change.
    What is remembered only saves time: where it cannot be read or written, the file is read again. So a writer
    that overwrites another one's entry at the same moment does no harm.
    """
    path = path.resolve()
    state = path.stat()
    if state.st_size < _BIG_BYTES:
        return sha256_of_file(path)
    memory = home_folder() / "digests.json"
    entry = _remembered(memory).get(str(path))
    match entry:
        case [state.st_size, state.st_mtime_ns, str(known)] if _DIGEST.fullmatch(known):
            return known
    digest = sha256_of_file(path)
    remembered = _remembered(memory) | {str(path): [state.st_size, state.st_mtime_ns, digest]}
    with contextlib.suppress(OSError, InputError):
        write_text(memory, json.dumps(remembered, indent=1))
    return digest


def _remembered(memory: Path) -> dict[str, object]:
    try:
        loaded = parse_json(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}
