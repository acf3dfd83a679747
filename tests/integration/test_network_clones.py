"""Clones of networks: they predict bitwise as their source, and can be trained further."""

from typing import Any
from uuid import uuid4

import pytest

from nabla.app.client import Client
from tests.conftest import StartService
from tests.support import scenarios
from tests.support.damage import flip_last_bit
from tests.support.service import TIMEOUT_SECONDS, RunningService, assert_exited

PEOPLE = [
    {"age": 31, "job": "clerk", "pays": "yes"},
    {"age": 52, "job": "smith", "pays": "no"},
    {"age": 47, "job": "smith", "pays": "no"},
    {"age": 28, "job": "clerk", "pays": "yes"},
]
OTHER_AGES = [{**row, "age": 100 * int(str(row["age"]))} for row in PEOPLE]
# The learning rate is too small to change the weights.
NO_OP_JOB: dict[str, Any] = {"epochs": 1, "batch_size": 100, "learning_rate": 1e-30}


def create_people_dataset(service: RunningService, rows: list[dict[str, Any]] = PEOPLE) -> str:
    return str(service.post("/v1/datasets", {"rows": rows, "label": "pays"}, 201)["id"])


def create_people_network(service: RunningService) -> str:
    return str(scenarios.create_network(service, inputs=3, preprocessing={"inputs": "standardize"})["id"])


def train(service: RunningService, network: str, **settings: Any) -> None:
    finished = service.wait_for_job(scenarios.submit_job(service, network_id=network, **settings)["id"])
    assert (finished.state, finished.error) == ("succeeded", None)


def create_clone(service: RunningService, network: str, **fields: Any) -> dict[str, Any]:
    return service.post(f"/v1/networks/{network}/clones", fields, 201)


def predict_people(service: RunningService, network: str, version: int | str | None = None) -> Any:
    rows = [{"age": row["age"], "job": row["job"]} for row in PEOPLE]
    response = service.post(f"/v1/networks/{network}/predictions", {"rows": rows, "version": version})
    return response["outputs"], response["labels"]


def predict_xor(service: RunningService, network: str) -> Any:
    return service.post(f"/v1/networks/{network}/predictions", {"inputs": scenarios.XOR_INPUTS})["outputs"]


def test_clone_predicts_bitwise_as_its_source_after_that_is_deleted(start_service: StartService) -> None:
    service = start_service()
    source = create_people_network(service)
    data = create_people_dataset(service)
    for epochs in (50, 100):
        train(service, source, dataset_id=data, epochs=epochs)
    service.http.put(f"/v1/networks/{source}/tags/production", json={"version": 1})
    expected = {version: predict_people(service, source, version) for version in (1, 2)}
    clones = [(create_clone(service, source, name=f"of {version}", version=version), version) for version in (1, 2)]
    clones += [(create_clone(service, source, version="production"), 1), (create_clone(service, source), 2)]
    versions = {version: service.get(f"/v1/networks/{source}/versions/{version}") for version in (1, 2)}
    original = service.get(f"/v1/networks/{source}")
    for copy, version in clones:
        changed = {field: copy[field] for field in ("id", "name", "version", "tags", "created_at")}
        assert copy == {**original, **changed}
        assert (copy["version"], copy["tags"]) == (0, {})
        start = service.get(f"/v1/networks/{copy['id']}/versions/0")
        assert (start["origin"], start["cloned_from"]) == ("trained", {"network_id": source, "version": version})
        for field in ("job_id", "epoch", "classes", "preprocessing"):
            assert start[field] == versions[version][field]
        assert predict_people(service, copy["id"]) == expected[version]
    assert service.http.delete(f"/v1/networks/{source}").status_code == 204
    workers = service.worker_pids()
    service.kill()
    assert_exited(workers)
    service.start()
    for copy, version in clones:
        assert predict_people(service, copy["id"]) == expected[version]
        evaluation = service.post(f"/v1/networks/{copy['id']}/evaluations", {"dataset_id": data})
        assert evaluation["version"] == 0
    assert service.get("/v1/networks/of 1")["id"] == clones[0][0]["id"]


@pytest.mark.parametrize("warm_start", [True, False])
def test_job_on_a_clone_matches_a_warm_start_of_the_source(service: RunningService, warm_start: bool) -> None:
    source = scenarios.create_network(service)["id"]
    data = scenarios.create_dataset(service)["id"]
    train(service, source, dataset_id=data, epochs=20)
    copy = create_clone(service, source)["id"]
    before = predict_xor(service, source)
    train(service, source, dataset_id=data, epochs=30, warm_start=True)
    train(service, copy, dataset_id=data, epochs=30, warm_start=warm_start)
    assert predict_xor(service, copy) == predict_xor(service, source) != before
    assert service.get(f"/v1/networks/{copy}")["version"] == 1


