"""SIGKILL and SIGTERM of the service and its workers: no acknowledged write is lost, and no processes are left."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from nabla.app.schemas.jobs import JobView
from tests.conftest import StartService
from tests.support import scenarios
from tests.support.scenarios import (
    LONG_JOB_EPOCHS,
    TrainingResult,
    create_2000_row_dataset,
    submit_long_job,
    training_result,
    wait_until_running,
)
from tests.support.service import RunningService, assert_exited

STEP = LONG_JOB_EPOCHS // 8


def test_killed_service_loses_nothing_and_resumes_its_job(
    start_service: StartService, uninterrupted: TrainingResult
) -> None:
    service = start_service(checkpoint_interval="0.05")
    network, dataset = (
        scenarios.create_network(service, name="persistent"),
        create_2000_row_dataset(service, name="persistent"),
    )
    job = submit_long_job(service, network_id="persistent", dataset_id="persistent", name="persistent")
    waiting = scenarios.submit_job(service, epochs=1)
    cancelled = scenarios.submit_job(service)
    service.post(f"/v1/jobs/{cancelled['id']}/cancel")
    reached = 0
    for kill in range(3):
        service.wait_for_epoch(job["id"], reached + STEP)
        workers = service.worker_pids()
        service.kill()
        assert_exited(workers)
        service.start()
        current = service.get(f"/v1/jobs/{job['id']}")
        assert current["state"] in ("queued", "running")
        assert current["epoch"] > reached  # it resumes from a checkpoint, not from the start
        reached = current["epoch"]
        assert service.get(f"/v1/jobs/{cancelled['id']}")["state"] == "cancelled"
        assert service.get("/v1/networks/persistent") == network
        assert service.get("/v1/datasets/persistent") == dataset
        assert kill < 3
    finished = service.wait_for_job(job["id"])
    assert (finished.state, finished.epoch, finished.attempts) == ("succeeded", LONG_JOB_EPOCHS, 4)
    assert training_result(service, job) == uninterrupted
    assert finished.cost == uninterrupted[1][-1][1]
    assert service.wait_for_job(waiting["id"]).state == "succeeded"
    files = sorted(file.name for file in (service.data_dir / "networks" / network["id"]).iterdir())
    checkpoints = service.get(f"/v1/jobs/{job['id']}/checkpoints")["data"]
    assert [file.split(".")[0] for file in files if file.endswith(".safetensors")] == ["0", f"{job['id']}-4"]
    assert len([file for file in files if file.endswith(".checkpoint")]) == len(checkpoints) == 2
    assert len(files) == 4


def test_killed_worker_requeues_only_its_own_job(start_service: StartService) -> None:
    service = start_service(cpu_slots="2", checkpoint_interval="0.05")
    # Files are mapped only for networks with the dtype of the stored data; for others they are converted.
    networks = [scenarios.create_network(service, dtype="float64")["id"] for _ in range(3)]
    other = scenarios.submit_endless_job(service, network_id=networks[0])
    service.wait_for_epoch(other["id"], 1)
    job = submit_long_job(service, network_id=networks[1])
    service.wait_for_epoch(job["id"], STEP)
    kill_worker_of(service, job["id"], other["id"])
    finished = service.wait_for_job(job["id"])
    assert (finished.state, finished.attempts) == ("succeeded", 2)
    uninterrupted = submit_long_job(service, network_id=networks[2])
    service.wait_for_job(uninterrupted["id"])
    assert training_result(service, job) == training_result(service, uninterrupted)
    current = service.get(f"/v1/jobs/{other['id']}")
    assert (current["state"], current["attempts"]) == ("running", 1)


def test_job_fails_after_two_worker_crashes_and_the_next_job_runs(start_service: StartService) -> None:
    service = start_service()
    job = scenarios.submit_endless_job(service)
    next_job = scenarios.submit_job(service, epochs=1)
    deaths = 0
    for event in service.follow(job["id"]):
        if isinstance(event, JobView) and event.state == "running":
            deaths += 1
            for worker in service.worker_pids():
                os.kill(worker, signal.SIGKILL)
    assert deaths == 2
    current = service.get(f"/v1/jobs/{job['id']}")
    assert (current["state"], current["error"]["kind"]) == ("failed", "worker_died")
    assert "signal 9" in current["error"]["message"]
    assert service.wait_for_job(next_job["id"]).state == "succeeded"


def kill_worker_of(service: RunningService, job_id: str, other: str) -> None:
    """Kill the worker that has mapped the dataset of the job, and not that of the job `other`."""
    before = service.get(f"/v1/jobs/{job_id}")
    assert before["state"] == "running"
    for worker in service.worker_pids():
        maps = Path(f"/proc/{worker}/maps").read_text()
        if before["dataset_id"] in maps and service.get(f"/v1/jobs/{other}")["dataset_id"] not in maps:
            os.kill(worker, signal.SIGKILL)
            return
    raise AssertionError("no worker has mapped the dataset of the job")


@pytest.mark.parametrize("stop", [RunningService.terminate, RunningService.kill])
def test_workers_end_with_the_service(start_service: StartService, stop: Callable[[RunningService], object]) -> None:
    service = start_service()
    job = scenarios.submit_endless_job(service)
    wait_until_running(service, job["id"])
    workers = service.worker_pids()
    assert workers
    stop(service)
    assert_exited(workers)


def test_sigterm_saves_the_running_job_while_a_client_follows_it(start_service: StartService) -> None:
    service = start_service(checkpoint_interval="1000")
    job = scenarios.submit_endless_job(service)
    service.wait_for_epoch(job["id"], 1000)
    stream = service.follow(job["id"])
    next(stream)
    assert service.terminate() == 0
    del stream
    service.reconnect()
    service.start()
    current = service.get(f"/v1/jobs/{job['id']}")
    assert current["epoch"] >= 1000


def test_second_service_on_the_same_data_dir_exits_with_an_error(start_service: StartService) -> None:
    service = start_service()
    service.get("/health/live")
    other = RunningService(service.data_dir)
    try:
        assert other.process.wait(30) == 1
        lines = [line for line in other.log.read_text().splitlines() if "Another service uses" in line]
        assert len(lines) == 1
        assert "Traceback" not in other.log.read_text()
    finally:
        other.close()
    assert service.get("/health/live") == {"status": "live"}
