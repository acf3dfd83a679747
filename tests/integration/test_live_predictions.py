"""Predictions with the weights of a running job: those that it has, whatever happens to it meanwhile. They leave no
trace in what the job ends with."""

import io
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest

from nabla.app.client import Client
from tests.conftest import StartService
from tests.support import scenarios
from tests.support.scenarios import Result, in_state, long, result
from tests.support.service import RunningService

INPUTS = {"inputs": scenarios.XOR_INPUTS}
NPY = "application/x-npy"
# So small that a step changes no bit of a weight.
STILL = 1e-30


def ask(service: RunningService, job: dict[str, Any], body: dict[str, Any] | None = None) -> httpx.Response:
    return service.http.post(f"/v1/jobs/{job['id']}/predictions", json=body or INPUTS)


def asked(service: RunningService, job: dict[str, Any], body: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = ask(service, job, body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def cancel(service: RunningService, job: dict[str, Any]) -> None:
    service.post(f"/v1/jobs/{job['id']}/cancel")


def held_still(service: RunningService, job: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """What it answers when its weights have stopped changing."""
    service.trained(job["id"], 50)
    service.http.patch(f"/v1/jobs/{job['id']}", json={"learning_rate": STILL})
    epoch = service.get(f"/v1/jobs/{job['id']}")["epoch"]
    while (answer := asked(service, job, body))["epoch"] <= epoch:
        pass
    return answer


def files_of(service: RunningService, job: dict[str, Any]) -> list[str]:
    return [file.name for file in (service.folder / "networks" / job["network_id"]).iterdir()]


def known_files(service: RunningService, job: dict[str, Any]) -> int:
    """Of how many files in the network's folder the service speaks."""
    versions = service.get(f"/v1/networks/{job['network_id']}/versions")["data"]
    return len(versions) + len(service.get(f"/v1/jobs/{job['id']}/checkpoints")["data"])


def test_they_change_as_the_job_trains(service: RunningService) -> None:
    job = scenarios.endless(service, learning_rate=0.1, name="watched")
    scenarios.started(service, job["id"])
    first = asked(service, job)
    assert (first["network_id"], first["version"], first["job_id"]) == (job["network_id"], None, job["id"])
    assert service.get(f"/v1/jobs/{job['id']}")["epoch"] >= first["epoch"]
    with Client(service.url) as client:
        watched = client.job("watched")
        second = watched.predict(scenarios.XOR_INPUTS)
        while second.epoch == first["epoch"]:
            second = watched.predict(scenarios.XOR_INPUTS)
    assert second.epoch is not None
    assert second.epoch > first["epoch"]
    assert second.outputs != first["outputs"]
    assert set(second.labels or ()) <= {"no", "yes"}
    cancel(service, job)


def test_many_who_ask_share_what_the_job_gives(service: RunningService) -> None:
    job = scenarios.endless(service, learning_rate=0.1)
    scenarios.started(service, job["id"])
    with ThreadPoolExecutor(8) as pool:
        answers = [*pool.map(lambda _: asked(service, job), range(200))]
    outputs = {answer["epoch"]: answer["outputs"] for answer in answers}
    assert 1 <= len(outputs) < 200
    assert all(answer["outputs"] == outputs[answer["epoch"]] for answer in answers)
    cancel(service, job)


def test_they_are_those_of_the_version_that_the_job_publishes_there(service: RunningService) -> None:
    job = scenarios.endless(service, learning_rate=1.0)
    body = {**INPUTS, "probabilities": True, "top_k": 2}
    live = held_still(service, job, body)
    array = io.BytesIO()
    np.save(array, np.array(scenarios.XOR_INPUTS, np.float32))
    headers = {"Content-Type": NPY, "Accept": NPY}
    paths = [f"/v1/jobs/{job['id']}/predictions", f"/v1/networks/{job['network_id']}/predictions"]
    before = service.http.post(paths[0], content=array.getvalue(), headers=headers)
    assert service.post(f"/v1/jobs/{job['id']}/cancel", {"keep": "last"})["network_version"] == 1
    published = service.post(paths[1], body)
    after = service.http.post(paths[1], content=array.getvalue(), headers=headers)
    for name in ("network_id", "outputs", "labels", "probabilities", "top"):
        assert live[name] == published[name]
    assert before.content == after.content
    drawn = service.post(paths[1], {**INPUTS, "version": 0})
    assert drawn["outputs"] != published["outputs"]
    assert list(published) == ["network_id", "version", "outputs", "labels", "probabilities", "top"]


def test_raw_values_are_prepared_as_the_job_has_found(service: RunningService) -> None:
    table = b"age,job,pays\n31,clerk,yes\n52,smith,no\n44,smith,no\n28,clerk,yes\n"
    uploaded = service.http.post(
        "/v1/datasets?label=pays&imputation=mean", content=table, headers={"Content-Type": "text/csv"}
    )
    assert uploaded.status_code == 201, uploaded.text
    preprocessing = {"inputs": "standardize"}
    network = scenarios.network(service, inputs=3, preprocessing=preprocessing)["id"]
    job = scenarios.endless(service, network_id=network, dataset_id=uploaded.json()["id"], learning_rate=0.5)
    body = {"rows": [{"age": 31, "job": "clerk"}, {"age": None, "job": "smith"}]}
    live = held_still(service, job, body)
    service.post(f"/v1/jobs/{job['id']}/cancel", {"keep": "last"})
    published = service.post(f"/v1/networks/{network}/predictions", body)
    assert (live["outputs"], live["labels"]) == (published["outputs"], published["labels"])


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("queued", "Ask again when it has started"),
        ("paused", "Resume it"),
        ("succeeded", "Predict with version 1 of its network net_"),
        ("cancelled", "left no weights"),
        ("failed", "left no weights"),
    ],
)
def test_a_job_that_does_not_run_says_what_predicts_instead(service: RunningService, state: str, words: str) -> None:
    blocking = scenarios.endless(service)
    job = in_state(service, state)
    answer = ask(service, job)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/conflict")
    assert f"The job is {state}; only a job that is running" in answer.json()["detail"]
    assert words in answer.json()["detail"]
    for one in (job, blocking):
        service.http.post(f"/v1/jobs/{one['id']}/cancel")


def test_a_job_that_has_saved_itself_says_so(service: RunningService) -> None:
    job = scenarios.endless(service)
    service.trained(job["id"], 1)
    service.post(f"/v1/jobs/{job['id']}/pause")
    assert "Resume it; or publish one of its checkpoints" in ask(service, job).json()["detail"]
    cancel(service, job)
    assert "Publish one of its checkpoints" in ask(service, job).json()["detail"]


@contextmanager
def stopped_worker(service: RunningService) -> Iterator[int]:
    (worker,) = service.workers()
    os.kill(worker, signal.SIGSTOP)
    yield worker


def waiting(service: RunningService, job: dict[str, Any], pool: ThreadPoolExecutor) -> Future[httpx.Response]:
    """The answer to come, where a stopped worker has the job."""
    answer = pool.submit(ask, service, job)
    for priority in range(5):  # each waits for what came before it
        service.http.patch(f"/v1/jobs/{job['id']}", json={"priority": priority})
    assert not answer.done()
    return answer


def kill(service: RunningService, job: dict[str, Any], worker: int) -> None:
    os.kill(worker, signal.SIGKILL)


def end(service: RunningService, job: dict[str, Any], worker: int) -> None:
    cancel(service, job)


def pause(service: RunningService, job: dict[str, Any], worker: int) -> None:
    """It is to be paused, and its worker dies before it is."""
    with ThreadPoolExecutor(1) as pool:
        paused = pool.submit(service.post, f"/v1/jobs/{job['id']}/pause")
        while not service.get(f"/v1/jobs/{job['id']}")["pausing"]:
            assert not paused.done()
        kill(service, job, worker)
        assert paused.result()["state"] == "paused"


@pytest.mark.parametrize(("happens", "state"), [(kill, "queued"), (end, "cancelled"), (pause, "paused")])
def test_who_waits_is_told_what_became_of_the_job(
    start_service: StartService, happens: Callable[[RunningService, dict[str, Any], int], None], state: str
) -> None:
    service = start_service()
    job = scenarios.endless(service)
    service.trained(job["id"], 1)
    with stopped_worker(service) as worker, ThreadPoolExecutor(1) as pool:
        answer = waiting(service, job, pool)
        happens(service, job, worker)
        assert answer.result().status_code == 409
        assert f"The job is {state}; " in answer.result().json()["detail"]
    following = scenarios.job(service, network_id=job["network_id"], epochs=1)
    service.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert service.finished(following["id"]).state == "succeeded"
    assert not [name for name in files_of(service, job) if name.startswith(".")]


def test_weights_that_come_when_the_job_is_cancelled_leave_nothing_behind(start_service: StartService) -> None:
    service = start_service()
    job = scenarios.endless(service)
    service.trained(job["id"], 1)
    with stopped_worker(service) as worker, ThreadPoolExecutor(1) as pool:
        answer = waiting(service, job, pool)
        cancel(service, job)
        os.kill(worker, signal.SIGCONT)
        assert answer.result().status_code == 409
    following = scenarios.job(service, epochs=1)
    assert service.finished(following["id"]).state == "succeeded"  # the worker has let go of the one before
    assert len(files_of(service, job)) == known_files(service, job)


def test_a_job_that_makes_no_step_in_time_gives_its_weights_later(start_service: StartService) -> None:
    service = start_service()
    job = scenarios.endless(service)
    service.trained(job["id"], 1)
    with stopped_worker(service) as worker:
        late = ask(service, job)
        assert (late.status_code, late.json()["type"]) == (503, "/problems/unavailable")
        assert "has not given its weights in time" in late.json()["detail"]
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(ask, service, job)
            os.kill(worker, signal.SIGCONT)
            assert answer.result().status_code == 200
    service.post(f"/v1/jobs/{job['id']}/pause")
    assert len(files_of(service, job)) == known_files(service, job)


def test_weights_that_cannot_be_written_do_not_end_the_job(start_service: StartService) -> None:
    service = start_service()
    job = scenarios.endless(service, checkpoints={"seconds": 3600})
    service.trained(job["id"], 1)
    (worker,) = service.workers()
    allowed = resource.prlimit(worker, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    answer = ask(service, job)
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/storage-failed")
    assert "The weights of " in service.log.read_text()
    resource.prlimit(worker, resource.RLIMIT_FSIZE, allowed)
    while (answer := ask(service, job)).status_code == 503:
        pass
    assert answer.status_code == 200
    now = service.get(f"/v1/jobs/{job['id']}")
    assert (now["state"], now["attempts"], now["retries"]) == ("running", 1, 0)
    service.post(f"/v1/jobs/{job['id']}/pause")
    assert len(files_of(service, job)) == known_files(service, job)


def test_a_job_that_is_looked_at_ends_as_any_other(service: RunningService, undisturbed: Result) -> None:
    job = long(service)
    scenarios.started(service, job["id"])
    seen = set()
    while (answer := ask(service, job)).status_code == 200:
        seen.add(answer.json()["epoch"])
    assert "Predict with version 1" in answer.json()["detail"]
    assert seen
    assert result(service, job) == undisturbed
    assert len(files_of(service, job)) == known_files(service, job)


WIDE: dict[str, Any] = {"layers": [{"units": 10**6, "activation": "tanh"}, {"units": 1, "activation": "sigmoid"}]}


def test_a_worker_that_dies_as_it_gives_its_weights_leaves_nothing_behind(start_service: StartService) -> None:
    service = start_service()
    job = scenarios.endless(service, network_id=scenarios.network(service, **WIDE)["id"], checkpoints={"seconds": 3600})
    service.trained(job["id"], 1)
    folder = service.folder / "networks" / job["network_id"]
    ending = threading.Event()

    def keep_asking() -> set[int]:
        found = set()
        while not ending.is_set():
            found.add(ask(service, job).status_code)
        return found

    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(keep_asking)
        for attempt in (2, 3):
            while not [*folder.glob(".unfinished-*")]:
                assert not found.done()
            for worker in service.workers():
                os.kill(worker, signal.SIGKILL)
            if attempt == 2:
                service.replaced(job["id"], attempt)
        assert service.finished(job["id"]).state == "failed"
        ending.set()
        assert found.result() <= {200, 409, 503}
    assert len(files_of(service, job)) == known_files(service, job)


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({**INPUTS, "version": 1}, "version", "has no versions"),
        ({**INPUTS, "version": "production"}, "version", "has no versions"),
        ({"inputs": [[1]]}, "inputs.0", "2 inputs"),
        ({"rows": [{"a": 1}]}, "rows", "no names"),
        ({**INPUTS, "colour": 1}, "colour", "not known"),
        ({"top_k": 1}, "inputs", "required"),
    ],
)
def test_bodies_that_are_refused(service: RunningService, body: dict[str, Any], field: str, words: str) -> None:
    job = scenarios.endless(service)
    scenarios.started(service, job["id"])
    answer = ask(service, job, body)
    assert answer.status_code == 422, answer.text
    (error, *_) = answer.json()["errors"]
    assert error["field"] == field
    assert words in error["message"]
    cancel(service, job)


def test_kinds_of_bodies_and_unknown_jobs(service: RunningService) -> None:
    job = scenarios.endless(service)
    scenarios.started(service, job["id"])
    path = f"/v1/jobs/{job['id']}/predictions"
    assert service.http.post(path, content=b"x", headers={"Content-Type": "text/csv"}).status_code == 415
    array = io.BytesIO()
    np.save(array, np.zeros((1, 2)))
    refused = service.http.post(f"{path}?version=1", content=array.getvalue(), headers={"Content-Type": NPY})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "version")
    cancel(service, job)
    unknown = service.http.post("/v1/jobs/job_0/predictions", json=INPUTS)
    assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/unknown-job")
