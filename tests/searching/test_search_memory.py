"""What the memory of a search depends on, from its parameters."""

from typing import Any

import pytest

from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.searching.search_memory import search_work


@pytest.mark.parametrize(
    ("sparsity", "changes", "descends"),
    [
        ("0.5", {}, True),
        ("0.5", {"ratio_scope": "none"}, False),
        ("0.5", {"descent_steps": 0}, False),
        ("2:4", {}, False),
        ("2:4", {"dense_share": 0.1}, True),
    ],
)
def test_the_backward_passes_of_the_descent_are_planned(sparsity: str, changes: dict[str, Any], descends: bool) -> None:
    work = search_work(SearchParameters(**changes), 32, 64, parse_pattern(sparsity))
    assert work.descends == descends
