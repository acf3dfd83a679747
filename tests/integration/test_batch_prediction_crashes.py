"""Batch predictions through crashes, cancellations and damage: what was acknowledged is done, or its end is said."""

import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from tests.conftest import StartService
from tests.support import scenarios
from tests.support.batch_predictions import Held, begun, ended, file_of, left, single


@pytest.fixture
def held(start_service: StartService) -> Iterator[Held]:
    found = Held(start_service(max_batch_predictions="3"))
    yield found
    for process in found.service.predictors():
        os.kill(process, signal.SIGCONT)


def test_what_has_not_ended_keeps_what_it_needs_and_nobody_waiting(held: Held) -> None:
    service = held.service
    assert os.getpriority(os.PRIO_PROCESS, held.process) == 19
    first, second, third = (held.begun() for _ in range(3))
    held.running(first)
    assert [held.state(batch) for batch in (first, second, third)] == ["running", "queued", "queued"]
    refused = service.post(f"/v1/networks/{held.network}/batch-predictions", {"dataset_id": held.small}, 429)
    assert "3 batch predictions wait or run already" in refused["detail"]
    for batch, state in ((first, "running"), (second, "queued")):
        answer = service.http.get(f"/v1/batch-predictions/{batch}/file")
        assert (answer.status_code, f"is {state}; only one" in answer.json()["detail"]) == (409, True)
    for path in (f"/v1/networks/{held.network}", f"/v1/datasets/{held.dataset}"):
        kept = service.http.delete(path)
        assert (kept.status_code, first in kept.json()["detail"]) == (409, True)
    assert single(service, held.network, np.ones((1, 4))).shape == (1, 1)
    assert service.post(f"/v1/batch-predictions/{second}/cancel")["state"] == "cancelled"
    assert service.http.delete(f"/v1/batch-predictions/{third}").status_code == 204
    assert service.post(f"/v1/batch-predictions/{first}/cancel")["state"] == "cancelled"
    assert service.http.get(f"/v1/batch-predictions/{first}/file").status_code == 409
    for path in (f"/v1/networks/{held.network}", f"/v1/datasets/{held.dataset}"):
        assert service.http.delete(path).status_code == 204
    assert ended(service, second).error is None
    assert 'nabla_batch_predictions{state="cancelled"} 2.0' in service.http.get("/metrics").text


@pytest.mark.parametrize("how", ["cancel", "delete"])
def test_what_is_ended_in_the_middle_leaves_nothing(held: Held, how: str) -> None:
    service, before = held.service, left(held.service)
    batch, other = held.begun(), held.begun(held.small)
    held.in_the_middle(batch)
    if how == "cancel":
        assert service.post(f"/v1/batch-predictions/{batch}/cancel")["state"] == "cancelled"
    else:
        assert service.http.delete(f"/v1/batch-predictions/{batch}").status_code == 204
    file_of(service, other)
    assert left(service) == sorted([*before, other])
    assert service.http.get(f"/v1/batch-predictions/{batch}").status_code == (200 if how == "cancel" else 404)


def test_what_ran_or_waited_in_a_crash_is_done_anew(held: Held) -> None:
    service, before = held.service, left(held.service)
    key = {"Idempotency-Key": uuid4().hex}
    path = f"/v1/networks/{held.network}/batch-predictions"
    body = {"dataset_id": held.dataset, "format": "npy"}
    answer = service.http.post(path, json=body, headers=key)
    first, second = answer.json()["id"], held.begun(held.small)
    assert answer.headers["Location"] == f"/v1/batch-predictions/{first}"
    held.in_the_middle(first)
    process = held.process
    service.kill()
    os.kill(process, signal.SIGKILL)
    service.start()
    again = service.http.post(path, json=body, headers=key)
    assert (again.status_code, again.content) == (202, answer.content)
    contents = [file_of(service, batch) for batch in (first, second)]
    service.kill()
    service.start()
    assert [file_of(service, batch) for batch in (first, second)] == contents
    assert left(service) == sorted([*before, first, second])
    x = np.random.default_rng(6).normal(size=(300_000, 4)).astype(np.float32)
    assert np.load(io.BytesIO(contents[0])).tobytes() == single(service, held.network, x).tobytes()


def test_a_service_that_ends_in_order_leaves_it_to_the_next_one(held: Held) -> None:
    service = held.service
    batch = held.begun()
    held.in_the_middle(batch)
    assert service.terminate() == 0
    assert not [*(service.folder / "batches").glob("**/.unfinished*")]
    service.start()
    file_of(service, batch)


def test_a_process_that_dies_is_given_it_once_more(held: Held) -> None:
    service = held.service
    batch = held.begun()
    held.in_the_middle(batch)
    os.kill(held.process, signal.SIGKILL)
    file_of(service, batch)
    assert [file.name.split(".")[0] for file in (service.folder / "batches" / batch).iterdir()] == ["predictions"]
    before = left(service)
    held.stop()
    lost = held.begun()
    held.running(lost)
    killed: set[int] = set()
    while len(killed) < 2:
        if (process := held.process) not in killed:
            os.kill(process, signal.SIGKILL)
            killed.add(process)
    view = ended(service, lost)
    assert view.error is not None
    assert (view.state, view.error.kind) == ("failed", "worker_died")
    assert "signal 9, 2 times" in view.error.message
    answer = service.http.get(f"/v1/batch-predictions/{lost}/file")
    assert (answer.status_code, view.error.message in answer.json()["detail"]) == (409, True)
    assert left(service) == before
    file_of(service, held.begun(held.small))


def spoil(file: Path) -> None:
    """Flip its last bit."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("what", ["dataset", "weights"])
def test_what_is_damaged_is_said(start_service: StartService, what: str) -> None:
    service = start_service()
    network, dataset = scenarios.network(service)["id"], scenarios.dataset(service)["id"]
    folder = service.folder / ("datasets" if what == "dataset" else "networks")
    spoil(next((folder / (dataset if what == "dataset" else network)).glob("inputs.*" if what == "dataset" else "0.*")))
    batch = begun(service, network, dataset)
    view = ended(service, batch)
    assert view.error is not None
    assert (view.state, view.error.kind) == ("failed", "damaged_data")
    assert "is damaged: what is in it is not what was written" in view.error.message
    assert left(service) == []


def test_a_damaged_file_is_not_served(start_service: StartService) -> None:
    service = start_service()
    batch = begun(service, scenarios.network(service)["id"], scenarios.dataset(service)["id"])
    file_of(service, batch)
    spoil(next((service.folder / "batches" / batch).iterdir()))
    answer = service.http.get(f"/v1/batch-predictions/{batch}/file")
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/damaged")


def test_a_cancellation_beside_the_end(start_service: StartService) -> None:
    """However it falls, it ends once, and its file is there if it has succeeded."""
    service = start_service()
    network, dataset = scenarios.network(service)["id"], scenarios.dataset(service)["id"]
    file_of(service, begun(service, network, dataset))
    for looks in range(12):
        before = left(service)
        batch = begun(service, network, dataset)
        path = f"/v1/batch-predictions/{batch}"
        for _ in range(looks):
            service.get(path)
        answer = service.http.post(f"{path}/cancel")
        state = service.get(path)["state"]
        assert (answer.status_code, state) in ((200, "cancelled"), (409, "succeeded"))
        assert service.http.get(f"{path}/file").status_code == (200 if state == "succeeded" else 409)
        assert left(service) == sorted([*before, batch] if state == "succeeded" else before)
