"""The one exception that means "the caller gave something unusable"."""


class InputError(ValueError):
    """Bad input, told in one sentence that names the bad value and the mend.

    Raised before any expensive work. The command line prints the sentence alone and exits with 2; the
    tasks never retry it, because the same input fails the same way.
    """
