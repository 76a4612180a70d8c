"""Exceptions that end a command with a sentence rather than a traceback."""


class InputError(ValueError):
    """Bad input, told in one sentence that names the bad value and the mend.

    Raised before any expensive work. The command line prints the sentence alone and exits with 2; the
    tasks never retry it, because the same input fails the same way.
    """


class IncompleteError(RuntimeError):
    """Some parts of what was asked failed; the others' results are laid out, and another run makes only these.

    The command line prints the sentence alone and exits with 1.
    """


def first_line(error: BaseException) -> str:
    """The first line of an error's message without a full stop; the error's type where it has no message.

    For reasons inside a sentence: libraries add hints and tracebacks in further lines.
    """
    message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return next((line.strip() for line in message.splitlines() if line.strip()), type(error).__name__).rstrip(".")
