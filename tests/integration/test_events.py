"""What happens to jobs, told to any number of readers, each at its own pace."""

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
from tests.support.scenarios import many_rows, started
from tests.support.service import PATIENCE, RunningService, assert_gone


def events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    """As they come."""
    event: dict[str, Any] = {}
    for line in answer.iter_lines():
        if line.startswith(":"):
            continue
        if not line and event:
            yield {**event, "data": json.loads(event["data"])}
            event = {}
        elif line:
            name, _, value = line.partition(": ")
            event[name] = value


def test_all_jobs_from_now_on_and_from_an_event_on(service: RunningService) -> None:
    earlier = scenarios.job(service, epochs=1)
    service.finished(earlier["id"])
    with service.http.stream("GET", "/v1/events") as stream:
        jobs = [scenarios.job(service, epochs=3) for _ in range(2)]
        found = []
        for event in events(stream):
            found.append(event)
            if event["event"] == "state" and (event["data"]["id"], event["data"]["state"]) == (
                jobs[1]["id"],
                "succeeded",
            ):
                break
    numbers = [int(event["id"]) for event in found]
    assert numbers == sorted(set(numbers))
    of = [event["data"]["id"] if event["event"] == "state" else event["data"]["job_id"] for event in found]
    assert set(of) == {job["id"] for job in jobs}
    for job in jobs:
        own = [event["event"] for event, id in zip(found, of, strict=True) if id == job["id"]]
        assert own == ["state", "state", "epoch", "epoch", "epoch", "state"]
    middle = len(found) // 2
    with service.http.stream("GET", "/v1/events", headers={"Last-Event-ID": found[middle]["id"]}) as stream:
        rest = [event for _, event in zip(found[middle + 1 :], events(stream), strict=False)]
    assert rest == found[middle + 1 :]


def test_a_stream_that_breaks_anywhere_goes_on_there(service: RunningService) -> None:
    job = scenarios.job(service, epochs=6)
    whole = raw_events(service, job["id"])
    for place, event in enumerate(whole):
        assert raw_events(service, job["id"], last_id=int(event["id"])) == whole[place + 1 :]


def test_epochs_are_those_of_the_history(service: RunningService) -> None:
    job = scenarios.job(service, epochs=40, validation={"fraction": 0.25})
    data = [json.loads(event["data"]) for event in raw_events(service, job["id"]) if event["event"] == "epoch"]
    assert {epoch.pop("job_id") for epoch in data} == {job["id"]}
    assert data == service.get(f"/v1/jobs/{job['id']}/history")["data"]
    assert [*data[0]] == [*EpochView.model_fields]


def test_displays_are_told_the_last_epochs_alone(service: RunningService) -> None:
    with service.http.stream("GET", "/v1/events?epochs=last") as stream:
        job = scenarios.job(service, epochs=40_000)
        found = []
        for event in events(stream):
            if event["data"].get("job_id", event["data"].get("id")) != job["id"]:
                continue
            found.append(event)
            if event["event"] == "state" and event["data"]["state"] == "succeeded":
                break
    numbers = [int(event["id"]) for event in found]
    assert numbers == sorted(set(numbers))
    assert [event["data"]["state"] for event in found if event["event"] == "state"] == [
        "queued",
        "running",
        "succeeded",
    ]
    epochs = [event["data"]["epoch"] for event in found if event["event"] == "epoch"]
    assert epochs == sorted(set(epochs))
    assert 2 <= len(epochs) < 4000
    assert epochs[-1] == 40_000


