"""Pipelines on workers: a worker is lost, a stage fails and is retried, two runs want the same.

All tests share the servers and the run ``lost``, whose worker is killed before the first of them.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from servers.conftest import Lost, Mended, Servers, label_of
from servers.processes import wait_until

POOLS = ("cpu", "gpu", "shard")

pytestmark = [pytest.mark.servers, pytest.mark.usefixtures("lost")]


def names(runs: list[dict[str, Any]]) -> list[str]:
    return [label_of(run) for run in runs]


def test_deploying_again_changes_nothing(servers: Servers) -> None:
    def everything() -> list[Any]:
        deployments = servers.api("POST", "deployments/filter", {})
        automations = servers.api("POST", "automations/filter", {})
        return [
            sorted((each["id"], each["name"], each["work_pool_name"], len(each["schedules"])) for each in deployments),
            [(each["id"], each["updated"]) for each in automations],
            {name: servers.api("GET", f"work_pools/{name}")["concurrency_limit"] for name in POOLS},
        ]

    before = everything()
    again = servers.command("deploy", "--gpus", "2")
    assert again.returncode == 0, again.stderr
    assert everything() == before
    deployments, automations, limits = before
    by_pool = {pool: {each[1] for each in deployments if each[2] == pool} for pool in POOLS}
    assert by_pool["cpu"] >= {"nightly", "pipeline", "calibrate"}
    assert by_pool["gpu"] >= {"statistics", "search", "prune", "evaluate"}
    assert len(deployments) == sum(map(len, by_pool.values()))
    assert len(automations) == 2
    assert by_pool["shard"] == {f"{name}-shard" for name in by_pool["gpu"]}
    assert limits == {"cpu": None, "gpu": 2, "shard": None}
    assert "CUDA_VISIBLE_DEVICES=1 prefect worker start" in again.stdout
    assert "--name gpu-1 --limit 1" in again.stdout


def test_the_nights_are_scheduled(servers: Servers) -> None:
    nightly = servers.api("GET", "deployments/name/nightly/nightly")
    (schedule,) = nightly["schedules"]
    assert (schedule["active"], schedule["schedule"]["cron"]) == (True, "0 2 * * *")

    def nights() -> list[dict[str, Any]]:
        scheduled: list[dict[str, Any]] = servers.api(
            "POST",
            "flow_runs/filter",
            {
                "deployments": {"id": {"any_": [nightly["id"]]}},
                "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
            },
        )
        return scheduled

    wait_until(lambda: len(nights()) > 1, "the server to plan the coming nights")
    assert {run["expected_start_time"][11:16] for run in nights()} == {"02:00"}


def test_a_failure_tells_its_reason_in_one_sentence(mended: Mended) -> None:
    assert mended.failed["state_type"] == "FAILED"
    message = mended.failed["state"]["message"]
    assert message.startswith("The evaluation text ")
    assert "\n" not in message
    assert mended.started == ["speed", "statistics", "search", "evaluate dense"]


def test_a_retry_runs_only_what_had_failed(servers: Servers, mended: Mended) -> None:
    runs = servers.children(mended.run)
    assert names(runs)[:8] == [*mended.started, "evaluate dense", "evaluate wanda", "prune", "evaluate pruned"]
    assert [run["state_type"] for run in runs] == ["COMPLETED"] * 3 + ["FAILED"] + ["COMPLETED"] * (len(runs) - 4)
    assert {name for name in names(runs) if names(runs).count(name) > 1} == {"evaluate dense"}
    tasks = servers.tasks(mended.run)
    assert servers.flow_run(mended.run)["run_count"] == 2
    for name in ("calibrate", "statistics", "search"):
        states = [each["state_name"] for each in tasks if label_of(each) == name]
        assert states[-1] == "Cached", (name, states)
    assert set(servers.flow_run(mended.run)["tags"]) >= {"optishear", "tiny-llama", "50 %"}
    assert set(runs[0]["tags"]) >= {"optishear", "tiny-llama", "50 %"}
    metrics = json.loads((servers.folder / "mended" / "metrics.json").read_text())
    assert metrics["pruned"]["perplexity"] > 1
    assert metrics["achieved_sparsity"] == pytest.approx(0.5, abs=0.001)


def test_the_page_of_a_run_shows_what_it_made(servers: Servers, mended: Mended) -> None:
    shown = servers.artifacts(mended.run)
    assert {"comparison-table", "comparison", "layer-ratios", "pareto-front", "mlflow-run"} <= set(shown)
    assert "| perplexity (lower is better) |" in shown["comparison-table"]["data"]
    for figure in ("comparison", "layer-ratios", "pareto-front"):
        assert shown[figure]["data"].startswith("data:image/png;base64,")
    assert servers.mlflow_url in shown["mlflow-run"]["data"]


def measurements(journal: Path) -> list[tuple[str, int]]:
    """What each line of a journal holds: a key, and on how many sequences it was measured so far."""
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    return [(record["key"], len(record["values"]["seconds"])) for record in records]


def test_a_lost_worker_costs_what_it_was_doing_and_nothing_else(servers: Servers, lost: Lost) -> None:
    assert servers.ended(lost.run)["state_type"] == "COMPLETED"
    # The first run on a new pool asks it for its precision and its speed before its stages begin.
    runs = [run for run in servers.children(lost.run) if label_of(run) not in ("precision", "speed")]
    assert names(runs)[:3] == ["statistics", "search", "search"]
    assert [run["state_type"] for run in runs[1:3]] == ["CRASHED", "COMPLETED"]
    assert "No heartbeat for 90 seconds" in servers.flow_run(lost.search)["state"]["message"]
    assert servers.artifacts(runs[2]["id"])["search"]["data"] > 0
    # The search went on: every line of the journal is another measurement.
    lines = measurements(lost.journal)
    assert len(lines) == len(set(lines)) > lost.measured
    trials = pq.read_table(servers.folder / "lost" / "trials.parquet").to_pylist()
    assert sum(trial["chosen"] for trial in trials) == 1


def test_stages_share_a_process_and_each_can_be_cancelled(servers: Servers, settings: dict[str, Any]) -> None:
    output = servers.folder / "cancelled"
    run = servers.start(
        "pipeline/pipeline", {"parameters": {**settings, "trials": 4000, "seed": 3, "output": str(output)}}
    )

    def searching() -> dict[str, Any] | None:
        runs = [each for each in servers.children(run) if label_of(each) == "search"]
        return runs[0] if runs and runs[0]["state_type"] == "RUNNING" else None

    wait_until(searching, "the search", 300)
    statistics, search = servers.children(run)[-2:]
    asked = servers.api("POST", f"flow_runs/{search['id']}/set_state", {"state": {"type": "CANCELLING"}})
    assert asked["status"] == "ACCEPT"
    assert servers.ended(search["id"], 120)["state_type"] == "CANCELLED"
    assert servers.ended(run, 120)["state_type"] in ("FAILED", "CANCELLED")
    # Last, so that the search does not take a worker from other tests where this fails.
    assert names([statistics, search]) == ["statistics", "search"]
    assert search["infrastructure_pid"] == statistics["infrastructure_pid"]


def test_two_runs_of_one_key_compute_once(servers: Servers, lost: Lost, mended: Mended) -> None:
    search = next(run for run in servers.children(lost.run) if label_of(run) == "search")
    parameters = search["parameters"]
    parameters["parameters"] |= {"seed": 7, "trials": 100}
    known = set(servers.home.glob("artifacts/search/search-*"))
    before = len(lost.journal.read_bytes().splitlines())
    both = [servers.start("search-stage/search", parameters) for _ in range(2)]
    assert [servers.ended(run)["state_type"] for run in both] == ["COMPLETED", "COMPLETED"]
    first, second = sorted((servers.flow_run(run) for run in both), key=lambda run: run["start_time"])
    assert second["start_time"] < first["end_time"]
    (made,) = set(servers.home.glob("artifacts/search/search-*")) - known
    assert pq.read_table(made / "trials.parquet").num_rows > 0
    lines = measurements(lost.journal)
    assert len(lines) == len(set(lines))
    assert len(lines) > before
