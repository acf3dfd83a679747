"""The lives of jobs over HTTP: queueing, cancelling, pausing, following, failing."""

import json
import time
from typing import Any

import pytest

from nabla.app.schemas.jobs import EpochView
from tests.conftest import StartService
from tests.support import scenarios
from tests.support.scenarios import result, started
from tests.support.service import RunningService


def test_jobs_queue_in_order_and_each_runs_once(service: RunningService) -> None:
    first = scenarios.endless(service)
    service.trained(first["id"], 1)
    waiting = [scenarios.job(service, epochs=3) for _ in range(3)]
    assert [job["state"] for job in waiting] == ["queued"] * 3
    assert [service.get(f"/v1/jobs/{job['id']}")["queue_position"] for job in waiting] == [0, 1, 2]
    service.post(f"/v1/jobs/{first['id']}/cancel")
    done = [service.finished(job["id"]) for job in waiting]
    assert [(job.state, job.attempts, job.network_version) for job in done] == [("succeeded", 1, 1)] * 3
    ends = [job.finished_at for job in done if job.finished_at is not None]
    assert len(ends) == 3
    assert ends == sorted(ends)


def test_two_slots_run_two_jobs(start_service: StartService) -> None:
    service = start_service(cpu_slots="2")
    jobs = [scenarios.endless(service) for _ in range(2)]
    for job in jobs:
        service.trained(job["id"], 1)
    assert [service.get(f"/v1/jobs/{job['id']}")["state"] for job in jobs] == ["running", "running"]


def test_cancelling_takes_less_than_a_second_in_an_epoch_of_minutes(service: RunningService) -> None:
    """One step of this network takes longer than that second: its worker has to be replaced."""
    job = long_epoch(service)
    started(service, job["id"])
    before = time.monotonic()
    cancelled = service.post(f"/v1/jobs/{job['id']}/cancel")
    assert cancelled["state"] == "cancelled"
    following = scenarios.job(service, epochs=1)
    assert time.monotonic() - before < 1
    assert service.finished(following["id"]).state == "succeeded"
    now = service.get(f"/v1/jobs/{job['id']}")
    assert (now["state"], now["network_version"], now["error"]) == ("cancelled", None, None)
    assert service.get(f"/v1/networks/{job['network_id']}")["version"] == 0


