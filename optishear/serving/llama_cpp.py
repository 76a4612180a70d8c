"""llama.cpp through its Python package, on the CPU."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optishear.errors import InputError
from optishear.extras import require
from optishear.native.processor import processor_features
from optishear.serving.engine import in_parts


class LlamaCppEngine:
    """A GGUF file in llama.cpp, on as many threads as PyTorch has here.

    No layer runs sparse: llama.cpp multiplies zeros like any other number.
    """

    sparse_layers: tuple[str, ...] = ()

    def __init__(self, file: Path, context: int) -> None:
        """Load a file.

        Args:
            file: the GGUF file.
            context: the most tokens of a sequence.

        Raises:
            InputError: if the package is missing, or llama.cpp cannot load the file.
        """
        require(["llama_cpp"], "Loading a GGUF file in llama.cpp")
        import llama_cpp

        self.name = f"llama.cpp (llama-cpp-python {llama_cpp.__version__})"
        self._file, self._context = file, context
        self._llama = self._open(logits_all=False)
        self.memory_bytes = int(llama_cpp.llama_model_size(self._llama.model))

    def logits(self, tokens: Sequence[int]) -> Tensor:
        """As of every engine."""
        llama = self._open(logits_all=True)
        for part in in_parts(tokens):
            llama.eval(list(part))
        logits = torch.from_numpy(np.array(llama.scores[: len(tokens)], dtype=np.float32))
        llama.close()
        return logits

    def prompt_seconds(self, tokens: Sequence[int]) -> float:
        """As of every engine."""
        self._llama.reset()
        started = time.perf_counter()
        self._llama.eval(list(tokens))
        return time.perf_counter() - started

    def decode_seconds(self, prompt: Sequence[int], count: int) -> float:
        """As of every engine."""
        self._llama.reset()
        self._llama.eval(list(prompt))
        times = []
        for _ in range(count):
            started = time.perf_counter()
            self._llama.eval([self._next()])
            times.append(time.perf_counter() - started)
        return sorted(times)[len(times) // 2]

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text as llama.cpp splits it, with those that it adds at the ends."""
        tokens: list[int] = self._llama.tokenize(text.encode(), add_bos=True, special=True)
        return tokens

    def _next(self) -> int:
        from llama_cpp import llama_get_logits_ith

        values = llama_get_logits_ith(self._llama.ctx, -1)
        return int(np.ctypeslib.as_array(values, (self._llama.n_vocab(),)).argmax())

    def _open(self, *, logits_all: bool) -> Any:
        from llama_cpp import Llama

        threads = torch.get_num_threads()
        try:
            with _without_amx():
                return Llama(
                    str(self._file),
                    n_ctx=self._context,
                    n_batch=self._context,
                    n_gpu_layers=0,
                    n_threads=threads,
                    n_threads_batch=threads,
                    logits_all=logits_all,
                    verbose=False,
                )
        except ValueError as error:  # with no more than that it failed
            raise InputError(
                f"llama.cpp cannot load {str(self._file)!r} ({error}); write it again with optishear export, or use a "
                "later llama-cpp-python."
            ) from None


@contextmanager
def _without_amx() -> Iterator[None]:
    """Load models into plain buffers on a processor with AMX.

    On a Xeon with AMX, llama-cpp-python 0.3.36 ends the process with a protection fault in the first pass of a model in
    8 to 4 bits, whose weights it has packed for AMX. Its class has no argument for that; the default of llama.cpp has.
    """
    if "amx_tile" not in processor_features():
        yield
        return
    from llama_cpp import llama_cpp as library

    former = library.llama_model_default_params

    def defaults() -> Any:
        parameters = former()
        parameters.use_extra_bufts = False
        return parameters

    library.llama_model_default_params = defaults
    try:
        yield
    finally:
        library.llama_model_default_params = former
