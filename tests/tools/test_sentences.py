"""Only tests of the wording quote sentences."""

from pathlib import Path

import sentences


def test_no_other_test_quotes_a_sentence() -> None:
    quoted = [
        f"{file.relative_to(sentences.TESTS)}:{line}: {text}"
        for file in sentences.TESTS.rglob("*.py")
        for line, text in sentences.sentences(file)
    ]
    assert not quoted, "\n".join(["see tests/wording.py:", *quoted])


def test_what_counts_as_a_sentence(tmp_path: Path) -> None:
    long = "The parameter sequences cannot be 0: input should be greater"
    file = tmp_path / "test_it.py"
    file.write_text(
        f'def test_decision():\n    assert reason == "{long}"\n    assert reason == "short"\n'
        f'    with pytest.raises(InputError, match=f"{{name}} {long}"):\n        pass\n    name = "{long}"\n'
        f'def test_wording():\n    assert reason == "{long}"\n'
    )
    assert [line for line, _ in sentences.sentences(file)] == [2, 4]
    assert [line for line, _ in sentences.sentences(file, of_wording=True)] == [2, 4, 8]
