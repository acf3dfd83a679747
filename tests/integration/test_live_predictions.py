"""Predictions with the current weights of a running job, which do not change its result."""

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
from tests.support.scenarios import TrainingResult, submit_job_in_state, submit_long_job, training_result
from tests.support.service import RunningService

INPUTS = {"inputs": scenarios.XOR_INPUTS}
NPY = "application/x-npy"
# A step with this learning rate changes no bit of a weight.
NEGLIGIBLE_LEARNING_RATE = 1e-30


def post(service: RunningService, job: dict[str, Any], body: dict[str, Any] | None = None) -> httpx.Response:
    return service.http.post(f"/v1/jobs/{job['id']}/predictions", json=body or INPUTS)


def predict(service: RunningService, job: dict[str, Any], body: dict[str, Any] | None = None) -> dict[str, Any]:
    response = post(service, job, body)
    assert response.status_code == 200, response.text
    return dict(response.json())


def cancel(service: RunningService, job: dict[str, Any]) -> None:
    service.post(f"/v1/jobs/{job['id']}/cancel")


def predict_frozen(service: RunningService, job: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """Train some epochs, freeze the weights, and return the prediction of a snapshot taken after that."""
    service.wait_for_epoch(job["id"], 50)
    service.http.patch(f"/v1/jobs/{job['id']}", json={"learning_rate": NEGLIGIBLE_LEARNING_RATE})
    epoch = service.get(f"/v1/jobs/{job['id']}")["epoch"]
    while (prediction := predict(service, job, body))["epoch"] <= epoch:
        pass
    return prediction


def network_files(service: RunningService, job: dict[str, Any]) -> list[str]:
    return [file.name for file in (service.data_dir / "networks" / job["network_id"]).iterdir()]


def count_recorded_files(service: RunningService, job: dict[str, Any]) -> int:
    """Return the number of versions and checkpoints, each of which is one file in the network's directory."""
    versions = service.get(f"/v1/networks/{job['network_id']}/versions")["data"]
    return len(versions) + len(service.get(f"/v1/jobs/{job['id']}/checkpoints")["data"])


def test_predictions_change_as_the_job_trains(service: RunningService) -> None:
    job = scenarios.submit_endless_job(service, learning_rate=0.1, name="live")
    scenarios.wait_until_running(service, job["id"])
    first = predict(service, job)
    assert (first["network_id"], first["version"], first["job_id"]) == (job["network_id"], None, job["id"])
    assert service.get(f"/v1/jobs/{job['id']}")["epoch"] >= first["epoch"]
    with Client(service.url) as client:
        live_job = client.get_job("live")
        second = live_job.predict(scenarios.XOR_INPUTS)
        while second.epoch == first["epoch"]:
            second = live_job.predict(scenarios.XOR_INPUTS)
    assert second.epoch is not None
    assert second.epoch > first["epoch"]
    assert second.outputs != first["outputs"]
    assert set(second.labels or ()) <= {"no", "yes"}
    cancel(service, job)


def test_concurrent_requests_share_snapshots(service: RunningService) -> None:
    job = scenarios.submit_endless_job(service, learning_rate=0.1)
    scenarios.wait_until_running(service, job["id"])
    with ThreadPoolExecutor(8) as pool:
        predictions = [*pool.map(lambda _: predict(service, job), range(200))]
    outputs = {prediction["epoch"]: prediction["outputs"] for prediction in predictions}
    assert 1 <= len(outputs) < 200
    assert all(prediction["outputs"] == outputs[prediction["epoch"]] for prediction in predictions)
    cancel(service, job)


def test_live_predictions_match_the_published_version(service: RunningService) -> None:
    job = scenarios.submit_endless_job(service, learning_rate=1.0)
    body = {**INPUTS, "probabilities": True, "top_k": 2}
    live = predict_frozen(service, job, body)
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
    assert list(published) == ["network_id", "version", "outputs", "labels", "probabilities", "top", "warnings"]


def test_live_predictions_use_the_preprocessing_of_the_job(service: RunningService) -> None:
    table = b"age,job,pays\n31,clerk,yes\n52,smith,no\n44,smith,no\n28,clerk,yes\n"
    uploaded = service.http.post(
        "/v1/datasets?label=pays&imputation=mean", content=table, headers={"Content-Type": "text/csv"}
    )
    assert uploaded.status_code == 201, uploaded.text
    preprocessing = {"inputs": "standardize"}
    network = scenarios.create_network(service, inputs=3, preprocessing=preprocessing)["id"]
    job = scenarios.submit_endless_job(service, network_id=network, dataset_id=uploaded.json()["id"], learning_rate=0.5)
    body = {"rows": [{"age": 31, "job": "clerk"}, {"age": None, "job": "smith"}]}
    live = predict_frozen(service, job, body)
    service.post(f"/v1/jobs/{job['id']}/cancel", {"keep": "last"})
    published = service.post(f"/v1/networks/{network}/predictions", body)
    assert (live["outputs"], live["labels"]) == (published["outputs"], published["labels"])


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("queued", "started"),
        ("paused", "Resume"),
        ("succeeded", "version 1 of its network net_"),
        ("cancelled", "no weights"),
        ("failed", "no weights"),
    ],
)
def test_conflict_names_what_predicts_instead_of_the_job(service: RunningService, state: str, expected: str) -> None:
    blocking = scenarios.submit_endless_job(service)
    job = submit_job_in_state(service, state)
    response = post(service, job)
    assert (response.status_code, response.json()["type"]) == (409, "/problems/conflict")
    assert f"The job is {state}" in response.json()["detail"]
    assert expected in response.json()["detail"]
    for unfinished in (job, blocking):
        service.http.post(f"/v1/jobs/{unfinished['id']}/cancel")


