"""Names in Markdown: whatever a model, a task or a recipe is called, it is shown as text."""

import re
from html import escape


def plain(name: str) -> str:
    """A name in running text or in a cell of a table, with nothing in it that Markdown or HTML would act on."""
    line = escape(" ".join(name.split()), quote=False)
    # An underscore between letters means nothing in Markdown.
    return re.sub(r"([\\`*\[\]|]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", line)


def code(name: str) -> str:
    """A name as code: between more backticks than it has in a row, on one line."""
    line = " ".join(name.split())
    fence = "`" * (_longest_run(line) + 1)
    space = " " if "`" in line else ""
    return f"{fence}{space}{line}{space}{fence}"


def block(text: str, language: str) -> str:
    """Lines of code, between more backticks than any of them has in a row."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
