"""Requests that are repeated with the same Idempotency-Key."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest
import safetensors.numpy

from nabla.app.http.idempotency import InFlightKeys
from nabla.engine.errors import InProgress
from tests.conftest import StartService
from tests.support import scenarios
from tests.support.service import RunningService

NETWORK = {"inputs": 2, "layers": [{"units": 1, "activation": "sigmoid"}]}
CSV = b"a,b,c\n0,0,no\n0,1,yes\n"
Send = Callable[[str], httpx.Response]


def creating_requests(service: RunningService) -> dict[str, tuple[Send, Send, str]]:
    """Return, for each kind of resource, a request for it, a different one, and the list that it appears in."""
    job = scenarios.submit_job(service, epochs=2, checkpoints={"epochs": 1})
    service.wait_for_job(job["id"])
    new = {"network_id": job["network_id"], "dataset_id": job["dataset_id"], "epochs": 1}

    def post(path: str, **body: Any) -> Send:
        return lambda key: service.http.post(path, headers={"Idempotency-Key": key}, **body)

    def form(content: bytes) -> Send:
        return post("/v1/datasets", files={"file": ("d.csv", content)}, data={"label": "c"})

    def network_form(inputs: int) -> Send:
        content = safetensors.numpy.save({"0.weight": np.ones((2, inputs), "f4")})
        fields = {"layers": '[{"activation": "tanh"}]'}
        return post("/v1/networks", files={"file": ("n.safetensors", content)}, data=fields)

    publish = f"/v1/jobs/{job['id']}/checkpoints/1/publish"
    versions, clones, batches = (
        f"/v1/networks/{job['network_id']}/{what}" for what in ("versions", "clones", "batch-predictions")
    )
    batch = {"dataset_id": job["dataset_id"]}
    xor = {"inputs": scenarios.XOR_INPUTS, "labels": [0, 1, 1, 0]}
    return {
        "network": (
            post("/v1/networks", json=NETWORK),
            post("/v1/networks", json={**NETWORK, "inputs": 3}),
            "/v1/networks",
        ),
        "clone": (post(clones, json={}), post(clones, json={"version": 0}), "/v1/networks"),
        "network in a file": (network_form(4), network_form(5), "/v1/networks"),
        "dataset": (
            post("/v1/datasets", json=xor),
            post("/v1/datasets", json={**xor, "labels": [1, 1, 1, 0]}),
            "/v1/datasets",
        ),
        "file": (form(CSV), form(CSV + b"1,1,no\n"), "/v1/datasets"),
        "job": (post("/v1/jobs", json=new), post("/v1/jobs", json={**new, "epochs": 2}), "/v1/jobs"),
        "batch": (
            post(batches, json=batch),
            post(batches, json={**batch, "format": "npy"}),
            "/v1/batch-predictions",
        ),
        "version": (post(publish), post(publish.replace("/1/", "/2/")), versions),
    }


def count(service: RunningService, path: str) -> int:
    """Return how many resources there are, on all pages."""
    resources, after = 0, ""
    while page := service.get(f"{path}?limit=1000{after}")["data"]:
        resources += len(page)
        after = f"&after={page[-1]['id']}" if "id" in page[-1] else f"&before={page[-1]['version']}"
    return resources


def identity(response: httpx.Response) -> tuple[Any, ...]:
    """Return what stays the same in all responses to a request, whatever becomes of the resource."""
    body = response.json()
    return response.status_code, response.headers["Location"], body.get("id"), body.get("version")


@pytest.mark.parametrize(
    "kind", ["network", "network in a file", "clone", "dataset", "file", "job", "batch", "version"]
)
def test_repeated_request_creates_nothing_and_returns_the_same_resource(service: RunningService, kind: str) -> None:
    send, send_other, listed = creating_requests(service)[kind]
    key = uuid4().hex
    first = send(key)
    assert first.is_success, first.text
    before = count(service, listed)
    again = send(key)
    assert identity(again) == identity(first)
    if kind not in ("job", "batch"):  # whose state may have changed meanwhile
        assert again.content == first.content
    assert ("Idempotent-Replayed" in first.headers, again.headers["Idempotent-Replayed"]) == (False, "true")
    assert count(service, listed) == before
    refused = send_other(key)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "Idempotency-Key")
    assert count(service, listed) == before
    other = send(uuid4().hex)
    assert other.content != first.content
    assert count(service, listed) == before + 1


def test_keys_survive_a_crash_and_replay_resources_as_they_are_now(start_service: StartService) -> None:
    service = start_service()
    first = {kind: (send, send(kind)) for kind, (send, _, _) in creating_requests(service).items()}
    assert service.wait_for_job(first["job"][1].json()["id"]).state == "succeeded"
    renamed = first["network"][1].headers["Location"]
    assert service.http.patch(renamed, json={"name": "renamed"}).status_code == 200
    service.kill()
    service.start()
    for kind, (send, response) in first.items():
        again = send(kind)
        assert identity(again) == identity(response)
        assert again.headers["Idempotent-Replayed"] == "true"
        if kind not in ("batch", "version"):  # still running; a list
            assert again.json() == service.get(again.headers["Location"])
    assert first["network"][0]("network").json()["name"] == "renamed"


def test_replay_of_a_deleted_resource_says_so(service: RunningService) -> None:
    requests = {kind: send for kind, (send, _, _) in creating_requests(service).items()}
    for kind, name in (("job", "job"), ("batch", "batch-prediction"), ("file", "dataset"), ("network", "network")):
        key = uuid4().hex
        location = requests[kind](key).headers["Location"]
        if kind == "job":
            service.wait_for_job(location.rpartition("/")[2])
        assert service.http.delete(location).status_code == 204
        again = requests[kind](key)
        assert (again.status_code, again.json()["type"]) == (404, f"/problems/unknown-{name}")
        assert [error["field"] for error in again.json()["errors"]] == ["Idempotency-Key"]
        assert "was deleted; a new request needs a new key" in again.json()["detail"]
        assert requests[kind](uuid4().hex).is_success


def test_concurrent_requests_with_one_key_create_one_resource(service: RunningService) -> None:
    key = uuid4().hex
    before = count(service, "/v1/networks")
    with ThreadPoolExecutor(8) as pool:
        responses = [*pool.map(lambda _: create_network(service, key), range(24))]
    assert {response.status_code for response in responses} <= {201, 409}
    created = {response.content for response in responses if response.status_code == 201}
    assert len(created) == 1
    assert count(service, "/v1/networks") == before + 1
    for response in responses:
        assert response.status_code == 201 or "still running" in response.json()["detail"]
        assert response.status_code == 201 or int(response.headers["Retry-After"]) > 0


def create_network(service: RunningService, key: str) -> httpx.Response:
    return httpx.post(f"{service.url}/v1/networks", json=NETWORK, headers={"Idempotency-Key": key}, timeout=60)


def test_key_is_in_flight_only_while_its_request_runs() -> None:
    keys, entered, leave = InFlightKeys(), threading.Event(), threading.Event()

    def run() -> None:
        with keys.hold("key"):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=run)
    thread.start()
    assert entered.wait(10)
    with pytest.raises(InProgress), keys.hold("key"):
        pass
    with keys.hold("other"):
        pass
    leave.set()
    thread.join()
    with keys.hold("key"):
        pass


def test_refused_request_leaves_its_key_unused(service: RunningService) -> None:
    key = uuid4().hex
    wrong = service.http.post("/v1/networks", json={**NETWORK, "seed": -1}, headers={"Idempotency-Key": key})
    assert wrong.status_code == 422
    assert create_network(service, key).status_code == 201
    long = service.http.post("/v1/networks", json=NETWORK, headers={"Idempotency-Key": "k" * 201})
    assert (long.status_code, long.json()["errors"][0]["field"]) == (422, "Idempotency-Key")


def test_append_is_replayed_after_the_dataset_is_closed(service: RunningService) -> None:
    opened = service.post("/v1/datasets", {"upload": "rows", "target": "y"}, 201)["id"]
    headers = {"Idempotency-Key": uuid4().hex, "Content-Type": "text/csv"}

    def append(content: bytes) -> httpx.Response:
        return service.http.post(f"/v1/datasets/{opened}/rows", content=content, headers=headers)

    first = append(b"x,y\n1,2\n")
    assert first.status_code == 201
    service.post(f"/v1/datasets/{opened}/close")
    again = append(b"x,y\n1,2\n")
    assert identity(again) == identity(first)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (first.json()["state"], again.json()["state"]) == ("receiving", "ready")
    assert append(b"x,y\n3,4\n").json()["errors"][0]["field"] == "Idempotency-Key"
    headers["Idempotency-Key"] = uuid4().hex
    assert append(b"x,y\n1,2\n").status_code == 409
    assert service.http.delete(f"/v1/datasets/{opened}").status_code == 204
    assert append(b"x,y\n1,2\n").status_code == 404


def test_upload_that_takes_long_is_replayed_with_202_when_it_is_ready(service: RunningService) -> None:
    headers = {"Idempotency-Key": uuid4().hex, "Content-Type": "text/csv", "Prefer": "respond-async"}

    def upload() -> httpx.Response:
        return service.http.post("/v1/datasets?label=c", content=CSV, headers=headers)

    first = upload()
    assert first.status_code == 202
    location = first.headers["Location"]
    while service.get(location)["state"] == "reading":
        pass
    again = upload()
    assert identity(again) == identity(first)
    assert again.json() == service.get(location)
    assert again.json()["state"] == "ready"


def test_split_is_replayed_after_its_source_is_deleted(service: RunningService) -> None:
    dataset, headers = scenarios.create_dataset(service)["id"], {"Idempotency-Key": uuid4().hex}
    body = {"splits": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}], "stratified": False}
    path = f"/v1/datasets/{dataset}/split"
    first = service.http.post(path, json=body, headers=headers)
    assert first.status_code == 201, first.text
    assert service.http.delete(f"/v1/datasets/{dataset}").status_code == 204
    again = service.http.post(path, json=body, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert service.http.post(path, json=body).status_code == 404
    assert service.http.delete(f"/v1/datasets/{first.json()['data'][1]['id']}").status_code == 204
    assert service.http.post(path, json=body, headers=headers).status_code == 404