def test_conflict_suggests_publishing_a_checkpoint(service: RunningService) -> None:
    job = scenarios.submit_endless_job(service)
    service.wait_for_epoch(job["id"], 1)
    service.post(f"/v1/jobs/{job['id']}/pause")
    paused = post(service, job).json()["detail"]
    assert "Resume" in paused
    assert "publish one of its checkpoints" in paused
    cancel(service, job)
    assert "Publish one of its checkpoints" in post(service, job).json()["detail"]


@contextmanager
def suspended_worker(service: RunningService) -> Iterator[int]:
    (worker,) = service.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    yield worker


def post_pending(service: RunningService, job: dict[str, Any], pool: ThreadPoolExecutor) -> Future[httpx.Response]:
    """Return a request that waits for a snapshot of a suspended worker."""
    pending = pool.submit(post, service, job)
    for priority in range(5):  # later requests are handled only after the service has received it
        service.http.patch(f"/v1/jobs/{job['id']}", json={"priority": priority})
    assert not pending.done()
    return pending


def kill_worker(service: RunningService, job: dict[str, Any], worker: int) -> None:
    os.kill(worker, signal.SIGKILL)


def cancel_job(service: RunningService, job: dict[str, Any], worker: int) -> None:
    cancel(service, job)


def pause_and_kill_worker(service: RunningService, job: dict[str, Any], worker: int) -> None:
    """Request a pause, and kill the worker before it has happened."""
    with ThreadPoolExecutor(1) as pool:
        paused = pool.submit(service.post, f"/v1/jobs/{job['id']}/pause")
        while not service.get(f"/v1/jobs/{job['id']}")["pausing"]:
            assert not paused.done()
        kill_worker(service, job, worker)
        assert paused.result()["state"] == "paused"


@pytest.mark.parametrize(
    ("action", "state"),
    [(kill_worker, "queued"), (cancel_job, "cancelled"), (pause_and_kill_worker, "paused")],
)
def test_pending_request_reports_the_new_state_of_the_job(
    start_service: StartService, action: Callable[[RunningService, dict[str, Any], int], None], state: str
) -> None:
    service = start_service()
    job = scenarios.submit_endless_job(service)
    service.wait_for_epoch(job["id"], 1)
    with suspended_worker(service) as worker, ThreadPoolExecutor(1) as pool:
        pending = post_pending(service, job, pool)
        action(service, job, worker)
        assert pending.result().status_code == 409
        assert f"The job is {state}" in pending.result().json()["detail"]
    next_job = scenarios.submit_job(service, network_id=job["network_id"], epochs=1)
    service.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert service.wait_for_job(next_job["id"]).state == "succeeded"
    assert not [name for name in network_files(service, job) if name.startswith(".")]


def test_snapshot_of_a_cancelled_job_is_removed(start_service: StartService) -> None:
    service = start_service()
    job = scenarios.submit_endless_job(service)
    service.wait_for_epoch(job["id"], 1)
    with suspended_worker(service) as worker, ThreadPoolExecutor(1) as pool:
        pending = post_pending(service, job, pool)
        cancel(service, job)
        os.kill(worker, signal.SIGCONT)
        assert pending.result().status_code == 409
    next_job = scenarios.submit_job(service, epochs=1)
    assert service.wait_for_job(next_job["id"]).state == "succeeded"  # the worker has finished with the cancelled job
    assert len(network_files(service, job)) == count_recorded_files(service, job)


def test_late_snapshot_serves_the_next_request(start_service: StartService) -> None:
    service = start_service()
    job = scenarios.submit_endless_job(service)
    service.wait_for_epoch(job["id"], 1)
    with suspended_worker(service) as worker:
        late = post(service, job)
        assert (late.status_code, late.json()["type"]) == (503, "/problems/unavailable")
        assert "did not provide its weights in time" in late.json()["detail"]
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(post, service, job)
            os.kill(worker, signal.SIGCONT)
            assert pending.result().status_code == 200
    service.post(f"/v1/jobs/{job['id']}/pause")
    assert len(network_files(service, job)) == count_recorded_files(service, job)


