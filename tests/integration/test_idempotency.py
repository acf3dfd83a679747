"""A request that is repeated because its answer was lost does nothing twice."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest
import safetensors.numpy

from tests.conftest import StartService
from tests.support import scenarios
from tests.support.service import RunningService

NETWORK = {"inputs": 2, "layers": [{"units": 1, "activation": "sigmoid"}]}
CSV = b"a,b,c\n0,0,no\n0,1,yes\n"
Ask = Callable[[str], httpx.Response]


def asks(service: RunningService) -> dict[str, tuple[Ask, Ask, str]]:
    """For each kind of thing: a request for it, another one, and the list that it appears in."""
    job = scenarios.job(service, epochs=2, checkpoints={"epochs": 1})
    service.finished(job["id"])
    new = {"network_id": job["network_id"], "dataset_id": job["dataset_id"], "epochs": 1}

    def asking(path: str, **body: Any) -> Ask:
        return lambda key: service.http.post(path, headers={"Idempotency-Key": key}, **body)

    def form(content: bytes) -> Ask:
        return asking("/v1/datasets", files={"file": ("d.csv", content)}, data={"label": "c"})

    def network_form(inputs: int) -> Ask:
        content = safetensors.numpy.save({"0.weight": np.ones((2, inputs), "f4")})
        fields = {"layers": '[{"activation": "tanh"}]'}
        return asking("/v1/networks", files={"file": ("n.safetensors", content)}, data=fields)

    publish = f"/v1/jobs/{job['id']}/checkpoints/1/publish"
    versions, clones, batches = (
        f"/v1/networks/{job['network_id']}/{what}" for what in ("versions", "clones", "batch-predictions")
    )
    batch = {"dataset_id": job["dataset_id"]}
    xor = {"inputs": scenarios.XOR_INPUTS, "labels": [0, 1, 1, 0]}
    return {
        "network": (
            asking("/v1/networks", json=NETWORK),
            asking("/v1/networks", json={**NETWORK, "inputs": 3}),
            "/v1/networks",
        ),
        "clone": (asking(clones, json={}), asking(clones, json={"version": 0}), "/v1/networks"),
        "network in a file": (network_form(4), network_form(5), "/v1/networks"),
        "dataset": (
            asking("/v1/datasets", json=xor),
            asking("/v1/datasets", json={**xor, "labels": [1, 1, 1, 0]}),
            "/v1/datasets",
        ),
        "file": (form(CSV), form(CSV + b"1,1,no\n"), "/v1/datasets"),
        "job": (asking("/v1/jobs", json=new), asking("/v1/jobs", json={**new, "epochs": 2}), "/v1/jobs"),
        "batch": (
            asking(batches, json=batch),
            asking(batches, json={**batch, "format": "npy"}),
            "/v1/batch-predictions",
        ),
        "version": (asking(publish), asking(publish.replace("/1/", "/2/")), versions),
    }


def count(service: RunningService, path: str) -> int:
    return len(service.get(f"{path}?limit=1000")["data"])


@pytest.mark.parametrize(
    "kind", ["network", "network in a file", "clone", "dataset", "file", "job", "batch", "version"]
)
def test_the_same_key_and_body_get_the_same_answer_and_create_one_thing(service: RunningService, kind: str) -> None:
    ask, ask_otherwise, listed = asks(service)[kind]
    key = uuid4().hex
    first = ask(key)
    assert first.is_success, first.text
    before = count(service, listed)
    again = ask(key)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["Location"] == first.headers["Location"]
    assert ("Idempotent-Replayed" in first.headers, again.headers["Idempotent-Replayed"]) == (False, "true")
    assert count(service, listed) == before
    refused = ask_otherwise(key)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "Idempotency-Key")
    assert count(service, listed) == before
    other = ask(uuid4().hex)
    assert other.content != first.content
    assert count(service, listed) == before + 1


def test_answers_are_kept_across_a_crash_and_the_end_of_what_was_created(start_service: StartService) -> None:
    service = start_service()
    answers = {kind: (ask, ask(kind)) for kind, (ask, _, _) in asks(service).items()}
    assert service.finished(answers["job"][1].json()["id"]).state == "succeeded"
    for kind in ("job", "batch", "file"):
        assert service.http.delete(answers[kind][1].headers["Location"]).status_code == 204
    service.kill()
    service.start()
    for kind, (ask, first) in answers.items():
        again = ask(kind)
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.headers["Idempotent-Replayed"] == "true"
    assert service.http.get(answers["job"][1].headers["Location"]).status_code == 404


def test_many_at_once_create_one_thing(service: RunningService) -> None:
    key = uuid4().hex
    before = count(service, "/v1/networks")
    with ThreadPoolExecutor(8) as pool:
        answers = [*pool.map(lambda _: asks_network(service, key), range(24))]
    assert {answer.status_code for answer in answers} <= {201, 409}
    created = {answer.content for answer in answers if answer.status_code == 201}
    assert len(created) == 1
    assert count(service, "/v1/networks") == before + 1
    for answer in answers:
        assert answer.status_code == 201 or "being carried out" in answer.json()["detail"]


def asks_network(service: RunningService, key: str) -> httpx.Response:
    return httpx.post(f"{service.url}/v1/networks", json=NETWORK, headers={"Idempotency-Key": key}, timeout=60)


def test_a_refused_request_leaves_its_key_free(service: RunningService) -> None:
    key = uuid4().hex
    wrong = service.http.post("/v1/networks", json={**NETWORK, "seed": -1}, headers={"Idempotency-Key": key})
    assert wrong.status_code == 422
    assert asks_network(service, key).status_code == 201
    long = service.http.post("/v1/networks", json=NETWORK, headers={"Idempotency-Key": "k" * 201})
    assert (long.status_code, long.json()["errors"][0]["field"]) == (422, "Idempotency-Key")


def test_an_answer_is_found_again_when_the_dataset_takes_no_more(service: RunningService) -> None:
    opened = service.post("/v1/datasets", {"upload": "rows", "target": "y"}, 201)["id"]
    headers = {"Idempotency-Key": uuid4().hex, "Content-Type": "text/csv"}

    def append(content: bytes) -> httpx.Response:
        return service.http.post(f"/v1/datasets/{opened}/rows", content=content, headers=headers)

    first = append(b"x,y\n1,2\n")
    assert first.status_code == 201
    service.post(f"/v1/datasets/{opened}/close")
    assert (append(b"x,y\n1,2\n").status_code, append(b"x,y\n1,2\n").json()) == (201, first.json())
    assert append(b"x,y\n3,4\n").json()["errors"][0]["field"] == "Idempotency-Key"
    headers["Idempotency-Key"] = uuid4().hex
    assert append(b"x,y\n1,2\n").status_code == 409
    assert service.http.delete(f"/v1/datasets/{opened}").status_code == 204
    assert append(b"x,y\n1,2\n").status_code == 404


def test_the_parts_of_a_dataset_are_found_again_when_it_is_gone(service: RunningService) -> None:
    dataset, headers = scenarios.dataset(service)["id"], {"Idempotency-Key": uuid4().hex}
    body = {"splits": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}], "stratified": False}
    path = f"/v1/datasets/{dataset}/split"
    first = service.http.post(path, json=body, headers=headers)
    assert first.status_code == 201, first.text
    assert service.http.delete(f"/v1/datasets/{dataset}").status_code == 204
    again = service.http.post(path, json=body, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert service.http.post(path, json=body).status_code == 404
