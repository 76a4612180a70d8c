"""A run that ends better than Wanda: its metrics, its recipe, its trials."""

from typing import Any

import pyarrow as pa
import pytest

from optishear.recipes.recipe import Recipe

from .samples import make_metrics, make_recipe, make_trials


@pytest.fixture
def metrics() -> dict[str, Any]:
    """A run that ends better than Wanda, with tasks."""
    return make_metrics()


@pytest.fixture
def recipe() -> Recipe:
    """A recipe with one ratio per decoder layer."""
    return make_recipe()


@pytest.fixture
def trials() -> pa.Table:
    """Trials with two objectives."""
    return make_trials()