def test_snapshot_write_failure_does_not_end_the_job(start_service: StartService) -> None:
    service = start_service()
    job = scenarios.submit_endless_job(service, checkpoints={"seconds": 3600})
    service.wait_for_epoch(job["id"], 1)
    (worker,) = service.worker_pids()
    allowed = resource.prlimit(worker, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    response = post(service, job)
    assert (response.status_code, response.json()["type"]) == (503, "/problems/storage-failed")
    assert job["id"] in service.log.read_text()
    resource.prlimit(worker, resource.RLIMIT_FSIZE, allowed)
    while (response := post(service, job)).status_code == 503:
        pass
    assert response.status_code == 200
    current = service.get(f"/v1/jobs/{job['id']}")
    assert (current["state"], current["attempts"], current["retries"]) == ("running", 1, 0)
    service.post(f"/v1/jobs/{job['id']}/pause")
    assert len(network_files(service, job)) == count_recorded_files(service, job)


def test_live_predictions_do_not_change_the_result(service: RunningService, uninterrupted: TrainingResult) -> None:
    job = submit_long_job(service)
    scenarios.wait_until_running(service, job["id"])
    epochs = set()
    while (response := post(service, job)).status_code == 200:
        epochs.add(response.json()["epoch"])
    assert "version 1" in response.json()["detail"]
    assert epochs
    assert training_result(service, job) == uninterrupted
    assert len(network_files(service, job)) == count_recorded_files(service, job)


WIDE: dict[str, Any] = {"layers": [{"units": 10**6, "activation": "tanh"}, {"units": 1, "activation": "sigmoid"}]}


def test_worker_killed_while_writing_a_snapshot_leaves_no_files(start_service: StartService) -> None:
    service = start_service()
    job = scenarios.submit_endless_job(
        service, network_id=scenarios.create_network(service, **WIDE)["id"], checkpoints={"seconds": 3600}
    )
    service.wait_for_epoch(job["id"], 1)
    directory = service.data_dir / "networks" / job["network_id"]
    finished = threading.Event()

    def post_repeatedly() -> set[int]:
        statuses = set()
        while not finished.is_set():
            statuses.add(post(service, job).status_code)
        return statuses

    with ThreadPoolExecutor(1) as pool:
        statuses = pool.submit(post_repeatedly)
        for attempt in (2, 3):
            while not [*directory.glob(".unfinished-*")]:
                assert not statuses.done()
            for worker in service.worker_pids():
                os.kill(worker, signal.SIGKILL)
            if attempt == 2:
                service.wait_for_attempt(job["id"], attempt)
        assert service.wait_for_job(job["id"]).state == "failed"
        finished.set()
        assert statuses.result() <= {200, 409, 503}
    assert len(network_files(service, job)) == count_recorded_files(service, job)


@pytest.mark.parametrize(
    ("body", "field", "expected"),
    [
        ({**INPUTS, "version": 1}, "version", "has no versions"),
        ({**INPUTS, "version": "production"}, "version", "has no versions"),
        ({"inputs": [[1]]}, "inputs.0", "2 inputs"),
        ({"rows": [{"a": 1}]}, "rows", "inputs"),
        ({**INPUTS, "colour": 1}, "colour", "Unknown field"),
        ({"top_k": 1}, "inputs", "required"),
    ],
)
def test_invalid_bodies_are_rejected(service: RunningService, body: dict[str, Any], field: str, expected: str) -> None:
    job = scenarios.submit_endless_job(service)
    scenarios.wait_until_running(service, job["id"])
    response = post(service, job, body)
    assert response.status_code == 422, response.text
    (error, *_) = response.json()["errors"]
    assert error["field"] == field
    assert expected in error["message"]
    cancel(service, job)


def test_unsupported_media_type_and_unknown_job_are_rejected(service: RunningService) -> None:
    job = scenarios.submit_endless_job(service)
    scenarios.wait_until_running(service, job["id"])
    path = f"/v1/jobs/{job['id']}/predictions"
    assert service.http.post(path, content=b"x", headers={"Content-Type": "text/csv"}).status_code == 415
    array = io.BytesIO()
    np.save(array, np.zeros((1, 2)))
    rejected = service.http.post(f"{path}?version=1", content=array.getvalue(), headers={"Content-Type": NPY})
    assert (rejected.status_code, rejected.json()["errors"][0]["field"]) == (422, "version")
    cancel(service, job)
    unknown = service.http.post("/v1/jobs/job_0/predictions", json=INPUTS)
    assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/unknown-job")