def test_many_readers_hear_the_same(service: RunningService) -> None:
    job = scenarios.job(service, epochs=3000)
    heard: list[list[dict[str, Any]]] = []

    def read() -> None:
        with httpx.Client(base_url=service.url, timeout=PATIENCE) as client:
            heard.append([*events(client.send(client.build_request("GET", path)))])

    path = f"/v1/jobs/{job['id']}/events"
    readers = [threading.Thread(target=read) for _ in range(50)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(heard) == 50
    assert all(one == heard[0] for one in heard)
    assert [event["data"]["epoch"] for event in heard[0] if event["event"] == "epoch"] == list(range(1, 3001))


def test_a_reader_that_does_not_read_hinders_nobody_and_loses_nothing(service: RunningService) -> None:
    """40,000 events are more than all buffers in between can hold."""
    job = scenarios.job(service, epochs=40_000)
    with socket.create_connection(("127.0.0.1", httpx.URL(service.url).port or 0)) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**17)
        slow.sendall(f"GET /v1/jobs/{job['id']}/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert service.finished(job["id"]).state == "succeeded"
        slow.settimeout(PATIENCE)
        content = b"".join(iter(lambda: slow.recv(2**20), b""))
    assert content.count(b"event: epoch\n") == 40_000
    assert content.count(b'"state":"succeeded"') == 1


def test_sigterm_with_jobs_and_fifty_streams(start_service: StartService) -> None:
    service = start_service(cpu_slots="2", slot_cores="1", checkpoint_seconds="1000")
    dataset = many_rows(service)["id"]
    jobs = [scenarios.endless(service, dataset_id=dataset) for _ in range(2)]
    for job in jobs:
        service.trained(job["id"], 5)
    reached = [service.get(f"/v1/jobs/{job['id']}")["epoch"] for job in jobs]
    with ExitStack() as stack:
        client = stack.enter_context(
            httpx.Client(base_url=service.url, timeout=PATIENCE, limits=httpx.Limits(max_connections=None))
        )
        for number in range(50):
            path = "/v1/events" if number % 2 else f"/v1/jobs/{jobs[0]['id']}/events"
            stream = stack.enter_context(client.stream("GET", path))
            next(stream.iter_raw())
        assert service.terminate() == 0
    service.http.close()
    service.http = httpx.Client(base_url=service.url, timeout=PATIENCE)
    service.start()
    for job, epoch in zip(jobs, reached, strict=True):
        now = service.get(f"/v1/jobs/{job['id']}")
        assert now["state"] in ("queued", "running")
        assert now["epoch"] >= epoch
        assert now["attempts"] <= 2
        assert now["retries"] == 0


def shared_memory() -> set[Path]:
    """But for the files of tests that run at the same time."""
    return {path for path in Path("/dev/shm").iterdir() if not path.name.startswith("tests-")}


def test_a_killed_service_leaves_nothing_behind(start_service: StartService) -> None:
    service = start_service(cpu_slots="2", slot_cores="1")
    shared = shared_memory()
    job = scenarios.endless(service)
    started(service, job["id"])
    workers = service.workers()
    os.kill(workers[0], signal.SIGSTOP)
    service.kill()
    assert_gone(workers)
    assert shared_memory() <= shared
    assert not [*service.folder.glob("**/.unfinished*")]


def test_an_event_that_has_never_been_is_not_waited_for(service: RunningService) -> None:
    """As after the data folder was replaced by an older one."""
    job = scenarios.job(service, epochs=2)
    service.finished(job["id"])
    path, future = f"/v1/jobs/{job['id']}/events", {"Last-Event-ID": str(2**63 - 1)}
    with service.http.stream("GET", path, headers=future) as stream:
        found = [event["event"] for event in events(stream)]
    assert found == ["state", "state", "epoch", "epoch", "state"]
    with service.http.stream("GET", "/v1/events", headers=future) as stream:
        other = scenarios.job(service, epochs=1)
        assert next(events(stream))["data"]["id"] == other["id"]
    refused = service.http.get(path, headers={"Last-Event-ID": str(2**63)})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "Last-Event-ID")


def test_events_leave_out_what_depends_on_other_jobs(service: RunningService) -> None:
    """A record of the past does not know the queue as it is now."""
    job = scenarios.job(service, epochs=1)
    with service.http.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
        first = next(events(stream))["data"]
    assert set(job) - set(first) == {"queue_position", "blocked_by", "pausing"}
    assert set(first) < set(job)
