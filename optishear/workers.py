"""Where the candidates of a search are measured: in this process, by workers of this machine, or by a Ray cluster."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema

from optishear.text_value import text_schema

# More than the GPUs and cores of any machine.
_MOST = 1024
# Of a running cluster: its head's address, or whatever cluster this machine is a part of.
_ADDRESS = re.compile(r"auto|[\w.-]{1,253}:[0-9]{1,5}|\[[0-9a-fA-F:]{2,39}\]:[0-9]{1,5}")


@dataclass(frozen=True)
class Workers:
    """The workers of a search.

    Attributes:
        count: of workers on this machine; 0 measures in this process.
        address: of a Ray cluster, which has a worker for each of its GPUs; empty for this machine.
    """

    count: int = 0
    address: str = ""

    def __bool__(self) -> bool:
        return bool(self.count or self.address)

    def __str__(self) -> str:
        return self.address or str(self.count)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return text_schema(cls, parse_workers)


def parse_workers(text: Any) -> Workers:
    """Read a number of workers such as ``2``, or an address such as ``head:6379`` or ``auto``.

    Raises:
        ValueError: if it is neither.
    """
    written = str(text).strip() if isinstance(text, int | str) and not isinstance(text, bool) else ""
    if re.fullmatch(r"[0-9]{1,4}", written) and int(written) <= _MOST:
        return Workers(count=int(written))
    if _ADDRESS.fullmatch(written):
        return Workers(address=written)
    raise ValueError(
        f"{str(text)[:40]!r} is neither a number of workers up to {_MOST} nor the address of a Ray cluster such as "
        "head:6379 or auto"
    )
