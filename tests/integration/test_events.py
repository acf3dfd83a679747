"""Event streams: order, resumption, sampling, many and slow subscribers, shutdown and crashes."""

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from nabla.app.schemas.jobs import EpochView
from tests.conftest import StartService
from tests.integration.test_jobs import raw_events
from tests.support import scenarios
from tests.support.scenarios import create_2000_row_dataset, wait_until_running
from tests.support.service import TIMEOUT_SECONDS, RunningService, assert_exited


def iter_events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """Yield events as they arrive."""
    event: dict[str, Any] = {}
    for line in response.iter_lines():
        if line.startswith(":"):
            continue
        if not line and event:
            yield {**event, "data": json.loads(event["data"])}
            event = {}
        elif line:
            name, _, value = line.partition(": ")
            event[name] = value


def is_state(event: dict[str, Any], job_id: str, state: str) -> bool:
    return event["event"] == "state" and (event["data"]["id"], event["data"]["state"]) == (job_id, state)


def test_stream_of_all_jobs_starts_now_or_after_an_event(service: RunningService) -> None:
    earlier = scenarios.submit_job(service, epochs=1)
    service.wait_for_job(earlier["id"])
    with service.http.stream("GET", "/v1/events") as stream:
        jobs = [scenarios.submit_job(service, epochs=3) for _ in range(2)]
        received = []
        for event in iter_events(stream):
            received.append(event)
            if is_state(event, jobs[1]["id"], "succeeded"):
                break
    numbers = [int(event["id"]) for event in received]
    assert numbers == sorted(set(numbers))
    job_ids = [event["data"]["id"] if event["event"] == "state" else event["data"]["job_id"] for event in received]
    assert set(job_ids) == {job["id"] for job in jobs}
    for job in jobs:
        types = [event["event"] for event, job_id in zip(received, job_ids, strict=True) if job_id == job["id"]]
        assert types == ["state", "state", "epoch", "epoch", "epoch", "state"]
    middle = len(received) // 2
    with service.http.stream("GET", "/v1/events", headers={"Last-Event-ID": received[middle]["id"]}) as stream:
        rest = [event for _, event in zip(received[middle + 1 :], iter_events(stream), strict=False)]
    assert rest == received[middle + 1 :]


def test_interrupted_stream_resumes_after_any_event(service: RunningService) -> None:
    job = scenarios.submit_job(service, epochs=6)
    complete = raw_events(service, job["id"])
    for index, event in enumerate(complete):
        assert raw_events(service, job["id"], last_id=int(event["id"])) == complete[index + 1 :]


def test_epoch_events_match_the_history(service: RunningService) -> None:
    job = scenarios.submit_job(service, epochs=40, validation={"fraction": 0.25})
    data = [json.loads(event["data"]) for event in raw_events(service, job["id"]) if event["event"] == "epoch"]
    assert {epoch.pop("job_id") for epoch in data} == {job["id"]}
    assert data == service.get(f"/v1/jobs/{job['id']}/history")["data"]
    assert [*data[0]] == [*EpochView.model_fields]


def test_sampled_stream_has_only_the_last_epochs(service: RunningService) -> None:
    with service.http.stream("GET", "/v1/events?epochs=last") as stream:
        job = scenarios.submit_job(service, epochs=40_000)
        received = []
        for event in iter_events(stream):
            if event["data"].get("job_id", event["data"].get("id")) != job["id"]:
                continue
            received.append(event)
            if is_state(event, job["id"], "succeeded"):
                break
    numbers = [int(event["id"]) for event in received]
    assert numbers == sorted(set(numbers))
    states = [event["data"]["state"] for event in received if event["event"] == "state"]
    assert states == ["queued", "running", "succeeded"]
    epochs = [event["data"]["epoch"] for event in received if event["event"] == "epoch"]
    assert epochs == sorted(set(epochs))
    assert 2 <= len(epochs) < 4000
    assert epochs[-1] == 40_000


