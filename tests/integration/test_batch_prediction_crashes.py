"""Batch predictions through crashes, cancellation and damaged files: each of them is completed or has an error."""

import io
import os
import signal
from collections.abc import Iterator
from uuid import uuid4

import numpy as np
import pytest

from tests.conftest import StartService
from tests.support import scenarios
from tests.support.batch_predictions import (
    SuspendedBatchService,
    download_predictions,
    list_batch_directories,
    make_inputs,
    predict_npy,
    run_batch_prediction,
    start_batch_prediction,
    wait_for_batch_prediction,
)
from tests.support.damage import flip_last_bit


@pytest.fixture
def suspended(start_service: StartService) -> Iterator[SuspendedBatchService]:
    suspended = SuspendedBatchService(start_service(max_batch_predictions="3"))
    yield suspended
    for pid in suspended.service.batch_prediction_pids():
        os.kill(pid, signal.SIGCONT)


def test_unfinished_batch_predictions_protect_their_network_and_dataset(
    suspended: SuspendedBatchService,
) -> None:
    service = suspended.service
    assert os.getpriority(os.PRIO_PROCESS, suspended.pid) == 19
    first, second, third = (suspended.start() for _ in range(3))
    suspended.wait_until_running(first)
    assert [suspended.state(batch) for batch in (first, second, third)] == ["running", "queued", "queued"]
    rejected = service.post(
        f"/v1/networks/{suspended.network}/batch-predictions", {"dataset_id": suspended.small_dataset}, 429
    )
    assert "3 batch predictions are queued or running already" in rejected["detail"]
    for batch, state in ((first, "running"), (second, "queued")):
        response = service.http.get(f"/v1/batch-predictions/{batch}/file")
        assert (response.status_code, f"is {state}; only one" in response.json()["detail"]) == (409, True)
    for path in (f"/v1/networks/{suspended.network}", f"/v1/datasets/{suspended.dataset}"):
        response = service.http.delete(path)
        assert (response.status_code, first in response.json()["detail"]) == (409, True)
    assert predict_npy(service, suspended.network, np.ones((1, 4))).shape == (1, 1)
    assert service.post(f"/v1/batch-predictions/{second}/cancel")["state"] == "cancelled"
    assert service.http.delete(f"/v1/batch-predictions/{third}").status_code == 204
    assert service.post(f"/v1/batch-predictions/{first}/cancel")["state"] == "cancelled"
    assert service.http.get(f"/v1/batch-predictions/{first}/file").status_code == 409
    for path in (f"/v1/networks/{suspended.network}", f"/v1/datasets/{suspended.dataset}"):
        assert service.http.delete(path).status_code == 204
    assert wait_for_batch_prediction(service, second).error is None
    assert 'nabla_batch_predictions{state="cancelled"} 2.0' in service.http.get("/metrics").text


@pytest.mark.parametrize("action", ["cancel", "delete"])
def test_stopped_batch_prediction_leaves_no_files(suspended: SuspendedBatchService, action: str) -> None:
    service, before = suspended.service, list_batch_directories(suspended.service)
    batch, other = suspended.start(), suspended.start(suspended.small_dataset)
    suspended.suspend_midway(batch)
    if action == "cancel":
        assert service.post(f"/v1/batch-predictions/{batch}/cancel")["state"] == "cancelled"
    else:
        assert service.http.delete(f"/v1/batch-predictions/{batch}").status_code == 204
    download_predictions(service, other)
    assert list_batch_directories(service) == sorted([*before, other])
    assert service.http.get(f"/v1/batch-predictions/{batch}").status_code == (200 if action == "cancel" else 404)


def test_running_and_queued_batch_predictions_start_over_after_a_crash(suspended: SuspendedBatchService) -> None:
    service, before = suspended.service, list_batch_directories(suspended.service)
    key = {"Idempotency-Key": uuid4().hex}
    path = f"/v1/networks/{suspended.network}/batch-predictions"
    body = {"dataset_id": suspended.dataset, "format": "npy"}
    response = service.http.post(path, json=body, headers=key)
    first, second = response.json()["id"], suspended.start(suspended.small_dataset)
    assert response.headers["Location"] == f"/v1/batch-predictions/{first}"
    suspended.suspend_midway(first)
    pid = suspended.pid
    service.kill()
    os.kill(pid, signal.SIGKILL)
    service.start()
    again = service.http.post(path, json=body, headers=key)
    assert (again.status_code, again.json()["id"]) == (202, first)
    contents = [download_predictions(service, batch) for batch in (first, second)]
    service.kill()
    service.start()
    assert [download_predictions(service, batch) for batch in (first, second)] == contents
    assert list_batch_directories(service) == sorted([*before, first, second])
    outputs = np.load(io.BytesIO(contents[0]))
    assert outputs.tobytes() == predict_npy(service, suspended.network, make_inputs()).tobytes()