@pytest.mark.parametrize("warm_start", [True, False])
def test_job_on_a_clone_keeps_the_preprocessing_of_the_source(service: RunningService, warm_start: bool) -> None:
    source = create_people_network(service)
    train(service, source, dataset_id=create_people_dataset(service), epochs=50)
    copy = create_clone(service, source)["id"]
    train(service, copy, dataset_id=create_people_dataset(service, OTHER_AGES), warm_start=warm_start, **NO_OP_JOB)
    assert service.get(f"/v1/networks/{copy}")["version"] == 1
    assert predict_people(service, copy) == predict_people(service, source)
    other_columns = create_people_dataset(
        service, [{"height": row["age"], "job": row["job"], "pays": row["pays"]} for row in PEOPLE]
    )
    body = {"network_id": copy, "dataset_id": other_columns, "warm_start": warm_start}
    problem = service.post("/v1/jobs", body, 422)
    assert problem["errors"][0]["field"] == "dataset_id"
    assert "not have the columns that the network was trained on" in problem["detail"]


def test_clone_of_an_untrained_version_is_untrained(service: RunningService) -> None:
    source = create_people_network(service)
    copy = create_clone(service, source, version=0)["id"]
    start = service.get(f"/v1/networks/{copy}/versions/current")
    assert (start["origin"], start["preprocessing"], start["classes"]) == ("drawn", None, None)
    body = {"rows": [{"age": 1, "job": "clerk"}]}
    assert "has not been trained" in service.post(f"/v1/networks/{copy}/predictions", body, 409)["detail"]
    data = create_people_dataset(service, OTHER_AGES)
    for network in (source, copy):
        train(service, network, dataset_id=data, epochs=20)
    assert predict_people(service, copy) == predict_people(service, source)


def test_clone_of_a_clone_refers_to_that_clone(service: RunningService) -> None:
    source = scenarios.create_network(service)["id"]
    train(service, source)
    first = create_clone(service, source)["id"]
    train(service, first, epochs=5)
    second = create_clone(service, first, version=0)["id"]
    assert predict_xor(service, second) == predict_xor(service, source) != predict_xor(service, first)
    start = service.get(f"/v1/networks/{second}/versions/0")
    assert start["cloned_from"] == {"network_id": first, "version": 0}
    assert service.get(f"/v1/networks/{first}/versions/1")["cloned_from"] is None


def test_invalid_clone_request_is_rejected(service: RunningService) -> None:
    path = f"/v1/networks/{scenarios.create_network(service)['id']}/clones"
    newest = service.get("/v1/networks?limit=1")
    for body, status, field in (
        ({"version": 1}, 404, "version"),
        ({"version": "production"}, 404, "version"),
        ({"name": "ds_1"}, 422, "name"),
        ({"colour": "red"}, 422, "colour"),
    ):
        response = service.http.post(path, json=body)
        assert (response.status_code, response.json()["errors"][0]["field"]) == (status, field), response.text
    assert service.http.post("/v1/networks/net_0/clones", json={}).json()["type"] == "/problems/unknown-network"
    assert service.get("/v1/networks?limit=1") == newest


def test_damaged_weights_are_not_cloned(start_service: StartService) -> None:
    service = start_service()
    source = scenarios.create_network(service)["id"]
    directory = service.data_dir / "networks"
    (weights,) = (directory / source).iterdir()
    flip_last_bit(weights)
    assert service.post(f"/v1/networks/{source}/clones", {}, 500)["type"] == "/problems/damaged"
    assert [network["id"] for network in service.get("/v1/networks")["data"]] == [source]
    assert [path.name for path in directory.iterdir()] == [source]


def test_idempotent_clone_request_is_replayed_after_the_source_was_deleted(service: RunningService) -> None:
    source = scenarios.create_network(service)["id"]
    path, headers = f"/v1/networks/{source}/clones", {"Idempotency-Key": uuid4().hex}
    first = service.http.post(path, json={}, headers=headers)
    assert first.status_code == 201
    assert service.http.delete(f"/v1/networks/{source}").status_code == 204
    again = service.http.post(path, json={}, headers=headers)
    assert (again.status_code, again.content) == (201, first.content)
    assert service.http.post(path, json={}).status_code == 404


def test_client_clones_a_network(service: RunningService) -> None:
    source, name = scenarios.create_network(service)["id"], f"n{uuid4().hex}"
    with Client(service.url, timeout=TIMEOUT_SECONDS) as client:
        original = client.get_network(source)
        created = original.clone(name, version=0)
        assert (created.name, client.get_network(name)) == (name, created)
        assert created.predict(scenarios.XOR_INPUTS).outputs == original.predict(scenarios.XOR_INPUTS).outputs
        origin = created.get_version().cloned_from
        assert origin is not None
        assert (origin.network_id, origin.version) == (source, 0)
