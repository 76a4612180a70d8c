"""Ctrl-C and SIGTERM: one line, exit code 130 or 143, and an end within seconds, whatever is being computed."""

import atexit
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Prefect and MLflow store the end of their runs meanwhile.
_SECONDS = 3.0
# Ctrl-C reaches forked processes too, and each of them reports it here.
_SAME_KEY = 0.5
SENTENCE = "Stopped. The same command goes on where it was."


class Terminated(BaseException):
    """SIGTERM, as an exception that ``except Exception`` lets pass."""


class Stop:
    """Whether this process was asked to end, and its end within ``_SECONDS`` of that.

    Python runs a signal's handler only between two bytecodes of the main thread, and Prefect sets a handler of its own.
    The wakeup descriptor receives the signal's number at once, whoever handles it.
    """

    def __init__(self) -> None:
        """Begin to listen."""
        self.signal: int | None = None
        self._said = threading.Lock()
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        # Registered before what else is to run at the end, so that it comes after that.
        atexit.register(self._leave)
        threading.Thread(target=self._listen, name="stop", daemon=True).start()

    @property
    def descriptor(self) -> int:
        """Where the numbers of signals are to be written."""
        return self._write

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as shells have it."""
        return 128 + (self.signal or signal.SIGINT)

    def handle(self, number: int, _: FrameType | None) -> None:
        """Python's handler of the two signals."""
        self.signal = number
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    def say(self) -> None:
        """Print the sentence, once."""
        if self._said.acquire(blocking=False):
            os.write(2, f"{SENTENCE}\n".encode())

    def close(self) -> None:
        """Listen no longer."""
        atexit.unregister(self._leave)
        os.write(self._write, b"\0")

    def _leave(self) -> None:
        # Python ends by SIGINT, whatever the exit code, where Ctrl-C came while it ran code from a string; imports do.
        if self.signal is not None:
            with suppress(OSError, ValueError):  # nobody reads any longer
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(self.exit_code)

    def _listen(self) -> None:
        number = 0
        while number not in _SIGNALS:
            number = os.read(self._read, 1)[0]
            if number == 0:
                os.close(self._read)
                os.close(self._write)
                return
        # Prefect's "crash" and the errors of threads that are cut off would bury the sentence.
        logging.disable(logging.CRITICAL)
        threading.excepthook = lambda _: None
        self.signal = number
        self._wait()
        self.say()
        os._exit(self.exit_code)

    def _wait(self) -> None:
        """Wait for ``_SECONDS``, or for a second Ctrl-C."""
        begin = time.monotonic()
        while (left := begin + _SECONDS - time.monotonic()) > 0:
            ready, _, _ = select.select([self._read], [], [], left)
            if ready and os.read(self._read, 1)[0] == signal.SIGINT and time.monotonic() - begin > _SAME_KEY:
                return


def _stops_already() -> bool:
    return isinstance(getattr(signal.getsignal(signal.SIGTERM), "__self__", None), Stop)


@contextmanager
def stops_at_once() -> Iterator[None]:
    """End the process in one line where it is asked to end while the body runs; only for the main thread.

    Within another one it does nothing.

    Raises:
        SystemExit: with 130 after Ctrl-C, 143 after SIGTERM. If what still runs in other threads hinders that, the
            process is ended without it.
    """
    if threading.current_thread() is not threading.main_thread() or _stops_already():
        yield
        return
    stop = Stop()
    wakeup = signal.set_wakeup_fd(stop.descriptor, warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, stop.handle) for number in _SIGNALS}
    try:
        yield
    except BaseException as error:
        if stop.signal is None and not isinstance(error, KeyboardInterrupt):
            raise
        stop.say()
        sys.exit(stop.exit_code)
    finally:
        if stop.signal is None:
            signal.set_wakeup_fd(wakeup)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            stop.close()
