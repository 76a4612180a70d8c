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
