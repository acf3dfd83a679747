"""Clones of networks: they predict with the bits of what they were cloned from, and go on from there."""

from typing import Any
from uuid import uuid4

import pytest

from nabla.app.client import Client
from tests.conftest import StartService
from tests.support import scenarios
from tests.support.service import PATIENCE, RunningService, assert_gone

PEOPLE = [
    {"age": 31, "job": "clerk", "pays": "yes"},
    {"age": 52, "job": "smith", "pays": "no"},
    {"age": 47, "job": "smith", "pays": "no"},
    {"age": 28, "job": "clerk", "pays": "yes"},
]
OTHER_AGES = [{**row, "age": 100 * int(str(row["age"]))} for row in PEOPLE]
# Too small a step to change anything.
STILL: dict[str, Any] = {"epochs": 1, "batch_size": 100, "learning_rate": 1e-30}


def people(service: RunningService, rows: list[dict[str, Any]] = PEOPLE) -> str:
    return str(service.post("/v1/datasets", {"rows": rows, "label": "pays"}, 201)["id"])


def network_for_people(service: RunningService) -> str:
    return str(scenarios.network(service, inputs=3, preprocessing={"inputs": "standardize"})["id"])


def trained(service: RunningService, network: str, **settings: Any) -> None:
    done = service.finished(scenarios.job(service, network_id=network, **settings)["id"])
    assert (done.state, done.error) == ("succeeded", None)


def clone(service: RunningService, network: str, **fields: Any) -> dict[str, Any]:
    return service.post(f"/v1/networks/{network}/clones", fields, 201)


def predicted(service: RunningService, network: str, version: int | str | None = None) -> Any:
    rows = [{"age": row["age"], "job": row["job"]} for row in PEOPLE]
    answer = service.post(f"/v1/networks/{network}/predictions", {"rows": rows, "version": version})
    return answer["outputs"], answer["labels"]


def outputs(service: RunningService, network: str) -> Any:
    return service.post(f"/v1/networks/{network}/predictions", {"inputs": scenarios.XOR_INPUTS})["outputs"]


def test_a_clone_predicts_the_same_bits_also_when_its_source_is_gone(start_service: StartService) -> None:
    service = start_service()
    source = network_for_people(service)
    data = people(service)
    for epochs in (50, 100):
        trained(service, source, dataset_id=data, epochs=epochs)
    service.http.put(f"/v1/networks/{source}/tags/production", json={"version": 1})
    expected = {version: predicted(service, source, version) for version in (1, 2)}
    made = [(clone(service, source, name=f"of {version}", version=version), version) for version in (1, 2)]
    made += [(clone(service, source, version="production"), 1), (clone(service, source), 2)]
    versions = {version: service.get(f"/v1/networks/{source}/versions/{version}") for version in (1, 2)}
    before = service.get(f"/v1/networks/{source}")
    for new, version in made:
        changed = {field: new[field] for field in ("id", "name", "version", "tags", "created_at")}
        assert new == {**before, **changed}
        assert (new["version"], new["tags"]) == (0, {})
        start = service.get(f"/v1/networks/{new['id']}/versions/0")
        assert (start["origin"], start["cloned_from"]) == ("trained", {"network_id": source, "version": version})
        for field in ("job_id", "epoch", "classes", "preprocessing"):
            assert start[field] == versions[version][field]
        assert predicted(service, new["id"]) == expected[version]
    assert service.http.delete(f"/v1/networks/{source}").status_code == 204
    workers = service.workers()
    service.kill()
    assert_gone(workers)
    service.start()
    for new, version in made:
        assert predicted(service, new["id"]) == expected[version]
        measured = service.post(f"/v1/networks/{new['id']}/evaluations", {"dataset_id": data})
        assert measured["version"] == 0
    assert service.get("/v1/networks/of 1")["id"] == made[0][0]["id"]


@pytest.mark.parametrize("warm_start", [True, False])
def test_a_job_goes_on_where_the_source_would(service: RunningService, warm_start: bool) -> None:
    source = scenarios.network(service)["id"]
    data = scenarios.dataset(service)["id"]
    trained(service, source, dataset_id=data, epochs=20)
    copy = clone(service, source)["id"]
    reached = outputs(service, source)
    trained(service, source, dataset_id=data, epochs=30, warm_start=True)
    trained(service, copy, dataset_id=data, epochs=30, warm_start=warm_start)
    assert outputs(service, copy) == outputs(service, source) != reached
    assert service.get(f"/v1/networks/{copy}")["version"] == 1


