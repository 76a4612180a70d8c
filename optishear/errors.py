"""Exceptions that end a command with a sentence rather than a traceback."""

from collections.abc import Iterator

# Characters of a reason inside a sentence.
_LONGEST_REASON = 300


class InputError(ValueError):
    """Bad input, explained in one sentence that names the bad value and the fix.

    >>> try:
    ...     optishear.search(model, tokenizer, sparsity="5:4")
    ... except optishear.InputError as error:
    ...     print(error)
    The sparsity '5:4' keeps 5 of every 4 weights; N:M needs 0 < N < M, for example 2:4.

    Raised before any expensive work, but for a disk or a memory that gets full. The command line prints the sentence
    alone and exits with 2; the tasks never retry it, because the same input fails the same way.

    Characters that would move the cursor or change the colour of a terminal are written as Python writes them: a
    damaged file has such names in it.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__("".join(letter if letter.isprintable() else _escaped(letter) for letter in sentence))


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


class IncompleteError(RuntimeError):
    """Some parts failed; the others are laid out, and a repeated run computes only the failed ones.

    The command line prints the sentence alone and exits with 1.
    """


class HubError(ConnectionError):
    """The Hugging Face hub can be reached, but did not give what was asked for; worth another try later.

    The message is the begin of a sentence, which names the hub.
    """


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what caused it, and so on to the first one."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def first_line(error: BaseException) -> str:
    """The first line of an error's message without a full stop; the error's type where it has no message.

    For reasons inside a sentence: libraries add hints and tracebacks in further lines, and whole files. The end of a
    long line is left out.
    """
    message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    lines = (line.strip() for line in message.splitlines())
    line = next(filter(None, lines), type(error).__name__).rstrip(".")
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}..."
