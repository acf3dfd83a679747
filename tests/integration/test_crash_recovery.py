"""kill -9 of the service and of its workers: nothing that was answered is lost, and nothing is left behind."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from nabla.app.schemas.jobs import JobView
from tests.conftest import StartService
from tests.support import scenarios
from tests.support.scenarios import EPOCHS, Result, long, many_rows, result, started
from tests.support.service import RunningService, assert_gone

STEP = EPOCHS // 8


def test_kill_of_the_service_loses_nothing_and_the_job_goes_on(
    start_service: StartService, undisturbed: Result
) -> None:
    service = start_service(checkpoint_seconds="0.05")
    network, dataset = scenarios.network(service, name="kept"), many_rows(service, name="kept")
    job = long(service, network_id="kept", dataset_id="kept", name="kept")
    waiting = scenarios.job(service, epochs=1)
    cancelled = scenarios.job(service)
    service.post(f"/v1/jobs/{cancelled['id']}/cancel")
    reached = 0
    for kill in range(3):
        service.trained(job["id"], reached + STEP)
        workers = service.workers()
        service.kill()
        assert_gone(workers)
        service.start()
        now = service.get(f"/v1/jobs/{job['id']}")
        assert now["state"] in ("queued", "running")
        assert now["epoch"] > reached  # it goes on from a checkpoint, not from the start
        reached = now["epoch"]
        assert service.get(f"/v1/jobs/{cancelled['id']}")["state"] == "cancelled"
        assert service.get("/v1/networks/kept") == network
        assert service.get("/v1/datasets/kept") == dataset
        assert kill < 3
    done = service.finished(job["id"])
    assert (done.state, done.epoch, done.attempts) == ("succeeded", EPOCHS, 4)
    assert result(service, job) == undisturbed
    assert done.cost == undisturbed[1][-1][1]
    assert service.finished(waiting["id"]).state == "succeeded"
    files = sorted(file.name for file in (service.folder / "networks" / network["id"]).iterdir())
    kept = service.get(f"/v1/jobs/{job['id']}/checkpoints")["data"]
    assert [file.split(".")[0] for file in files if file.endswith(".safetensors")] == ["0", f"{job['id']}-4"]
    assert len([file for file in files if file.endswith(".checkpoint")]) == len(kept) == 2
    assert len(files) == 4


def test_kill_of_a_worker_requeues_its_job_alone_once(start_service: StartService) -> None:
    service = start_service(cpu_slots="2", checkpoint_seconds="0.05")
    # Networks that take the data as they are stored have their files mapped.
    networks = [scenarios.network(service, dtype="float64")["id"] for _ in range(3)]
    other = scenarios.endless(service, network_id=networks[0])
    service.trained(other["id"], 1)
    job = long(service, network_id=networks[1])
    service.trained(job["id"], STEP)
    kill_worker_of(service, job["id"], other["id"])
    done = service.finished(job["id"])
    assert (done.state, done.attempts) == ("succeeded", 2)
    undisturbed = long(service, network_id=networks[2])
    service.finished(undisturbed["id"])
    assert result(service, job) == result(service, undisturbed)
    now = service.get(f"/v1/jobs/{other['id']}")
    assert (now["state"], now["attempts"]) == ("running", 1)


def test_a_job_whose_workers_keep_dying_fails_and_the_next_one_runs(start_service: StartService) -> None:
    service = start_service()
    job = scenarios.endless(service)
    following = scenarios.job(service, epochs=1)
    deaths = 0
    for event in service.follow(job["id"]):
        if isinstance(event, JobView) and event.state == "running":
            deaths += 1
            for worker in service.workers():
                os.kill(worker, signal.SIGKILL)
    assert deaths == 2
    now = service.get(f"/v1/jobs/{job['id']}")
    assert (now["state"], now["error"]["kind"]) == ("failed", "worker_died")
    assert "signal 9" in now["error"]["message"]
    assert service.finished(following["id"]).state == "succeeded"


def kill_worker_of(service: RunningService, job_id: str, other: str) -> None:
    """Kill the worker that has the job's data mapped, and not that of the job `other`."""
    before = service.get(f"/v1/jobs/{job_id}")
    assert before["state"] == "running"
    for worker in service.workers():
        maps = Path(f"/proc/{worker}/maps").read_text()
        if before["dataset_id"] in maps and service.get(f"/v1/jobs/{other}")["dataset_id"] not in maps:
            os.kill(worker, signal.SIGKILL)
            return
    raise AssertionError("no worker has the job's data mapped")


@pytest.mark.parametrize("end", [RunningService.terminate, RunningService.kill])
def test_ending_the_service_ends_its_workers(
    start_service: StartService, end: Callable[[RunningService], object]
) -> None:
    service = start_service()
    job = scenarios.endless(service)
    started(service, job["id"])
    workers = service.workers()
    assert workers
    end(service)
    assert_gone(workers)


def test_sigterm_saves_what_runs_while_somebody_follows(start_service: StartService) -> None:
    service = start_service(checkpoint_seconds="1000")
    job = scenarios.endless(service)
    service.trained(job["id"], 1000)
    stream = service.follow(job["id"])
    next(stream)
    assert service.terminate() == 0
    del stream
    service.http.close()
    service.http = type(service.http)(base_url=service.url, timeout=60)
    service.start()
    now = service.get(f"/v1/jobs/{job['id']}")
    assert now["epoch"] >= 1000


def test_a_second_service_on_the_same_folder_says_so(start_service: StartService) -> None:
    service = start_service()
    service.get("/health/live")
    other = RunningService(service.folder)
    try:
        assert other.process.wait(30) == 1
        lines = [line for line in other.log.read_text().splitlines() if "Another service uses" in line]
        assert len(lines) == 1
        assert "Traceback" not in other.log.read_text()
    finally:
        other.close()
    assert service.get("/health/live") == {"status": "live"}