def long_epoch(service: RunningService) -> dict[str, Any]:
    layers = [{"units": 4000, "activation": "tanh"}] * 3 + [{"units": 1, "activation": "sigmoid"}]
    network = scenarios.network(service, layers=layers, cost="quadratic")
    rows = [[i % 2, i // 2 % 2] for i in range(8000)]
    dataset = scenarios.dataset(service, inputs=rows, labels=[a ^ b for a, b in rows])
    return scenarios.job(service, network_id=network["id"], dataset_id=dataset["id"], batch_size=8000)


def test_controls_that_do_not_fit_name_the_states_that_do(service: RunningService) -> None:
    job = scenarios.job(service, epochs=1)
    assert service.finished(job["id"]).state == "succeeded"
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
def test_a_paused_job_ends_with_the_bits_of_one_that_was_not(service: RunningService, batch_size: int) -> None:
    settings = {"epochs": 60_000 // (5 - batch_size), "batch_size": batch_size}
    undisturbed = scenarios.job(service, **settings)
    paused = scenarios.job(service, **settings)
    service.trained(paused["id"], 1000)
    now = service.post(f"/v1/jobs/{paused['id']}/pause")
    assert now["state"] == "paused"
    assert 1000 <= now["epoch"] < settings["epochs"]
    between = scenarios.job(service, epochs=1)
    assert service.finished(between["id"]).state == "succeeded"  # the slot is free
    assert service.get(f"/v1/jobs/{paused['id']}")["epoch"] == now["epoch"]
    service.post(f"/v1/jobs/{paused['id']}/resume")
    done = service.finished(paused["id"])
    assert (done.state, done.attempts) == ("succeeded", 2)
    assert result(service, paused) == result(service, undisturbed)


def test_a_waiting_job_can_be_paused_and_cancelled(service: RunningService) -> None:
    running = scenarios.endless(service)
    first, second = scenarios.job(service), scenarios.job(service)
    assert service.post(f"/v1/jobs/{first['id']}/pause")["state"] == "paused"
    assert service.get(f"/v1/jobs/{second['id']}")["queue_position"] == 0
    assert service.post(f"/v1/jobs/{first['id']}/resume")["queue_position"] == 0
    assert service.post(f"/v1/jobs/{second['id']}/cancel")["state"] == "cancelled"
    service.post(f"/v1/jobs/{running['id']}/cancel")
    assert service.finished(first["id"]).state == "succeeded"


def test_a_diverging_job_fails_and_keeps_its_finite_history(service: RunningService) -> None:
    network = scenarios.network(
        service, layers=[{"units": 8, "activation": "relu"}, {"units": 1, "activation": "identity"}], cost="quadratic"
    )
    job = scenarios.job(service, network_id=network["id"], learning_rate=1e4, epochs=10_000)
    done = service.finished(job["id"])
    assert done.state == "failed"
    assert done.error is not None
    assert done.error.kind == "diverged"
    assert "learning rate" in done.error.message
    history = service.get(f"/v1/jobs/{job['id']}/history")["data"]
    assert len(history) == done.epoch
    assert service.get(f"/v1/networks/{network['id']}")["version"] == 0
    assert service.finished(scenarios.job(service, epochs=1)["id"]).state == "succeeded"


def test_following_a_job_and_going_on_after_a_broken_stream(service: RunningService) -> None:
    job = scenarios.job(service, epochs=20)
    whole = raw_events(service, job["id"])
    numbers = [int(event["id"]) for event in whole]
    assert numbers == sorted(set(numbers))
    kinds = [event["event"] for event in whole]
    assert kinds == ["state", "state", *["epoch"] * 20, "state"]
    states = [json.loads(event["data"])["state"] for event in whole if event["event"] == "state"]
    assert states == ["queued", "running", "succeeded"]
    epochs = [EpochView.model_validate_json(event["data"]).epoch for event in whole if event["event"] == "epoch"]
    assert epochs == list(range(1, 21))
    assert raw_events(service, job["id"], last_id=numbers[10]) == whole[11:]


def raw_events(service: RunningService, job_id: str, last_id: int = 0) -> list[dict[str, str]]:
    with service.http.stream("GET", f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": str(last_id)}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        blocks = stream.read().decode().strip().split("\n\n")
    lines = [[line.partition(": ") for line in block.splitlines()] for block in blocks if not block.startswith(":")]
    return [{name: value for name, _, value in block} for block in lines]


def test_lists_and_deletion(service: RunningService) -> None:
    network, dataset = scenarios.network(service), scenarios.dataset(service)
    running = scenarios.endless(service, network_id=network["id"], dataset_id=dataset["id"])
    for kind, id in (("networks", network["id"]), ("datasets", dataset["id"]), ("jobs", running["id"])):
        assert service.get(f"/v1/{kind}?limit=1")["data"][0]["id"] == id
        problem = service.http.delete(f"/v1/{kind}/{id}")
        assert (problem.status_code, problem.json()["type"]) == (409, "/problems/conflict")
        assert running["id"] in problem.json()["detail"] or kind == "jobs"
    service.post(f"/v1/jobs/{running['id']}/cancel")
    for kind, id in (("jobs", running["id"]), ("datasets", dataset["id"]), ("networks", network["id"])):
        assert service.http.delete(f"/v1/{kind}/{id}").status_code == 204
        assert service.http.get(f"/v1/{kind}/{id}").status_code == 404
    assert not (service.folder / "networks" / network["id"]).exists()
    assert not (service.folder / "datasets" / dataset["id"]).exists()


def test_pages_of_jobs(service: RunningService) -> None:
    made = [scenarios.job(service, epochs=1)["id"] for _ in range(3)]
    service.finished(made[-1])
    page = service.get("/v1/jobs?limit=2")
    assert ([job["id"] for job in page["data"]], page["has_more"]) == ([made[2], made[1]], True)
    after = service.get(f"/v1/jobs?limit=1&after={made[1]}")
    assert after["data"][0]["id"] == made[0]
