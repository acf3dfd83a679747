"""Jobs: queueing, cancelling, pausing, failing, following, listing and deletion."""

import json
import time
from typing import Any

import pytest

from nabla.app.schemas.jobs import EpochView
from tests.conftest import StartService
from tests.support import scenarios
from tests.support.scenarios import training_result, wait_until_running
from tests.support.service import RunningService


def test_queued_jobs_run_once_and_in_order(service: RunningService) -> None:
    first = scenarios.submit_endless_job(service)
    service.wait_for_epoch(first["id"], 1)
    queued = [scenarios.submit_job(service, epochs=3) for _ in range(3)]
    assert [job["state"] for job in queued] == ["queued"] * 3
    assert [service.get(f"/v1/jobs/{job['id']}")["queue_position"] for job in queued] == [0, 1, 2]
    service.post(f"/v1/jobs/{first['id']}/cancel")
    finished = [service.wait_for_job(job["id"]) for job in queued]
    assert [(job.state, job.attempts, job.network_version) for job in finished] == [("succeeded", 1, 1)] * 3
    ends = [job.finished_at for job in finished if job.finished_at is not None]
    assert len(ends) == 3
    assert ends == sorted(ends)


def test_two_slots_run_two_jobs(start_service: StartService) -> None:
    service = start_service(cpu_slots="2")
    jobs = [scenarios.submit_endless_job(service) for _ in range(2)]
    for job in jobs:
        service.wait_for_epoch(job["id"], 1)
    assert [service.get(f"/v1/jobs/{job['id']}")["state"] for job in jobs] == ["running", "running"]


def test_cancellation_within_a_long_epoch_takes_less_than_a_second(service: RunningService) -> None:
    """One step of this network takes longer than a second: its worker has to be killed."""
    job = submit_job_with_long_epochs(service)
    wait_until_running(service, job["id"])
    before = time.monotonic()
    cancelled = service.post(f"/v1/jobs/{job['id']}/cancel")
    assert cancelled["state"] == "cancelled"
    next_job = scenarios.submit_job(service, epochs=1)
    assert time.monotonic() - before < 1
    assert service.wait_for_job(next_job["id"]).state == "succeeded"
    current = service.get(f"/v1/jobs/{job['id']}")
    assert (current["state"], current["network_version"], current["error"]) == ("cancelled", None, None)
    assert service.get(f"/v1/networks/{job['network_id']}")["version"] == 0


