"""The references are what the code says: generated pages are current, and every command and parameter is in them."""

import references

from flows.command_line.main import cli
from flows.command_line.options import GroupCommand


def test_the_pages_are_current() -> None:
    for name, content in references.pages().items():
        assert (references.DOCS / name).read_text(encoding="utf-8") == content, "run: python tools/references.py"


def test_every_parameter_of_every_command_is_in_them() -> None:
    pages = references.pages()
    for name, command in cli.commands.items():
        section = pages["command-line.md"].partition(f"\n## optishear {name}\n")[2].partition("\n## ")[0]
        if isinstance(command, GroupCommand):
            assert section
            for field in command.group.model_fields:
                assert f"`--{field.replace('_', '-')}`" in section
                assert f"\n| `{field}` | " in pages["parameters.md"]


def test_values_limits_and_defaults_are_shown() -> None:
    page = references.pages()["parameters.md"]
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert rows["reconstruction_damping"].startswith("| `reconstruction_damping` | number > 0 | `0.1` | ")
    assert rows["windows"].startswith("| `windows` | integer ≥ 1 |  | ")
    assert rows["footprint"].startswith("| `footprint` | `true`, `false` | `true` | ")
    assert rows["order"].startswith("| `order` | `joint`, `sequential` | `sequential` | ")
    assert rows["tasks"].startswith("| `tasks` | list of text |  | ")
    (compare,) = [line for line in page.splitlines() if line.startswith("Defaults of `optishear compare`")]
    assert "`rounds` is `1`" in compare
