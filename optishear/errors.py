"""Exceptions that end a command with a sentence rather than a traceback."""


class InputError(ValueError):
    """Bad input, explained in one sentence that names the bad value and the fix.

    >>> try:
    ...     optishear.search(model, tokenizer, sparsity="5:4")
    ... except optishear.InputError as error:
    ...     print(error)
    The sparsity '5:4' keeps 5 of every 4 weights; N:M needs 0 < N < M, for example 2:4.

    Raised before any expensive work, but for a disk or a memory that gets full. The command line prints the sentence
    alone and exits with 2; the tasks never retry it, because the same input fails the same way.
    """


class IncompleteError(RuntimeError):
    """Some parts failed; the others are laid out, and a repeated run computes only the failed ones.

    The command line prints the sentence alone and exits with 1.
    """


def first_line(error: BaseException) -> str:
    """The first line of an error's message without a full stop; the error's type where it has no message.

    For reasons inside a sentence: libraries add hints and tracebacks in further lines.
    """
    message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return next((line.strip() for line in message.splitlines() if line.strip()), type(error).__name__).rstrip(".")
