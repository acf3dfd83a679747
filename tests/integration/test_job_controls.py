"""Pause, resume, change and cancel: what fits a state is done, what does not is refused and says what would fit."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from tests.conftest import StartService
from tests.support import scenarios
from tests.support.scenarios import Result, in_state, long, result, started
from tests.support.service import RunningService, assert_gone


def control(service: RunningService, job: dict[str, Any], name: str) -> Any:
    path = f"/v1/jobs/{job['id']}"
    if name == "change":
        return service.http.patch(path, json={"learning_rate": 0.5})
    return service.http.post(f"{path}/{name}")


FITTING = {
    "pause": "queued or running",
    "resume": "paused",
    "change": "queued or running or paused",
    "cancel": "queued or running or paused",
}


@pytest.mark.parametrize("state", ["queued", "running", "paused", "succeeded", "cancelled", "failed"])
@pytest.mark.parametrize("name", FITTING)
def test_each_control_in_each_state(service: RunningService, name: str, state: str) -> None:
    blocking = scenarios.endless(service)
    job = in_state(service, state)
    before = service.get(f"/v1/jobs/{job['id']}")
    assert before["state"] == state
    answer = control(service, job, name)
    if state in FITTING[name].split(" or "):
        assert answer.status_code == 200
        after = {"pause": "paused", "resume": ("queued", "running"), "change": state, "cancel": "cancelled"}[name]
        assert answer.json()["state"] in after
        assert service.get(f"/v1/jobs/{job['id']}")["state"] in after
        assert name != "change" or answer.json()["learning_rate"] == 0.5
    else:
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/conflict")
        assert f"The job is {state}; only a job that is {FITTING[name]} can be" in answer.json()["detail"]
        now = service.get(f"/v1/jobs/{job['id']}")
        assert now == before or (now["state"] == state == "running")
    for one in (job, blocking):
        service.http.post(f"/v1/jobs/{one['id']}/cancel")


def test_a_new_learning_rate_holds_from_the_next_epoch_and_after_a_crash(start_service: StartService) -> None:
    service = start_service(checkpoint_seconds="0.05")
    job = long(service)
    service.trained(job["id"], 100)
    changed = service.http.patch(f"/v1/jobs/{job['id']}", json={"learning_rate": 0.25, "priority": 2}).json()
    assert (changed["learning_rate"], changed["priority"], changed["state"]) == (0.25, 2, "running")
    service.kill()
    service.start()
    now = service.get(f"/v1/jobs/{job['id']}")
    assert (now["learning_rate"], now["priority"]) == (0.25, 2)
    service.finished(job["id"])
    rates = [epoch.learning_rate for epoch in service.history(job["id"])]
    assert len(rates) == now["epochs"]
    first = rates.index(0.25)
    assert first >= 100
    assert set(rates[:first]) == {1.0}
    assert set(rates[first:]) == {0.25}


@pytest.mark.parametrize("state", ["queued", "paused"])
def test_a_new_learning_rate_of_a_job_that_waits(service: RunningService, state: str) -> None:
    blocking = scenarios.endless(service)
    job = scenarios.job(service, epochs=30)
    if state == "paused":
        control(service, job, "pause")
    changed = service.http.patch(f"/v1/jobs/{job['id']}", json={"learning_rate": 0.125}).json()
    assert (changed["learning_rate"], changed["state"]) == (0.125, state)
    service.http.post(f"/v1/jobs/{job['id']}/resume")
    control(service, blocking, "cancel")
    service.finished(job["id"])
    assert {epoch.learning_rate for epoch in service.history(job["id"])} == {0.125}


@pytest.mark.parametrize(
    ("change", "field"),
    [({}, "priority"), ({"learning_rate": -1.0}, "learning_rate"), ({"priority": 5000}, "priority"), ({"x": 1}, "x")],
)
def test_changes_that_cannot_be(service: RunningService, change: dict[str, Any], field: str) -> None:
    job = scenarios.job(service)
    answer = service.http.patch(f"/v1/jobs/{job['id']}", json=change)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    service.finished(job["id"])


def test_l_bfgs_has_no_learning_rate_to_change(service: RunningService) -> None:
    job = scenarios.job(service, optimizer="l-bfgs", batch_size=None, learning_rate=None)
    control(service, job, "pause")
    answer = service.http.patch(f"/v1/jobs/{job['id']}", json={"learning_rate": 0.1})
    assert answer.status_code in (409, 422)
    if answer.status_code == 422:
        assert "l-bfgs" in answer.json()["detail"]


def test_cancelling_keeps_what_was_reached_when_asked(service: RunningService) -> None:
    job = scenarios.endless(service, learning_rate=0.1)
    service.trained(job["id"], 1000)
    ended = service.post(f"/v1/jobs/{job['id']}/cancel", {"keep": "last"})
    assert (ended["state"], ended["network_version"]) == ("cancelled", 1)
    assert ended["epoch"] >= 1000
    version = service.get(f"/v1/networks/{job['network_id']}/versions")["data"][0]
    assert (version["version"], version["job_id"], version["epoch"]) == (1, job["id"], ended["epoch"])
    outputs = result(service, job)[0]
    last = service.get(f"/v1/jobs/{job['id']}/checkpoints")["data"][0]
    assert last["epoch"] == ended["epoch"]
    published = service.post(f"/v1/jobs/{job['id']}/checkpoints/{last['number']}/publish")
    assert (published["version"], published["current"]) == (2, True)
    assert result(service, job)[0] == outputs


def test_cancelling_keeps_the_best_epoch_when_asked(service: RunningService) -> None:
    stopping = {"patience": 10**6}
    job = scenarios.endless(service, learning_rate=0.1, early_stopping=stopping, validation={"fraction": 0.25})
    service.trained(job["id"], 100)
    assert service.post(f"/v1/jobs/{job['id']}/cancel", {"keep": "best"})["network_version"] == 1
    without = scenarios.endless(service)
    service.trained(without["id"], 10)
    problem = service.post(f"/v1/jobs/{without['id']}/cancel", {"keep": "best"}, 409)
    assert "early stopping" in problem["detail"]
    service.post(f"/v1/jobs/{without['id']}/cancel")


def test_a_job_that_has_saved_nothing_has_nothing_to_keep(service: RunningService) -> None:
    blocking = scenarios.endless(service)
    job = scenarios.job(service)
    ended = service.post(f"/v1/jobs/{job['id']}/cancel", {"keep": "last"})
    assert (ended["state"], ended["network_version"]) == ("cancelled", None)
    control(service, blocking, "cancel")


def test_a_job_that_has_no_best_epoch_yet_has_nothing_to_keep(service: RunningService) -> None:
    layers = [{"units": 1000, "activation": "tanh"}] * 2 + [{"units": 1, "activation": "sigmoid"}]
    job = scenarios.endless(
        service,
        network_id=scenarios.network(service, layers=layers)["id"],
        dataset_id=scenarios.dataset(service, inputs=scenarios.XOR_INPUTS * 2000, labels=[0, 1, 1, 0] * 2000)["id"],
        batch_size=1,
        early_stopping={"patience": 3},
        validation={"fraction": 0.25},
    )
    started(service, job["id"])
    ended = service.post(f"/v1/jobs/{job['id']}/cancel", {"keep": "best"})
    assert (ended["state"], ended["epoch"], ended["network_version"]) == ("cancelled", 0, None)


def test_pauses_that_come_late_do_not_stop_a_job_that_was_resumed(service: RunningService) -> None:
    job = scenarios.endless(service)
    service.trained(job["id"], 1)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            for answer in pool.map(lambda _: control(service, job, "pause"), range(4)):
                assert answer.status_code in (200, 409)
            resumed = control(service, job, "resume").json()
            assert resumed["state"] in ("queued", "running")
            now = first = service.get(f"/v1/jobs/{job['id']}")
            while now["epoch"] < first["epoch"] + 50:
                now = service.get(f"/v1/jobs/{job['id']}")
                assert now["state"] != "paused"
                assert now["attempts"] <= resumed["attempts"] + (resumed["state"] == "queued")
    control(service, job, "cancel")


def test_a_worker_that_hangs_is_replaced(start_service: StartService, undisturbed: Result) -> None:
    """It is told by its silence; and when it wakes up, nothing that it does is seen."""
    service = start_service(worker_timeout="1", checkpoint_seconds="0.05")
    job = long(service)
    service.trained(job["id"], 200)
    (worker,) = service.workers()
    os.kill(worker, signal.SIGSTOP)
    service.replaced(job["id"], attempts=2)
    with suppress(ProcessLookupError):
        os.kill(worker, signal.SIGCONT)
    done = service.finished(job["id"])
    assert (done.state, done.attempts, done.retries) == ("succeeded", 2, 1)
    assert result(service, job) == undisturbed
    assert_gone([worker])


def test_a_worker_that_hangs_again_fails_its_job(start_service: StartService) -> None:
    service = start_service(worker_timeout="1")
    job, following = scenarios.endless(service), scenarios.job(service, epochs=1)
    for attempt in (1, 2):
        service.replaced(job["id"], attempts=attempt)
        service.trained(job["id"], 1)
        for worker in service.workers():
            os.kill(worker, signal.SIGSTOP)
    done = service.finished(job["id"])
    assert done.error is not None
    assert (done.state, done.error.kind) == ("failed", "hung")
    assert "no progress for" in done.error.message
    assert service.finished(following["id"]).state == "succeeded"


def test_a_stopped_worker_ends_with_a_killed_service(start_service: StartService) -> None:
    service = start_service()
    job = scenarios.endless(service)
    started(service, job["id"])
    (worker,) = service.workers()
    os.kill(worker, signal.SIGSTOP)
    service.kill()
    assert_gone([worker])


def test_a_cancelled_job_keeps_its_answer_short_while_its_worker_hangs(start_service: StartService) -> None:
    service = start_service()
    job = scenarios.endless(service)
    service.trained(job["id"], 1)
    (worker,) = service.workers()
    os.kill(worker, signal.SIGSTOP)
    assert control(service, job, "cancel").json()["state"] == "cancelled"
    following = scenarios.job(service, epochs=1)
    assert service.finished(following["id"]).state == "succeeded"


def test_a_pause_that_has_not_happened_yet_shows_and_can_be_taken_back(service: RunningService) -> None:
    job = scenarios.endless(service)
    service.trained(job["id"], 1)
    path = f"/v1/jobs/{job['id']}"
    for worker in service.workers():
        os.kill(worker, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        pause = pool.submit(control, service, job, "pause")
        while not service.get(path)["pausing"]:
            assert not pause.done()
        resumed = control(service, job, "resume").json()
        assert (resumed["state"], resumed["pausing"]) == ("running", False)
        assert pause.result().json()["state"] == "running"
        for worker in service.workers():
            os.kill(worker, signal.SIGCONT)
    service.trained(job["id"], service.get(path)["epoch"] + 100)
    assert control(service, job, "pause").json()["state"] == "paused"
    service.post(f"{path}/cancel")
