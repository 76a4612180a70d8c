"""What ``optishear deploy`` says where it cannot work, and the workers that it names."""

from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.command_line.deploy import (
    copy_to_shard_pool,
    remove_former_deployments,
    shard_worker_command,
    worker_commands,
)
from flows.command_line.main import main


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error: ")]
    return line


def test_without_a_server_one_sentence_says_how_to_start_one(capsys: pytest.CaptureFixture[str]) -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        told = error_of(["deploy", "--gpus", "1"], capsys)
    assert "prefect server start" in told


def test_a_server_that_does_not_answer_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.command_line.deploy._SECONDS_TO_START", 0.0)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        told = error_of(["deploy", "--gpus", "1"], capsys)
    assert " http://127.0.0.1:9/api " in told


def test_elsewhere_than_in_the_repository_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "There is no 'prefect.yaml' here" in error_of(["deploy"], capsys)


def test_one_worker_for_each_gpu() -> None:
    cpu, first, second = worker_commands("http://h/api", 2)
    start = ["prefect", "worker", "start", "--pool"]
    assert cpu.split() == ["PREFECT_API_URL=http://h/api", "CUDA_VISIBLE_DEVICES=", *start, "cpu", "--name", "cpu"]
    for number, command in enumerate((first, second)):
        expected = [f"CUDA_VISIBLE_DEVICES={number}", *start, "gpu", "--name", f"gpu-{number}", "--limit", "1"]
        assert command.split()[-len(expected) :] == expected


def test_the_worker_of_all_gpus_sees_them() -> None:
    command = shard_worker_command("http://h/api")
    assert "CUDA_VISIBLE_DEVICES" not in command
    assert command.split()[-6:] == ["--pool", "shard", "--name", "shard", "--limit", "1"]


@pytest.mark.usefixtures("prefect_server")
def test_the_deployments_of_the_gpu_pool_are_copied_to_the_pool_shard() -> None:
    with get_client(sync_client=True) as client:
        for pool in ("gpu", "shard"):
            client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
        flow = client.create_flow_from_name("search-stage")
        values = {"tags": ["optishear"], "entrypoint": "flows.gpu_stages.search", "job_variables": {"env": {"A": "1"}}}
        client.create_deployment(flow, name="search", work_pool_name="gpu", **values)
        copies = []
        for _ in range(2):
            copy_to_shard_pool()
            copies.append(client.read_deployment_by_name("search-stage/search-shard"))
        assert copies[0].id == copies[1].id
        assert copies[1].work_pool_name == "shard"
        assert {name: getattr(copies[1], name) for name in values} == values
        with pytest.raises(ObjectNotFound):
            client.read_deployment_by_name("search-stage/search-shard-shard")
        for pool in ("gpu", "shard"):
            client.delete_work_pool(pool)


@pytest.mark.usefixtures("prefect_server")
def test_the_deployments_of_former_stages_are_deleted() -> None:
    with get_client(sync_client=True) as client:
        for stage in ("judge", "search"):
            client.create_deployment(client.create_flow_from_name(f"{stage}-stage"), name=stage)
        for _ in range(2):
            remove_former_deployments()
        assert client.read_deployment_by_name("search-stage/search").name == "search"
        with pytest.raises(ObjectNotFound):
            client.read_deployment_by_name("judge-stage/judge")
