"""The calibration set: token blocks of equal length, and the file that holds them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from optishear.errors import InputError, first_line
from optishear.files import write_aside
from optishear.parameters.bos import Bos

_COLUMNS = pa.schema([("sequence", pa.int32()), ("tokens", pa.list_(pa.int32()))])


@dataclass(frozen=True, eq=False)
class CalibrationSet:
    """Token blocks of equal length.

    Attributes:
        tokens: [sequences, sequence_length] int64 on the CPU.
        source: name of the text source, as given by the user.
        documents: number of documents that the tokens are from; ``None`` where the model wrote them, or not known.
        bos: where the tokenizer's BOS is; ``None`` where it adds none, or not known.
    """

    tokens: Tensor
    source: str
    documents: int | None = None
    bos: Bos | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the block length and the tokens as little-endian int32, in hexadecimal.

        It includes the length, since the same tokens in blocks of another length give different statistics.
        """
        length = np.asarray([self.tokens.shape[1]], dtype="<i4")
        return hashlib.sha256(length.tobytes() + self.tokens.numpy().astype("<i4").tobytes()).hexdigest()

    def save(self, path: str | Path, metadata: dict[str, str] | None = None) -> None:
        """Write the set to a Parquet file.

        One row per sequence: ``sequence`` int32, its number from 0; ``tokens`` list<int32>, its token ids.
        Schema metadata: ``source``, ``digest``, ``sequences``, ``sequence_length``; ``documents`` and ``bos`` where
        they are known; and the caller's own.
        """
        sequences, sequence_length = self.tokens.shape
        own = {
            "source": self.source,
            "digest": self.digest,
            "sequences": str(sequences),
            "sequence_length": str(sequence_length),
            **({} if self.documents is None else {"documents": str(self.documents)}),
            **({} if self.bos is None else {"bos": self.bos}),
        }
        table = pa.table(
            {"sequence": np.arange(sequences), "tokens": list(self.tokens.numpy())}, schema=_COLUMNS
        ).replace_schema_metadata({**(metadata or {}), **own})
        with write_aside(Path(path)) as aside:
            pq.write_table(table, aside)

    @classmethod
    def load(cls, path: str | Path) -> "CalibrationSet":
        """Read a set from a Parquet file.

        Raises:
            InputError: if the file is missing, is not Parquet, lacks a column, is empty, has rows of unequal
                length, negative tokens, or other tokens than its digest says.
        """
        name = f"The calibration set {str(path)!r}"
        try:
            table = pq.ParquetFile(path).read()
        except (OSError, pa.ArrowException) as error:
            reason = first_line(error)
            raise InputError(f"{name} cannot be read ({reason}).") from None
        missing = [column for column in _COLUMNS.names if column not in table.column_names]
        if missing:
            raise InputError(f"{name} has no column {missing[0]!r}; it has {', '.join(table.column_names) or 'none'}.")
        try:
            rows = table.select(_COLUMNS.names).cast(_COLUMNS).column("tokens").combine_chunks()
        except pa.ArrowException as error:
            raise InputError(f"{name} has a column of the wrong type ({first_line(error)}).") from None
        lengths = set(rows.value_lengths().to_pylist())
        if not lengths or lengths <= {0, None}:
            raise InputError(f"{name} holds no tokens; make it again from a text.")
        if len(lengths) > 1:
            raise InputError(f"{name} has rows of unequal length ({_spread(lengths)}); cut them to one length.")
        values = rows.flatten()
        if values.null_count or values.to_numpy().min() < 0:
            raise InputError(f"{name} holds missing or negative token ids.")
        tokens = torch.from_numpy(values.to_numpy().astype(np.int64)).reshape(len(rows), -1)
        metadata = {
            key.decode(errors="replace"): value.decode(errors="replace")
            for key, value in (table.schema.metadata or {}).items()
        }
        documents, bos = metadata.get("documents"), metadata.get("bos")
        if documents is not None and not (documents.isdecimal() and len(documents) < 19):
            raise InputError(f"{name} has {documents[:40]!r} as its number of documents; make it again from a text.")
        calibration = cls(
            tokens,
            metadata.get("source", str(path)),
            documents=None if documents is None else int(documents),
            bos=next((known for known in get_args(Bos) if known == bos), None),
        )
        if metadata.get("digest", calibration.digest) != calibration.digest:
            raise InputError(f"{name} is damaged: its tokens do not match its digest; make it again.")
        return calibration


def _spread(lengths: set[int | None]) -> str:
    sizes = sorted(length or 0 for length in lengths)
    return f"{sizes[0]} to {sizes[-1]} tokens"