@pytest.mark.parametrize("warm_start", [True, False])
def test_a_job_keeps_to_what_was_fitted_for_the_source(service: RunningService, warm_start: bool) -> None:
    source = network_for_people(service)
    trained(service, source, dataset_id=people(service), epochs=50)
    copy = clone(service, source)["id"]
    trained(service, copy, dataset_id=people(service, OTHER_AGES), warm_start=warm_start, **STILL)
    assert service.get(f"/v1/networks/{copy}")["version"] == 1
    assert predicted(service, copy) == predicted(service, source)
    other_columns = people(service, [{"height": row["age"], "job": row["job"], "pays": row["pays"]} for row in PEOPLE])
    body = {"network_id": copy, "dataset_id": other_columns, "warm_start": warm_start}
    problem = service.post("/v1/jobs", body, 422)
    assert problem["errors"][0]["field"] == "dataset_id"
    assert "not of the columns that the network was trained on" in problem["detail"]


def test_a_clone_of_a_start_that_was_drawn_is_like_a_new_network(service: RunningService) -> None:
    source = network_for_people(service)
    copy = clone(service, source, version=0)["id"]
    start = service.get(f"/v1/networks/{copy}/versions/current")
    assert (start["origin"], start["preprocessing"], start["classes"]) == ("drawn", None, None)
    body = {"rows": [{"age": 1, "job": "clerk"}]}
    assert "has not been trained" in service.post(f"/v1/networks/{copy}/predictions", body, 409)["detail"]
    data = people(service, OTHER_AGES)
    for network in (source, copy):
        trained(service, network, dataset_id=data, epochs=20)
    assert predicted(service, copy) == predicted(service, source)


def test_a_clone_of_a_clone_says_whose_it_is(service: RunningService) -> None:
    source = scenarios.network(service)["id"]
    trained(service, source)
    first = clone(service, source)["id"]
    trained(service, first, epochs=5)
    second = clone(service, first, version=0)["id"]
    assert outputs(service, second) == outputs(service, source) != outputs(service, first)
    start = service.get(f"/v1/networks/{second}/versions/0")
    assert start["cloned_from"] == {"network_id": first, "version": 0}
    assert service.get(f"/v1/networks/{first}/versions/1")["cloned_from"] is None


def test_clones_that_cannot_be(service: RunningService) -> None:
    path = f"/v1/networks/{scenarios.network(service)['id']}/clones"
    newest = service.get("/v1/networks?limit=1")
    for body, status, field in (
        ({"version": 1}, 404, "version"),
        ({"version": "production"}, 404, "version"),
        ({"name": "ds_1"}, 422, "name"),
        ({"colour": "red"}, 422, "colour"),
    ):
        answer = service.http.post(path, json=body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (status, field), answer.text
    assert service.http.post("/v1/networks/net_0/clones", json={}).json()["type"] == "/problems/unknown-network"
    assert service.get("/v1/networks?limit=1") == newest


def test_damaged_weights_are_not_cloned(start_service: StartService) -> None:
    service = start_service()
    source = scenarios.network(service)["id"]
    folder = service.folder / "networks"
    (weights,) = (folder / source).iterdir()
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert service.post(f"/v1/networks/{source}/clones", {}, 500)["type"] == "/problems/damaged"
    assert [one["id"] for one in service.get("/v1/networks")["data"]] == [source]
    assert [found.name for found in folder.iterdir()] == [source]


def test_a_lost_answer_is_found_again_when_the_source_is_gone(service: RunningService) -> None:
    source = scenarios.network(service)["id"]
    path, headers = f"/v1/networks/{source}/clones", {"Idempotency-Key": uuid4().hex}
    first = service.http.post(path, json={}, headers=headers)
    assert first.status_code == 201
    assert service.http.delete(f"/v1/networks/{source}").status_code == 204
    again = service.http.post(path, json={}, headers=headers)
    assert (again.status_code, again.content) == (201, first.content)
    assert service.http.post(path, json={}).status_code == 404


def test_with_the_client(service: RunningService) -> None:
    source, name = scenarios.network(service)["id"], f"n{uuid4().hex}"
    with Client(service.url, timeout=PATIENCE) as client:
        original = client.network(source)
        made = original.clone(name, version=0)
        assert (made.name, client.network(name)) == (name, made)
        assert made.predict(scenarios.XOR_INPUTS).outputs == original.predict(scenarios.XOR_INPUTS).outputs
        source_of = made.published().cloned_from
        assert source_of is not None
        assert (source_of.network_id, source_of.version) == (source, 0)