def test_all_subscribers_receive_the_same_events(service: RunningService) -> None:
    job = scenarios.submit_job(service, epochs=3000)
    received: list[list[dict[str, Any]]] = []

    def read() -> None:
        with httpx.Client(base_url=service.url, timeout=TIMEOUT_SECONDS) as client:
            received.append([*iter_events(client.send(client.build_request("GET", path)))])

    path = f"/v1/jobs/{job['id']}/events"
    threads = [threading.Thread(target=read) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(received) == 50
    assert all(events == received[0] for events in received)
    assert [event["data"]["epoch"] for event in received[0] if event["event"] == "epoch"] == list(range(1, 3001))


def test_slow_subscriber_delays_nothing_and_misses_nothing(service: RunningService) -> None:
    # 40,000 events exceed all buffers between service and subscriber.
    job = scenarios.submit_job(service, epochs=40_000)
    with socket.create_connection(("127.0.0.1", httpx.URL(service.url).port or 0)) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**17)
        slow.sendall(f"GET /v1/jobs/{job['id']}/events HTTP/1.1\r\nHost: [::]\r\nConnection: close\r\n\r\n".encode())
        assert service.wait_for_job(job["id"]).state == "succeeded"
        slow.settimeout(TIMEOUT_SECONDS)
        content = b"".join(iter(lambda: slow.recv(2**20), b""))
    assert content.count(b"event: epoch\n") == 40_000
    assert content.count(b'"state":"succeeded"') == 1


def test_sigterm_saves_jobs_and_ends_fifty_streams(start_service: StartService) -> None:
    service = start_service(cpu_slots="2", cores_per_cpu_slot="1", checkpoint_interval="1000")
    dataset = create_2000_row_dataset(service)["id"]
    jobs = [scenarios.submit_endless_job(service, dataset_id=dataset) for _ in range(2)]
    for job in jobs:
        service.wait_for_epoch(job["id"], 5)
    epochs_before = [service.get(f"/v1/jobs/{job['id']}")["epoch"] for job in jobs]
    with ExitStack() as stack:
        client = stack.enter_context(
            httpx.Client(base_url=service.url, timeout=TIMEOUT_SECONDS, limits=httpx.Limits(max_connections=None))
        )
        for number in range(50):
            path = "/v1/events" if number % 2 else f"/v1/jobs/{jobs[0]['id']}/events"
            stream = stack.enter_context(client.stream("GET", path))
            next(stream.iter_raw())
        assert service.terminate() == 0
    service.http.close()
    service.http = httpx.Client(base_url=service.url, timeout=TIMEOUT_SECONDS)
    service.start()
    for job, epoch in zip(jobs, epochs_before, strict=True):
        resumed = service.get(f"/v1/jobs/{job['id']}")
        assert resumed["state"] in ("queued", "running")
        assert resumed["epoch"] >= epoch
        assert resumed["attempts"] <= 2
        assert resumed["retries"] == 0


def shared_memory() -> set[Path]:
    """Return the files in shared memory, except those of tests that run at the same time."""
    return {path for path in Path("/dev/shm").iterdir() if not path.name.startswith("tests-")}


def test_killed_service_leaves_no_processes_or_files(start_service: StartService) -> None:
    service = start_service(cpu_slots="2", cores_per_cpu_slot="1")
    before = shared_memory()
    job = scenarios.submit_endless_job(service)
    wait_until_running(service, job["id"])
    # A worker that is still starting has not yet asked the kernel to end it with the service.
    while any(slot["state"] == "starting" for device in service.get("/v1/devices")["data"] for slot in device["slots"]):
        pass
    workers = service.worker_pids()
    os.kill(workers[0], signal.SIGSTOP)
    service.kill()
    assert_exited(workers)
    assert shared_memory() <= before
    assert not [*service.data_dir.glob("**/.unfinished*")]


def test_unknown_last_event_id_starts_from_the_beginning(service: RunningService) -> None:
    # Clients send one if the data directory was replaced by an older one.
    job = scenarios.submit_job(service, epochs=2)
    service.wait_for_job(job["id"])
    path, future = f"/v1/jobs/{job['id']}/events", {"Last-Event-ID": str(2**63 - 1)}
    with service.http.stream("GET", path, headers=future) as stream:
        types = [event["event"] for event in iter_events(stream)]
    assert types == ["state", "state", "epoch", "epoch", "state"]
    with service.http.stream("GET", "/v1/events", headers=future) as stream:
        other = scenarios.submit_job(service, epochs=1)
        assert next(iter_events(stream))["data"]["id"] == other["id"]
    rejected = service.http.get(path, headers={"Last-Event-ID": str(2**63)})
    assert (rejected.status_code, rejected.json()["errors"][0]["field"]) == (422, "Last-Event-ID")


def test_state_events_have_no_transient_fields(service: RunningService) -> None:
    # They depend on the current queue, which a recorded state does not contain.
    job = scenarios.submit_job(service, epochs=1)
    with service.http.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
        first = next(iter_events(stream))["data"]
    assert set(job) - set(first) == {"queue_position", "blocked_by", "pausing", "compiling"}
    assert set(first) < set(job)