def test_batch_prediction_interrupted_by_shutdown_completes_after_a_restart(suspended: SuspendedBatchService) -> None:
    service = suspended.service
    batch = suspended.start()
    suspended.suspend_midway(batch)
    assert service.terminate() == 0
    assert not [*(service.data_dir / "batches").glob("**/.unfinished*")]
    service.start()
    download_predictions(service, batch)


def test_crashed_process_is_retried_once(suspended: SuspendedBatchService) -> None:
    service = suspended.service
    batch = suspended.start()
    suspended.suspend_midway(batch)
    os.kill(suspended.pid, signal.SIGKILL)
    download_predictions(service, batch)
    assert [file.name.split(".")[0] for file in (service.data_dir / "batches" / batch).iterdir()] == ["predictions"]
    before = list_batch_directories(service)
    suspended.suspend()
    lost = suspended.start()
    suspended.wait_until_running(lost)
    killed: set[int] = set()
    while len(killed) < 2:
        if (pid := suspended.pid) not in killed:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
    view = wait_for_batch_prediction(service, lost)
    assert view.error is not None
    assert (view.state, view.error.kind) == ("failed", "worker_died")
    assert "signal 9, 2 times" in view.error.message
    response = service.http.get(f"/v1/batch-predictions/{lost}/file")
    assert (response.status_code, view.error.message in response.json()["detail"]) == (409, True)
    assert list_batch_directories(service) == before
    download_predictions(service, suspended.start(suspended.small_dataset))


@pytest.mark.parametrize("damaged", ["dataset", "weights"])
def test_damaged_data_fail_the_batch_prediction(start_service: StartService, damaged: str) -> None:
    service = start_service()
    network, dataset = scenarios.create_network(service)["id"], scenarios.create_dataset(service)["id"]
    if damaged == "dataset":
        (file,) = (service.data_dir / "datasets" / dataset).glob("inputs.*")
    else:
        (file,) = (service.data_dir / "networks" / network).glob("0.*")
    flip_last_bit(file)
    batch = start_batch_prediction(service, network, dataset)
    view = wait_for_batch_prediction(service, batch)
    assert view.error is not None
    assert (view.state, view.error.kind) == ("failed", "damaged_data")
    assert f"{file.name} is damaged" in view.error.message
    assert list_batch_directories(service) == []


def test_damaged_file_is_not_served(start_service: StartService) -> None:
    service = start_service()
    batch = start_batch_prediction(
        service, scenarios.create_network(service)["id"], scenarios.create_dataset(service)["id"]
    )
    download_predictions(service, batch)
    flip_last_bit(next((service.data_dir / "batches" / batch).iterdir()))
    response = service.http.get(f"/v1/batch-predictions/{batch}/file")
    assert (response.status_code, response.json()["type"]) == (500, "/problems/damaged")


def test_cancellation_racing_with_the_end_has_one_outcome(start_service: StartService) -> None:
    """The file exists if and only if the batch prediction has succeeded."""
    service = start_service()
    network, dataset = scenarios.create_network(service)["id"], scenarios.create_dataset(service)["id"]
    run_batch_prediction(service, network, dataset)
    for delay in range(12):
        before = list_batch_directories(service)
        batch = start_batch_prediction(service, network, dataset)
        path = f"/v1/batch-predictions/{batch}"
        for _ in range(delay):
            service.get(path)
        response = service.http.post(f"{path}/cancel")
        state = service.get(path)["state"]
        assert (response.status_code, state) in ((200, "cancelled"), (409, "succeeded"))
        assert service.http.get(f"{path}/file").status_code == (200 if state == "succeeded" else 409)
        assert list_batch_directories(service) == sorted([*before, batch] if state == "succeeded" else before)