def submit_job_with_long_epochs(service: RunningService) -> dict[str, Any]:
    layers = [{"units": 4000, "activation": "tanh"}] * 3 + [{"units": 1, "activation": "sigmoid"}]
    network = scenarios.create_network(service, layers=layers, cost="quadratic")
    rows = [[i % 2, i // 2 % 2] for i in range(8000)]
    dataset = scenarios.create_dataset(service, inputs=rows, labels=[a ^ b for a, b in rows])
    return scenarios.submit_job(service, network_id=network["id"], dataset_id=dataset["id"], batch_size=8000)


def test_invalid_control_names_the_valid_states(service: RunningService) -> None:
    job = scenarios.submit_job(service, epochs=1)
    assert service.wait_for_job(job["id"]).state == "succeeded"
    for control, states in (
        ("cancel", "queued or running or paused"),
        ("pause", "queued or running"),
        ("resume", "paused"),
    ):
        problem = service.post(f"/v1/jobs/{job['id']}/{control}", status=409)
        assert problem["type"] == "/problems/conflict"
        assert f"The job is succeeded; only a job that is {states} can be" in problem["detail"]
    assert service.get(f"/v1/jobs/{job['id']}")["state"] == "succeeded"


@pytest.mark.parametrize("batch_size", [1, 4])
def test_resumed_job_matches_uninterrupted_run_bitwise(service: RunningService, batch_size: int) -> None:
    settings = {"epochs": 60_000 // (5 - batch_size), "batch_size": batch_size}
    uninterrupted = scenarios.submit_job(service, **settings)
    paused = scenarios.submit_job(service, **settings)
    service.wait_for_epoch(paused["id"], 1000)
    current = service.post(f"/v1/jobs/{paused['id']}/pause")
    assert current["state"] == "paused"
    assert 1000 <= current["epoch"] < settings["epochs"]
    between = scenarios.submit_job(service, epochs=1)
    assert service.wait_for_job(between["id"]).state == "succeeded"  # the slot is free
    assert service.get(f"/v1/jobs/{paused['id']}")["epoch"] == current["epoch"]
    service.post(f"/v1/jobs/{paused['id']}/resume")
    finished = service.wait_for_job(paused["id"])
    assert (finished.state, finished.attempts) == ("succeeded", 2)
    assert training_result(service, paused) == training_result(service, uninterrupted)


def test_queued_job_can_be_paused_and_cancelled(service: RunningService) -> None:
    running = scenarios.submit_endless_job(service)
    first, second = scenarios.submit_job(service), scenarios.submit_job(service)
    assert service.post(f"/v1/jobs/{first['id']}/pause")["state"] == "paused"
    assert service.get(f"/v1/jobs/{second['id']}")["queue_position"] == 0
    assert service.post(f"/v1/jobs/{first['id']}/resume")["queue_position"] == 0
    assert service.post(f"/v1/jobs/{second['id']}/cancel")["state"] == "cancelled"
    service.post(f"/v1/jobs/{running['id']}/cancel")
    assert service.wait_for_job(first["id"]).state == "succeeded"


def test_diverging_job_fails_and_keeps_its_finite_history(service: RunningService) -> None:
    network = scenarios.create_network(
        service, layers=[{"units": 8, "activation": "relu"}, {"units": 1, "activation": "identity"}], cost="quadratic"
    )
    job = scenarios.submit_job(service, network_id=network["id"], learning_rate=1e4, epochs=10_000)
    finished = service.wait_for_job(job["id"])
    assert finished.state == "failed"
    assert finished.error is not None
    assert finished.error.kind == "diverged"
    assert "learning rate" in finished.error.message
    history = service.get(f"/v1/jobs/{job['id']}/history")["data"]
    assert len(history) == finished.epoch
    assert service.get(f"/v1/networks/{network['id']}")["version"] == 0
    assert service.wait_for_job(scenarios.submit_job(service, epochs=1)["id"]).state == "succeeded"


def test_event_stream_can_be_continued(service: RunningService) -> None:
    job = scenarios.submit_job(service, epochs=20)
    events = raw_events(service, job["id"])
    numbers = [int(event["id"]) for event in events]
    assert numbers == sorted(set(numbers))
    types = [event["event"] for event in events]
    assert types == ["state", "state", *["epoch"] * 20, "state"]
    states = [json.loads(event["data"])["state"] for event in events if event["event"] == "state"]
    assert states == ["queued", "running", "succeeded"]
    epochs = [EpochView.model_validate_json(event["data"]).epoch for event in events if event["event"] == "epoch"]
    assert epochs == list(range(1, 21))
    assert raw_events(service, job["id"], last_id=numbers[10]) == events[11:]


def raw_events(service: RunningService, job_id: str, last_id: int = 0) -> list[dict[str, str]]:
    with service.http.stream("GET", f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": str(last_id)}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        blocks = stream.read().decode().strip().split("\n\n")
    lines = [[line.partition(": ") for line in block.splitlines()] for block in blocks if not block.startswith(":")]
    return [{name: value for name, _, value in block} for block in lines]


def test_listing_and_deletion_of_resources_in_use(service: RunningService) -> None:
    network, dataset = scenarios.create_network(service), scenarios.create_dataset(service)
    running = scenarios.submit_endless_job(service, network_id=network["id"], dataset_id=dataset["id"])
    for kind, id in (("networks", network["id"]), ("datasets", dataset["id"]), ("jobs", running["id"])):
        assert service.get(f"/v1/{kind}?limit=1")["data"][0]["id"] == id
        response = service.http.delete(f"/v1/{kind}/{id}")
        assert (response.status_code, response.json()["type"]) == (409, "/problems/conflict")
        assert running["id"] in response.json()["detail"] or kind == "jobs"
    service.post(f"/v1/jobs/{running['id']}/cancel")
    for kind, id in (("jobs", running["id"]), ("datasets", dataset["id"]), ("networks", network["id"])):
        assert service.http.delete(f"/v1/{kind}/{id}").status_code == 204
        assert service.http.get(f"/v1/{kind}/{id}").status_code == 404
    assert not (service.data_dir / "networks" / network["id"]).exists()
    assert not (service.data_dir / "datasets" / dataset["id"]).exists()


def test_jobs_are_listed_in_pages(service: RunningService) -> None:
    ids = [scenarios.submit_job(service, epochs=1)["id"] for _ in range(3)]
    service.wait_for_job(ids[-1])
    page = service.get("/v1/jobs?limit=2")
    assert ([job["id"] for job in page["data"]], page["has_more"]) == ([ids[2], ids[1]], True)
    after = service.get(f"/v1/jobs?limit=1&after={ids[1]}")
    assert after["data"][0]["id"] == ids[0]
