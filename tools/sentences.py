"""List the tests' assertions on whole sentences: ``file:line`` and the text, then the number per folder and in all.

python tools/sentences.py [--all] [FOLDER ...]

A sentence is a string of more than 40 characters and at least six words in an ``assert`` or in a ``match=``. Tests with
``wording`` in their name are left out: they are there for the words. With ``--all`` they are listed too.
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"


def sentences(file: Path, of_wording: bool = False) -> Iterator[tuple[int, str]]:
    """Line and text of each sentence that a test file asserts; with ``of_wording`` in tests of the wording, too."""
    quotes: dict[int, str] = {}
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for top in tree.body:
        if of_wording or not (isinstance(top, ast.FunctionDef) and "wording" in top.name):
            quotes |= _asserted(top)
    yield from sorted(quotes.items())


def _asserted(tree: ast.AST) -> dict[int, str]:
    quotes: dict[int, str] = {}
    for node in ast.walk(tree):
        asserted = [node.test] if isinstance(node, ast.Assert) else []
        if isinstance(node, ast.Call):
            asserted += [keyword.value for keyword in node.keywords if keyword.arg == "match"]
        for expression in asserted:
            for part in ast.walk(expression):
                text = _text(part)
                if len(text) > 40 and len(re.findall(r"(?<!\S)\W*[A-Za-z]\w*", text)) >= 6:
                    quotes.setdefault(part.lineno, text)
    return quotes


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "{}" for part in node.values)
    return ""


def main() -> None:
    """Print them."""
    of_wording = "--all" in sys.argv
    folders = [Path(folder) for folder in sys.argv[1:] if folder != "--all"] or [TESTS]
    counts: Counter[str] = Counter()
    for file in sorted(file for folder in folders for file in folder.rglob("*.py")):
        for line, text in sentences(file, of_wording):
            print(f"{file}:{line}: {text}")
            counts[str(file.parent)] += 1
    for folder, count in counts.items():
        print(f"{count:5} {folder}")
    print(f"{counts.total():5} in all")


if __name__ == "__main__":
    main()
