"""Every file, link, module and command that the documentation names exists, and it uses one word for one thing."""

import re
from pathlib import Path

import pytest

from flows.command_line.main import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob(".github/**/*.md")])
# A path of the repository in the text; what runs write has other folders.
FOLDERS = r"(?:\.ci|\.github|benchmarks|configurations|docker|docs|flows|optishear|tasks|tests|tools)"
# Files that a user writes.
OF_THE_USER = {"docker/.env", "docker/compose.override.yaml"}
per_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
# What the glossary has another word for.
UNUSED = {
    r"judg": "evaluate",
    r"\banew\b": "again, recomputed",
    r"\bledger": "journal",
    r"held back": "held out",
    r"\bdear\b": "expensive",
    r"\bmend": "fix",
    r"shared recipe": "universal recipe",
    r"weights that (?:stay|went)": "kept weights, pruned weights",
    r"SmolLM2-135M(?!-Instruct|-0\.5)(?<!HuggingFaceTB/SmolLM2-135M)": "SmolLM2-135M-Instruct, which the package has",
}
# Names in the code, which are what they are.
NAMES = re.compile(r"`[^`]*`")


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^( *)```.*?^\1```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosting sites make them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@per_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@per_page
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(rf"(?<![\w/.-]){FOLDERS}/[\w./*-]*", text):
        path = name.rstrip("./").replace("NAME", "*")
        assert path in OF_THE_USER or list(ROOT.glob(path)), name


@per_page
def test_modules_that_are_named_exist(page: Path) -> None:
    for name in re.findall(r"\b(?:flows|tasks)(?:\.[a-z_]+)+\b", page.read_text(encoding="utf-8")):
        path = ROOT / name.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").exists() or path.parent.with_suffix(".py").exists(), name


@per_page
def test_commands_that_are_shown_exist(page: Path) -> None:
    for name in re.findall(
        r"(?:^|\$ |`)optishear ([a-z][a-z-]*)", page.read_text(encoding="utf-8"), flags=re.MULTILINE
    ):
        assert name in cli.commands, name


@per_page
def test_make_targets_that_are_shown_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|\$ |`)make ([a-z][a-z-]*)", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@per_page
def test_one_word_for_one_thing(page: Path) -> None:
    text = NAMES.sub("", prose(page))
    for word, instead in UNUSED.items():
        found = re.search(rf".*{word}.*", text, flags=re.IGNORECASE)
        assert found is None, f"{found.group().strip()!r}; write: {instead}"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"]({page.name})" in index, page.name
