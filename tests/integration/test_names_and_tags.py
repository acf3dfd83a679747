"""Names of networks and tags of versions: renaming, moving, resolution in requests, validation, and crashes."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from nabla.app.client import Client, StatusError
from tests.conftest import StartService
from tests.support import scenarios
from tests.support.service import TIMEOUT_SECONDS, RunningService


def create_trained_network(service: RunningService, **change: Any) -> str:
    """Create a network whose current version is 1, and return its id."""
    network = scenarios.create_network(service, **change)["id"]
    assert service.wait_for_job(scenarios.submit_job(service, network_id=network, epochs=20)["id"]).state == "succeeded"
    return str(network)


def predict_xor(service: RunningService, network: str, version: int | str | None = None) -> Any:
    body = {"inputs": scenarios.XOR_INPUTS, "version": version}
    return service.post(f"/v1/networks/{network}/predictions", body)["outputs"]


def patch_network(service: RunningService, network: str, **fields: Any) -> dict[str, Any]:
    response = service.http.patch(f"/v1/networks/{network}", json=fields)
    assert response.status_code == 200, response.text
    return dict(response.json())


def put_tag(service: RunningService, network: str, tag: str, version: int | str) -> int:
    response = service.http.put(f"/v1/networks/{network}/tags/{tag}", json={"version": version})
    assert response.is_success, response.text
    return response.status_code


def unique_name() -> str:
    return f"n{uuid4().hex}"


def test_renamed_network_is_found_by_its_new_name_only(service: RunningService) -> None:
    before, after = unique_name(), unique_name()
    network = scenarios.create_network(service, name=before)
    assert patch_network(service, before, name=after) == {**network, "name": after}
    assert service.get(f"/v1/networks/{after}") == service.get(f"/v1/networks/{network['id']}")
    gone = service.http.get(f"/v1/networks/{before}")
    assert (gone.status_code, gone.json()["type"]) == (404, "/problems/unknown-network")
    job = scenarios.submit_job(service, network_id=after, epochs=1)
    assert job["network_id"] == network["id"]
    service.wait_for_job(job["id"])
    assert patch_network(service, after, name=before, version=0)["version"] == 0
    assert service.get(f"/v1/networks/{before}")["version"] == 0
    assert service.http.delete(f"/v1/networks/{before}").status_code == 204
    assert service.http.get(f"/v1/networks/{before}").status_code == 404


def test_name_of_several_networks_refers_to_the_newest(start_service: StartService) -> None:
    service = start_service()
    older, newer = (scenarios.create_network(service, name=name)["id"] for name in ("older", "newer"))
    patch_network(service, older, name="newer")
    assert service.get("/v1/networks/newer")["id"] == newer
    service.kill()
    service.start()
    assert service.get("/v1/networks/newer")["id"] == newer
    patch_network(service, newer, name="older")
    assert (service.get("/v1/networks/newer")["id"], service.get("/v1/networks/older")["id"]) == (older, newer)
    shadowing = patch_network(service, newer, name="newer")
    assert (shadowing["shadows"], service.get(f"/v1/networks/{older}")["shadows"]) == ([older], [])
    rejected = service.http.delete("/v1/networks/newer")
    assert (rejected.status_code, f"{newer}, {older}" in rejected.json()["detail"]) == (409, True)
    assert service.http.delete(f"/v1/networks/{newer}").status_code == 204
    assert service.http.delete("/v1/networks/newer").status_code == 204
    assert service.http.get("/v1/networks/newer").status_code == 404


def test_shared_names_of_datasets_jobs_and_batch_predictions(service: RunningService) -> None:
    name = unique_name()
    datasets = [scenarios.create_dataset(service, name=name) for _ in range(2)]
    assert [dataset["shadows"] for dataset in datasets] == [[], [datasets[0]["id"]]]
    network = create_trained_network(service)
    jobs = [scenarios.submit_job(service, name=name, epochs=1) for _ in range(2)]
    for job in jobs:
        service.wait_for_job(job["id"])
    body = {"dataset_id": datasets[0]["id"], "name": name}
    batches = [service.post(f"/v1/networks/{network}/batch-predictions", body, 202) for _ in range(2)]
    for kind, records in (("datasets", datasets), ("jobs", jobs), ("batch-predictions", batches)):
        rejected = service.http.delete(f"/v1/{kind}/{name}")
        assert rejected.status_code == 409
        assert f"{records[1]['id']}, {records[0]['id']}" in rejected.json()["detail"]


def test_unique_names_are_a_setting(start_service: StartService) -> None:
    service = start_service(unique_names="true")
    first, other = (scenarios.create_network(service, name=name) for name in ("one", "other"))
    dataset = scenarios.create_dataset(service, name="one")  # names are unique among networks, and among datasets
    table = {"rows": [{"x": 1, "y": 2}, {"x": 2, "y": 3}], "target": "y", "name": "one"}
    split = {"splits": [{"name": name, "share": 0.5} for name in ("half", "one")]}
    for path, body, taken in (
        ("/v1/networks", {"name": "one", "inputs": 1, "layers": [{"units": 1}]}, first),
        (f"/v1/networks/{other['id']}/clones", {"name": "one"}, first),
        ("/v1/datasets", {"name": "one", "inputs": [[1], [2]], "targets": [[1], [2]]}, dataset),
        ("/v1/datasets", table, dataset),
        ("/v1/datasets", {"name": "one", "upload": "rows", "target": "y"}, dataset),
        (f"/v1/datasets/{dataset['id']}/split", split, dataset),
    ):
        problem = service.post(path, body, 409)
        assert f"'one' is in use by {taken['id']}" in problem["detail"], path
    renamed = service.http.patch(f"/v1/networks/{other['id']}", json={"name": "one"})
    assert (renamed.status_code, first["id"] in renamed.text) == (409, True)
    assert len(service.get("/v1/networks")["data"]) == 2
    assert len(service.get("/v1/datasets")["data"]) == 1
    patch_network(service, first["id"], name="free")
    assert patch_network(service, other["id"], name="one")["shadows"] == []


def test_tag_is_accepted_wherever_a_version_is(service: RunningService) -> None:
    network = create_trained_network(service)
    path = f"/v1/networks/{network}"
    response = service.http.put(f"{path}/tags/production", json={"version": 0})
    assert (response.status_code, response.json()) == (201, {"tag": "production", "version": 0})
    assert service.get(response.headers["location"])["tags"] == ["production"]
    untrained, current = predict_xor(service, network, 0), predict_xor(service, network)
    assert (
        predict_xor(service, network, "production") == untrained != current == predict_xor(service, network, "current")
    )
    data = {"dataset_id": scenarios.create_dataset(service)["id"]}
    evaluation = service.post(f"{path}/evaluations", {**data, "version": "production"})
    assert evaluation == service.post(f"{path}/evaluations", {**data, "version": 0})
    assert patch_network(service, network, version="production")["version"] == 0
    assert service.get(f"{path}/versions/current") == service.get(f"{path}/versions/0")


def test_tags_are_moved_listed_and_deleted(service: RunningService) -> None:
    network = create_trained_network(service)
    path = f"/v1/networks/{network}"
    assert [put_tag(service, network, tag, 0) for tag in ("v1.0", "production", "production")] == [201, 201, 200]
    assert put_tag(service, network, "production", "current") == 200
    assert put_tag(service, network, "2026-01_b", "production") == 201
    tags = {"2026-01_b": 1, "production": 1, "v1.0": 0}
    assert service.get(path)["tags"] == tags
    assert service.get(f"{path}/tags")["data"] == [{"tag": tag, "version": number} for tag, number in tags.items()]
    listed = service.get(f"{path}/versions")["data"]
    assert [version["tags"] for version in listed] == [["2026-01_b", "production"], ["v1.0"]]
    assert listed == [service.get(f"{path}/versions/{number}") for number in (1, 0)]
    # Tags keep their versions when another version becomes current.
    assert service.wait_for_job(scenarios.submit_job(service, network_id=network, epochs=1)["id"]).network_version == 2
    assert service.get(path)["tags"] == tags
    assert service.http.delete(f"{path}/tags/production").status_code == 204
    gone = service.http.delete(f"{path}/tags/production")
    assert (gone.status_code, gone.json()["type"]) == (404, "/problems/unknown-tag")
    assert "it has the tags 2026-01_b, v1.0" in gone.json()["detail"]
    problem = service.post(f"{path}/predictions", {"inputs": [[0, 0]], "version": "production"}, 404)
    assert problem["type"] == "/problems/unknown-version"
    assert problem["errors"][0]["field"] == "version"
    assert "has no version production; it has 0 to 2, and the tags 2026-01_b, v1.0" in problem["detail"]


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("3", "not only digits"),
        ("current", "reserved for the version that predicts"),
        ("-x", "starting with a letter or a digit"),
        (".x", "starting with a letter or a digit"),
        ("a b", "letters, digits"),
        ("é", "letters, digits"),
        ("x" * 65, "at most 64"),
    ],
)
def test_invalid_tag_is_rejected(service: RunningService, tag: str, message: str) -> None:
    path = f"/v1/networks/{scenarios.create_network(service)['id']}"
    response = service.http.put(f"{path}/tags/{tag}", json={"version": 0})
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["field"] == "tag"
    assert message in error["message"]
    assert service.get(f"{path}/tags")["data"] == []


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("007", "an integer of at least 0, or a tag"),
        ("", "an integer of at least 0, or a tag"),
        ("a/b", "an integer of at least 0, or a tag"),
        (-1, "greater than or equal to 0"),
        (1.5, "integer"),
        (True, "integer"),
        ([0], "integer"),
    ],
)
def test_invalid_version_is_rejected(service: RunningService, version: Any, message: str) -> None:
    network = scenarios.create_network(service)
    path = f"/v1/networks/{network['id']}"
    data = scenarios.create_dataset(service)["id"]
    for method, subpath, body in (
        ("PUT", "/tags/x", {}),
        ("PATCH", "", {}),
        ("POST", "/clones", {}),
        ("POST", "/predictions", {"inputs": [[0, 0]]}),
        ("POST", "/evaluations", {"dataset_id": data}),
    ):
        response = service.http.request(method, path + subpath, json={**body, "version": version})
        assert response.status_code == 422, response.text
        (error,) = response.json()["errors"]
        assert error["field"] == "version"
        assert message in error["message"]
    assert service.get(path) == network


def test_invalid_change_is_rejected(service: RunningService) -> None:
    network = scenarios.create_network(service, name="unchanged")
    path = f"/v1/networks/{network['id']}"
    for body, status, field in (
        ({}, 422, "version"),
        ({"name": None}, 422, "version"),
        ({"name": "net_1"}, 422, "name"),
        ({"name": "a/b", "version": 0}, 422, "name"),
        ({"name": "other", "version": 1}, 404, "version"),
        ({"name": "other", "version": "production"}, 404, "version"),
    ):
        response = service.http.patch(path, json=body)
        assert (response.status_code, response.json()["errors"][0]["field"]) == (status, field), response.text
    for subpath in ("/versions/1", "/versions/production", f"/versions/{10**18}"):
        response = service.http.get(path + subpath)
        assert (response.status_code, response.json()["errors"][0]["field"]) == (404, "version")
    assert service.http.get(f"{path}/versions/{'9' * 5000}").status_code == 422
    assert service.get(path) == network


def test_network_has_at_most_100_tags_set_concurrently(service: RunningService) -> None:
    network = scenarios.create_network(service)["id"]
    with ThreadPoolExecutor(8) as pool:
        codes = [*pool.map(lambda number: put_tag(service, network, f"t{number:03}", 0), range(100))]
    assert codes == [201] * 100
    assert service.get(f"/v1/networks/{network}")["tags"] == {f"t{number:03}": 0 for number in range(100)}
    response = service.http.put(f"/v1/networks/{network}/tags/more", json={"version": 0})
    assert response.status_code == 409
    assert "has 100 tags" in response.json()["detail"]
    assert put_tag(service, network, "t000", 0) == 200
    assert service.http.delete(f"/v1/networks/{network}/tags/t000").status_code == 204
    assert put_tag(service, network, "more", 0) == 201


def test_acknowledged_names_and_tags_survive_a_crash(start_service: StartService) -> None:
    service = start_service()
    network = create_trained_network(service)
    path = f"/v1/networks/{network}"
    for number, version in enumerate((0, 1, 0)):
        put_tag(service, network, "production", version)
        put_tag(service, network, f"moved-{number}", version)
        patch_network(service, network, name=f"name-{number}")
        service.http.delete(f"{path}/tags/moved-{number - 1}")
        expected = service.get(path)
        assert expected["tags"] == {"production": version, f"moved-{number}": version}
        service.kill()
        service.start()
        assert service.get(f"/v1/networks/name-{number}") == expected
        assert predict_xor(service, network, "production") == predict_xor(service, network, version)


def test_client_renames_and_tags(service: RunningService) -> None:
    network, name = create_trained_network(service), unique_name()
    with Client(service.url, timeout=TIMEOUT_SECONDS) as client:
        assert client.get_network(network).update(name=name).name == name
        named = client.get_network(name)
        assert (named.tag("production").version, named.tag("first", 0).version) == (1, 0)
        assert named.refresh().view.tags == {"first": 0, "production": 1}
        assert named.predict(scenarios.XOR_INPUTS, version="first").version == 0
        assert named.evaluate(scenarios.create_dataset(service)["id"], "production").version == 1
        assert (named.get_version().tags, named.get_version("first").origin) == (["production"], "drawn")
        assert [version.version for version in named.list_versions()] == [1, 0]
        named.untag("first")
        with pytest.raises(StatusError, match="has no version first"):
            named.predict(scenarios.XOR_INPUTS, version="first")
