"""Values that are parsed once are written as the text that they were read from."""

from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from optishear.named_source import NamedModel, NamedSource, parse_named_model, parse_named_source
from optishear.pattern import Pattern
from optishear.units import Duration


class Everything(BaseModel):
    sparsity: Pattern = Field("0.5", validate_default=True)
    budget: Duration | None = None
    texts: list[NamedSource] = []
    models: list[NamedModel] = []


WRITTEN: dict[str, Any] = {"sparsity": "2:4", "budget": "1.5m", "texts": ["a=b=c"], "models": ["x=y", "z", "a/b=c"]}
READ = Everything(
    sparsity=Pattern(0.5, 2, 4),
    budget=Duration("1.5m", 90),
    texts=[NamedSource("a", "b=c")],
    models=[NamedModel("x", "y"), NamedModel("", "z"), NamedModel("", "a/b=c")],
)


def test_text_is_read_and_written() -> None:
    assert Everything(**WRITTEN) == READ
    assert READ.model_dump() == READ.model_dump(mode="json") == WRITTEN
    assert Everything.model_validate_json(READ.model_dump_json()) == READ
    assert Everything().model_dump(mode="json") == {"sparsity": "0.5", "budget": None, "texts": [], "models": []}


def test_a_form_asks_for_text() -> None:
    properties = Everything.model_json_schema()["properties"]
    assert properties["sparsity"] == {"default": "0.5", "title": "Sparsity", "type": "string"}
    assert properties["budget"]["anyOf"] == [{"type": "string"}, {"type": "null"}]
    assert properties["texts"]["items"] == {"type": "string"}
    assert Everything.model_json_schema(mode="serialization")["properties"]["models"]["items"] == {"type": "string"}


@pytest.mark.parametrize(
    ("field", "value"),
    [("sparsity", "2"), ("sparsity", None), ("budget", 90), ("budget", "90"), ("texts", ["a"]), ("models", [3])],
)
def test_anything_else_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        Everything(**{field: value})


@pytest.mark.parametrize("text", ["", "a", "=a", "a=", "=", 3])
def test_what_is_no_named_source(text: Any) -> None:
    with pytest.raises(ValueError, match="is not NAME=SOURCE"):
        parse_named_source(text)


@pytest.mark.parametrize("text", ["", "=a", "a=", "=", 3, None])
def test_what_is_no_named_model(text: Any) -> None:
    with pytest.raises(ValueError, match="is neither a model nor NAME=MODEL"):
        parse_named_model(text)


def test_a_duration_several_times_is_one_that_is_read_back() -> None:
    assert Everything(budget=str(Duration("10m", 600).times(3))).budget == Duration("1800s", 1800)
