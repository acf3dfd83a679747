"""Pausing, resuming, changing and cancelling jobs in every state, with crashed and hung workers."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.conftest import StartService
from tests.support import scenarios
from tests.support.scenarios import (
    TrainingResult,
    submit_job_in_state,
    submit_long_job,
    training_result,
    wait_until_running,
)
from tests.support.service import RunningService, assert_exited


def send_control(service: RunningService, job: dict[str, Any], control: str) -> httpx.Response:
    path = f"/v1/jobs/{job['id']}"
    if control == "change":
        return service.http.patch(path, json={"learning_rate": 0.5})
    return service.http.post(f"{path}/{control}")


STATES_OF_CONTROLS = {
    "pause": "queued or running",
    "resume": "paused",
    "change": "queued or running or paused",
    "cancel": "queued or running or paused",
}


@pytest.mark.parametrize("state", ["queued", "running", "paused", "succeeded", "cancelled", "failed"])
@pytest.mark.parametrize("control", STATES_OF_CONTROLS)
def test_each_control_in_each_state(service: RunningService, control: str, state: str) -> None:
    blocking = scenarios.submit_endless_job(service)
    job = submit_job_in_state(service, state)
    before = service.get(f"/v1/jobs/{job['id']}")
    assert before["state"] == state
    response = send_control(service, job, control)
    if state in STATES_OF_CONTROLS[control].split(" or "):
        assert response.status_code == 200
        after = {"pause": "paused", "resume": ("queued", "running"), "change": state, "cancel": "cancelled"}[control]
        assert response.json()["state"] in after
        assert service.get(f"/v1/jobs/{job['id']}")["state"] in after
        assert control != "change" or response.json()["learning_rate"] == 0.5
    else:
        assert (response.status_code, response.json()["type"]) == (409, "/problems/conflict")
        assert (
            f"The job is {state}; only a job that is {STATES_OF_CONTROLS[control]} can be" in response.json()["detail"]
        )
        current = service.get(f"/v1/jobs/{job['id']}")
        assert current == before or (current["state"] == state == "running")
    for unfinished in (job, blocking):
        service.http.post(f"/v1/jobs/{unfinished['id']}/cancel")


def test_changed_learning_rate_applies_from_the_next_epoch_and_survives_a_crash(start_service: StartService) -> None:
    service = start_service(checkpoint_interval="0.05")
    job = submit_long_job(service)
    service.wait_for_epoch(job["id"], 100)
    changed = service.http.patch(f"/v1/jobs/{job['id']}", json={"learning_rate": 0.25, "priority": 2}).json()
    assert (changed["learning_rate"], changed["priority"], changed["state"]) == (0.25, 2, "running")
    service.kill()
    service.start()
    current = service.get(f"/v1/jobs/{job['id']}")
    assert (current["learning_rate"], current["priority"]) == (0.25, 2)
    service.wait_for_job(job["id"])
    rates = [epoch.learning_rate for epoch in service.history(job["id"])]
    assert len(rates) == current["epochs"]
    first = rates.index(0.25)
    assert first >= 100
    assert set(rates[:first]) == {1.0}
    assert set(rates[first:]) == {0.25}


@pytest.mark.parametrize("state", ["queued", "paused"])
def test_changed_learning_rate_of_a_job_that_is_not_running(service: RunningService, state: str) -> None:
    blocking = scenarios.submit_endless_job(service)
    job = scenarios.submit_job(service, epochs=30)
    if state == "paused":
        send_control(service, job, "pause")
    changed = service.http.patch(f"/v1/jobs/{job['id']}", json={"learning_rate": 0.125}).json()
    assert (changed["learning_rate"], changed["state"]) == (0.125, state)
    service.http.post(f"/v1/jobs/{job['id']}/resume")
    send_control(service, blocking, "cancel")
    service.wait_for_job(job["id"])
    assert {epoch.learning_rate for epoch in service.history(job["id"])} == {0.125}


@pytest.mark.parametrize(
    ("change", "field"),
    [({}, "priority"), ({"learning_rate": -1.0}, "learning_rate"), ({"priority": 5000}, "priority"), ({"x": 1}, "x")],
)
def test_invalid_change_is_rejected(service: RunningService, change: dict[str, Any], field: str) -> None:
    job = scenarios.submit_job(service)
    response = service.http.patch(f"/v1/jobs/{job['id']}", json=change)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, field)
    service.wait_for_job(job["id"])


def test_learning_rate_of_l_bfgs_cannot_be_changed(service: RunningService) -> None:
    job = scenarios.submit_job(service, optimizer="l-bfgs", batch_size=None, learning_rate=None)
    send_control(service, job, "pause")
    response = service.http.patch(f"/v1/jobs/{job['id']}", json={"learning_rate": 0.1})
    assert response.status_code in (409, 422)
    if response.status_code == 422:
        assert "l-bfgs" in response.json()["detail"]


def test_cancelled_job_publishes_its_last_weights_on_request(service: RunningService) -> None:
    job = scenarios.submit_endless_job(service, learning_rate=0.1)
    service.wait_for_epoch(job["id"], 1000)
    cancelled = service.post(f"/v1/jobs/{job['id']}/cancel", {"keep": "last"})
    assert (cancelled["state"], cancelled["network_version"]) == ("cancelled", 1)
    assert cancelled["epoch"] >= 1000
    version = service.get(f"/v1/networks/{job['network_id']}/versions")["data"][0]
    assert (version["version"], version["job_id"], version["epoch"]) == (1, job["id"], cancelled["epoch"])
    outputs = training_result(service, job)[0]
    last = service.get(f"/v1/jobs/{job['id']}/checkpoints")["data"][0]
    assert last["epoch"] == cancelled["epoch"]
    published = service.post(f"/v1/jobs/{job['id']}/checkpoints/{last['number']}/publish")
    assert (published["version"], published["current"]) == (2, True)
    assert training_result(service, job)[0] == outputs


def test_cancelled_job_publishes_its_best_weights_on_request(service: RunningService) -> None:
    early_stopping = {"patience": 10**6}
    job = scenarios.submit_endless_job(
        service, learning_rate=0.1, early_stopping=early_stopping, validation={"fraction": 0.25}
    )
    service.wait_for_epoch(job["id"], 100)
    assert service.post(f"/v1/jobs/{job['id']}/cancel", {"keep": "best"})["network_version"] == 1
    without_early_stopping = scenarios.submit_endless_job(service)
    service.wait_for_epoch(without_early_stopping["id"], 10)
    problem = service.post(f"/v1/jobs/{without_early_stopping['id']}/cancel", {"keep": "best"}, 409)
    assert "early stopping" in problem["detail"]
    service.post(f"/v1/jobs/{without_early_stopping['id']}/cancel")


def test_job_cancelled_before_its_first_checkpoint_publishes_nothing(service: RunningService) -> None:
    blocking = scenarios.submit_endless_job(service)
    job = scenarios.submit_job(service)
    cancelled = service.post(f"/v1/jobs/{job['id']}/cancel", {"keep": "last"})
    assert (cancelled["state"], cancelled["network_version"]) == ("cancelled", None)
    send_control(service, blocking, "cancel")


def test_job_cancelled_before_its_first_epoch_has_no_best_weights(service: RunningService) -> None:
    layers = [{"units": 1000, "activation": "tanh"}] * 2 + [{"units": 1, "activation": "sigmoid"}]
    job = scenarios.submit_endless_job(
        service,
        network_id=scenarios.create_network(service, layers=layers)["id"],
        dataset_id=scenarios.create_dataset(service, inputs=scenarios.XOR_INPUTS * 2000, labels=[0, 1, 1, 0] * 2000)[
            "id"
        ],
        batch_size=1,
        early_stopping={"patience": 3},
        validation={"fraction": 0.25},
    )
    wait_until_running(service, job["id"])
    cancelled = service.post(f"/v1/jobs/{job['id']}/cancel", {"keep": "best"})
    assert (cancelled["state"], cancelled["epoch"], cancelled["network_version"]) == ("cancelled", 0, None)


def test_late_pause_requests_do_not_stop_a_resumed_job(service: RunningService) -> None:
    job = scenarios.submit_endless_job(service)
    service.wait_for_epoch(job["id"], 1)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            for response in pool.map(lambda _: send_control(service, job, "pause"), range(4)):
                assert response.status_code in (200, 409)
            resumed = send_control(service, job, "resume").json()
            assert resumed["state"] in ("queued", "running")
            current = first = service.get(f"/v1/jobs/{job['id']}")
            while current["epoch"] < first["epoch"] + 50:
                current = service.get(f"/v1/jobs/{job['id']}")
                assert current["state"] != "paused"
                assert current["attempts"] <= resumed["attempts"] + (resumed["state"] == "queued")
    send_control(service, job, "cancel")


def test_hung_worker_is_replaced(start_service: StartService, uninterrupted: TrainingResult) -> None:
    """It is detected because it reports no progress; when it continues, it has no effect on the job."""
    service = start_service(worker_timeout="3", checkpoint_interval="0.05")
    job = submit_long_job(service)
    service.wait_for_epoch(job["id"], 200)
    (worker,) = service.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    service.wait_for_attempt(job["id"], attempt=2)
    with suppress(ProcessLookupError):
        os.kill(worker, signal.SIGCONT)
    finished = service.wait_for_job(job["id"])
    assert (finished.state, finished.attempts, finished.retries) == ("succeeded", 2, 1)
    assert training_result(service, job) == uninterrupted
    assert_exited([worker])


def test_job_fails_when_its_worker_hangs_twice(start_service: StartService) -> None:
    service = start_service(worker_timeout="1")
    job, next_job = scenarios.submit_endless_job(service), scenarios.submit_job(service, epochs=1)
    for attempt in (1, 2):
        service.wait_for_attempt(job["id"], attempt=attempt)
        service.wait_for_epoch(job["id"], 1)
        for worker in service.worker_pids():
            os.kill(worker, signal.SIGSTOP)
    finished = service.wait_for_job(job["id"])
    assert finished.error is not None
    assert (finished.state, finished.error.kind) == ("failed", "hung")
    assert "no progress for" in finished.error.message
    assert service.wait_for_job(next_job["id"]).state == "succeeded"


def test_suspended_worker_ends_with_the_killed_service(start_service: StartService) -> None:
    service = start_service()
    job = scenarios.submit_endless_job(service)
    wait_until_running(service, job["id"])
    (worker,) = service.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    service.kill()
    assert_exited([worker])


def test_cancellation_does_not_wait_for_a_hung_worker(start_service: StartService) -> None:
    service = start_service()
    job = scenarios.submit_endless_job(service)
    service.wait_for_epoch(job["id"], 1)
    (worker,) = service.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    assert send_control(service, job, "cancel").json()["state"] == "cancelled"
    next_job = scenarios.submit_job(service, epochs=1)
    assert service.wait_for_job(next_job["id"]).state == "succeeded"


def test_pending_pause_is_reported_and_can_be_revoked(service: RunningService) -> None:
    job = scenarios.submit_endless_job(service)
    service.wait_for_epoch(job["id"], 1)
    path = f"/v1/jobs/{job['id']}"
    for worker in service.worker_pids():
        os.kill(worker, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        pause = pool.submit(send_control, service, job, "pause")
        while not service.get(path)["pausing"]:
            assert not pause.done()
        resumed = send_control(service, job, "resume").json()
        assert (resumed["state"], resumed["pausing"]) == ("running", False)
        assert pause.result().json()["state"] == "running"
        for worker in service.worker_pids():
            os.kill(worker, signal.SIGCONT)
    service.wait_for_epoch(job["id"], service.get(path)["epoch"] + 100)
    assert send_control(service, job, "pause").json()["state"] == "paused"
    service.post(f"{path}/cancel")
