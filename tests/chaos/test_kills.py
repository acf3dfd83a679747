"""kill -9 of the service and of workers at random moments, under clients that check what was acknowledged.

The short form runs with all tests; NABLA_CHAOS_LONG=1 kills a thousand times. The seed that a failed run prints makes
the clients act the same again; the moments of the kills cannot be repeated.
"""

import os
import random
import signal
import threading
import time
from contextlib import suppress

from nabla.app.schemas.jobs import JobView
from tests.chaos import LONG
from tests.chaos.acknowledged_writes_client import ChaosClient
from tests.chaos.scenarios import RUNS, Run, result
from tests.conftest import StartService
from tests.support import scenarios
from tests.support.service import TIMEOUT_SECONDS, RunningService

KILLS = 1000 if LONG else 12
CLIENTS = 4
_MAX_PAUSE_SECONDS = 0.5


def test_nothing_acknowledged_is_lost(start_service: StartService) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    service = start_service(cpu_slots="2", cores_per_cpu_slot="1", checkpoint_interval="1000", max_queued_jobs="10000")
    inputs = scenarios.XOR_INPUTS * 100
    dataset = scenarios.create_dataset(service, inputs=inputs, labels=["no", "yes", "yes", "no"] * 100)["id"]
    expected = {id(run): train(service, run, dataset) for run in RUNS}
    answered = threading.Semaphore(0)
    clients = [ChaosClient(service.url, seed + number, dataset, answered) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    worker_kills = kill_at_random(service, random.Random(seed), clients, answered)
    for client in clients:
        client.ending.set()
    for client in clients:
        client.join()
        assert client.failure is None, f"{client.name}: {client.failure}"
        client.check_all()
    ended = {job: state for client in clients for job, state in client.facts.ended.items()}
    assert "succeeded" in ended.values()
    assert "succeeded" in [state for client in clients for state in client.facts.batches.values()]
    for client in clients:
        for job in client.facts.jobs.values():
            check_end(service, job.id, ended[job.id])
            if ended[job.id] == "succeeded":
                assert result(service, job.id) == expected[id(job.run)]
    failed = [job for job, state in ended.items() if state == "failed"]
    assert len(failed) <= worker_kills / 2  # each job survives one death of its worker
    assert_no_orphans(service)


def train(service: RunningService, run: Run, dataset: str) -> object:
    network = service.post("/v1/networks", run.network)
    job = service.post("/v1/jobs", {"network_id": network["id"], "dataset_id": dataset, **run.job})
    assert service.wait_for_job(job["id"]).state == "succeeded"
    return result(service, job["id"])


def kill_at_random(
    service: RunningService, chance: random.Random, clients: list[ChaosClient], answered: threading.Semaphore
) -> int:
    """Kill at random moments, after some more answers and a pause; return how many workers were killed."""
    worker_kills = 0
    for _ in range(KILLS):
        for _ in range(chance.choice([0, 2, 5, 10])):
            assert answered.acquire(timeout=TIMEOUT_SECONDS)
        time.sleep(chance.random() * _MAX_PAUSE_SECONDS)  # random on purpose
        for client in clients:
            assert client.failure is None, f"{client.name}: {client.failure!r}"
        if chance.random() < 0.3:
            for worker in service.worker_pids()[:1]:
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
                worker_kills += 1
        else:
            service.kill()
            service.start()
    return worker_kills


def check_end(service: RunningService, job: str, state: str) -> None:
    """Check that the job has one terminal state, once in all its events."""
    now = service.get(f"/v1/jobs/{job}")
    assert now["state"] == state
    if state == "failed":
        assert (now["error"]["kind"], now["retries"]) == ("worker_died", 1)
    terminal = [
        event.state for event in service.follow(job) if isinstance(event, JobView) and event.finished_at is not None
    ]
    assert terminal == [state]
    history = [epoch["epoch"] for epoch in service.get(f"/v1/jobs/{job}/history?limit=1000")["data"]]
    assert history == list(range(1, now["epoch"] + 1))


def assert_no_orphans(service: RunningService) -> None:
    """Check that after a start every file belongs to a record."""
    service.kill()
    service.start()
    service.get("/health/live")
    assert not [*(service.data_dir / "uploads").iterdir()]
    for directory in (service.data_dir / "datasets").iterdir():
        assert service.http.get(f"/v1/datasets/{directory.name}").status_code == 200
    for directory in (service.data_dir / "batches").iterdir():
        assert service.get(f"/v1/batch-predictions/{directory.name}")["state"] == "succeeded"
    networks = {directory.name: directory for directory in (service.data_dir / "networks").iterdir()}
    assert not [*service.data_dir.glob("**/.unfinished*")]
    for id, directory in networks.items():
        versions = service.get(f"/v1/networks/{id}/versions?limit=100")["data"]
        files = [file.name for file in directory.iterdir()]
        assert len([file for file in files if file.endswith(".safetensors")]) == len(versions)
        jobs = {file.split("-")[0] for file in files if file.endswith(".checkpoint")}
        assert all(service.http.get(f"/v1/jobs/{job}").status_code == 200 for job in jobs)
