"""Where stages run: in process without a pool, on the pool where a server has one."""

from collections.abc import Iterator

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate

from flows.parameters.statistics import StatisticsParameters
from optishear.parameters.model import ModelParameters
from tasks.engine import placement
from tasks.engine.placement import GPU_POOL, check_placement, deployment_of, pool_of, uses_deployments
from tasks.stages.parameters import RecoverStageParameters, SearchStageParameters
from wording import refused

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def gpu_pool() -> Iterator[None]:
    """A pool, as long as the test needs it."""
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=GPU_POOL, type="process"))
        placement._has_pool.cache_clear()
        yield
        client.delete_work_pool(GPU_POOL)
    placement._has_pool.cache_clear()


def test_auto_is_in_process_without_a_pool() -> None:
    assert not uses_deployments(StatisticsParameters())


@pytest.mark.usefixtures("gpu_pool")
def test_auto_takes_the_pool_where_there_is_one() -> None:
    assert uses_deployments(StatisticsParameters())
    check_placement(StatisticsParameters(placement="deployments"))


@pytest.mark.usefixtures("gpu_pool")
def test_a_model_on_all_gpus_has_a_pool_of_its_own() -> None:
    parameters = StatisticsParameters(device="shard")
    assert pool_of(parameters) == "shard"
    assert deployment_of("statistics", parameters) == "statistics-stage/statistics-shard"
    assert deployment_of("statistics", StatisticsParameters(device="cuda")) == "statistics-stage/statistics"
    assert not uses_deployments(parameters)
    with refused("'shard'", "optishear deploy"):
        check_placement(StatisticsParameters(device="shard", placement="deployments"))


def test_a_recovery_on_several_gpus_runs_where_all_are_seen() -> None:
    given = {"recovery_tokens": 4096, "recovery_gpus": 2}
    assert deployment_of("recover", RecoverStageParameters(**given)) == "recover-stage/recover-shard"
    given["recovery_gpus"] = 1
    assert deployment_of("recover", RecoverStageParameters(**given)) == "recover-stage/recover"


def test_a_search_with_workers_runs_where_all_gpus_are_seen() -> None:
    assert deployment_of("search", SearchStageParameters(workers=2)) == "search-stage/search-shard"
    assert deployment_of("search", SearchStageParameters()) == "search-stage/search"


@pytest.mark.usefixtures("gpu_pool")
def test_in_process_never_takes_it() -> None:
    assert not uses_deployments(StatisticsParameters(placement="in_process"))


@pytest.mark.usefixtures("gpu_pool")
def test_what_was_handed_over_is_not_handed_over_again() -> None:
    assert not uses_deployments(ModelParameters())


def test_a_pool_that_is_missing_is_one_sentence() -> None:
    with refused("gpu", "PREFECT_API_URL", "optishear deploy"):
        check_placement(StatisticsParameters(placement="deployments"))
