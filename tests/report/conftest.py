"""A run that ends better than Wanda: its metrics, its recipe, its trials."""

import pyarrow as pa
import pytest

from optishear.recipes.recipe import Recipe
from optishear.run_metrics.schema import RunMetrics
from run_metrics.samples import make_metrics

from .samples import make_recipe, make_trials


@pytest.fixture
def metrics() -> RunMetrics:
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
