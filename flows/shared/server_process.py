"""The program of the embedded Prefect server; it ends soon after the process that started it, however that ended.

It is run as a file, with the starting process and the port as arguments, and imports nothing of OptiShear.
"""

import os
import signal
import sys
import threading
import time

_LOOK_EVERY = 1.0
_TIME_TO_END = 5.0


def end_with(parent: int) -> None:
    """Wait until ``parent`` is no longer the parent of this process, then end this one.

    The number is given, and not read here, as the parent may have ended before this runs. Python's own way, a signal at
    the parent's death, is Linux's alone and follows the thread that started the server, not its process.
    """
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_TIME_TO_END)
    os._exit(1)


def serve(port: int) -> None:
    """Serve Prefect's API on loopback; exit code 3 where it cannot start, which Prefect takes for a port in use."""
    import uvicorn

    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="error",
        lifespan="on",
    )


if __name__ == "__main__":
    threading.Thread(target=end_with, args=[int(sys.argv[1])], daemon=True).start()
    serve(int(sys.argv[2]))
