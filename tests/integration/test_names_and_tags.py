"""Networks found by their names, and versions by their tags, wherever these are moved to, and across crashes."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from nabla.app.client import Client, ServiceError
from tests.conftest import StartService
from tests.support import scenarios
from tests.support.service import PATIENCE, RunningService


def trained(service: RunningService, **change: Any) -> str:
    """A network with a version 1, which is current."""
    network = scenarios.network(service, **change)["id"]
    assert service.finished(scenarios.job(service, network_id=network, epochs=20)["id"]).state == "succeeded"
    return str(network)


def outputs(service: RunningService, network: str, version: int | str | None = None) -> Any:
    body = {"inputs": scenarios.XOR_INPUTS, "version": version}
    return service.post(f"/v1/networks/{network}/predictions", body)["outputs"]


def change(service: RunningService, network: str, **fields: Any) -> dict[str, Any]:
    answer = service.http.patch(f"/v1/networks/{network}", json=fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def put(service: RunningService, network: str, tag: str, version: int | str) -> int:
    answer = service.http.put(f"/v1/networks/{network}/tags/{tag}", json={"version": version})
    assert answer.is_success, answer.text
    return answer.status_code


def unique() -> str:
    return f"n{uuid4().hex}"


def test_a_renamed_network_has_its_new_name_everywhere_and_the_old_one_nowhere(service: RunningService) -> None:
    before, after = unique(), unique()
    network = scenarios.network(service, name=before)
    assert change(service, before, name=after) == {**network, "name": after}
    assert service.get(f"/v1/networks/{after}") == service.get(f"/v1/networks/{network['id']}")
    gone = service.http.get(f"/v1/networks/{before}")
    assert (gone.status_code, gone.json()["type"]) == (404, "/problems/unknown-network")
    job = scenarios.job(service, network_id=after, epochs=1)
    assert job["network_id"] == network["id"]
    service.finished(job["id"])
    assert change(service, after, name=before, version=0)["version"] == 0
    assert service.get(f"/v1/networks/{before}")["version"] == 0
    assert service.http.delete(f"/v1/networks/{before}").status_code == 204
    assert service.http.get(f"/v1/networks/{before}").status_code == 404


def test_a_name_stands_for_the_network_created_last_however_it_got_it(start_service: StartService) -> None:
    service = start_service()
    older, newer = (scenarios.network(service, name=name)["id"] for name in ("older", "newer"))
    change(service, older, name="newer")
    assert service.get("/v1/networks/newer")["id"] == newer
    service.kill()
    service.start()
    assert service.get("/v1/networks/newer")["id"] == newer
    change(service, newer, name="older")
    assert (service.get("/v1/networks/newer")["id"], service.get("/v1/networks/older")["id"]) == (older, newer)
    change(service, newer, name="newer")
    assert service.http.delete("/v1/networks/newer").status_code == 204
    assert service.get("/v1/networks/newer")["id"] == older


def test_a_tag_stands_for_its_version_wherever_one_is_asked_for(service: RunningService) -> None:
    network = trained(service)
    path = f"/v1/networks/{network}"
    made = service.http.put(f"{path}/tags/production", json={"version": 0})
    assert (made.status_code, made.json()) == (201, {"tag": "production", "version": 0})
    assert service.get(made.headers["location"])["tags"] == ["production"]
    start, now = outputs(service, network, 0), outputs(service, network)
    assert outputs(service, network, "production") == start != now == outputs(service, network, "current")
    data = {"dataset_id": scenarios.dataset(service)["id"]}
    measured = service.post(f"{path}/evaluations", {**data, "version": "production"})
    assert measured == service.post(f"{path}/evaluations", {**data, "version": 0})
    assert change(service, network, version="production")["version"] == 0
    assert service.get(f"{path}/versions/current") == service.get(f"{path}/versions/0")


def test_tags_are_moved_shown_and_removed(service: RunningService) -> None:
    network = trained(service)
    path = f"/v1/networks/{network}"
    assert [put(service, network, tag, 0) for tag in ("v1.0", "production", "production")] == [201, 201, 200]
    assert put(service, network, "production", "current") == 200
    assert put(service, network, "2026-01_b", "production") == 201
    tags = {"2026-01_b": 1, "production": 1, "v1.0": 0}
    assert service.get(path)["tags"] == tags
    assert service.get(f"{path}/tags")["data"] == [{"tag": tag, "version": number} for tag, number in tags.items()]
    listed = service.get(f"{path}/versions")["data"]
    assert [one["tags"] for one in listed] == [["2026-01_b", "production"], ["v1.0"]]
    assert listed == [service.get(f"{path}/versions/{number}") for number in (1, 0)]
    # It stays where it is when another version becomes current.
    assert service.finished(scenarios.job(service, network_id=network, epochs=1)["id"]).network_version == 2
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
    ("tag", "words"),
    [
        ("3", "not only digits"),
        ("current", "always stands for the version that predicts"),
        ("-x", "beginning with a letter or a digit"),
        (".x", "beginning with a letter or a digit"),
        ("a b", "letters, digits"),
        ("é", "letters, digits"),
        ("x" * 65, "at most 64"),
    ],
)
def test_tags_that_cannot_be(service: RunningService, tag: str, words: str) -> None:
    path = f"/v1/networks/{scenarios.network(service)['id']}"
    answer = service.http.put(f"{path}/tags/{tag}", json={"version": 0})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "tag"
    assert words in error["message"]
    assert service.get(f"{path}/tags")["data"] == []


@pytest.mark.parametrize(
    ("version", "words"),
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
def test_versions_that_cannot_be(service: RunningService, version: Any, words: str) -> None:
    network = scenarios.network(service)
    path = f"/v1/networks/{network['id']}"
    data = scenarios.dataset(service)["id"]
    for method, what, body in (
        ("PUT", "/tags/x", {}),
        ("PATCH", "", {}),
        ("POST", "/clones", {}),
        ("POST", "/predictions", {"inputs": [[0, 0]]}),
        ("POST", "/evaluations", {"dataset_id": data}),
    ):
        answer = service.http.request(method, path + what, json={**body, "version": version})
        assert answer.status_code == 422, answer.text
        (error,) = answer.json()["errors"]
        assert error["field"] == "version"
        assert words in error["message"]
    assert service.get(path) == network


def test_changes_that_cannot_be(service: RunningService) -> None:
    network = scenarios.network(service, name="as-it-was")
    path = f"/v1/networks/{network['id']}"
    for body, status, field in (
        ({}, 422, "version"),
        ({"name": None}, 422, "version"),
        ({"name": "net_1"}, 422, "name"),
        ({"name": "a/b", "version": 0}, 422, "name"),
        ({"name": "other", "version": 1}, 404, "version"),
        ({"name": "other", "version": "production"}, 404, "version"),
    ):
        answer = service.http.patch(path, json=body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (status, field), answer.text
    for what in ("/versions/1", "/versions/production", f"/versions/{10**18}"):
        answer = service.http.get(path + what)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (404, "version")
    assert service.http.get(f"{path}/versions/{'9' * 5000}").status_code == 422
    assert service.get(path) == network


def test_a_network_has_so_many_tags_and_all_that_come_at_once(service: RunningService) -> None:
    network = scenarios.network(service)["id"]
    with ThreadPoolExecutor(8) as pool:
        made = [*pool.map(lambda number: put(service, network, f"t{number:03}", 0), range(100))]
    assert made == [201] * 100
    assert service.get(f"/v1/networks/{network}")["tags"] == {f"t{number:03}": 0 for number in range(100)}
    one_more = service.http.put(f"/v1/networks/{network}/tags/more", json={"version": 0})
    assert one_more.status_code == 409
    assert "has 100 tags" in one_more.json()["detail"]
    assert put(service, network, "t000", 0) == 200
    assert service.http.delete(f"/v1/networks/{network}/tags/t000").status_code == 204
    assert put(service, network, "more", 0) == 201


def test_what_was_answered_of_names_and_tags_survives_kill_9(start_service: StartService) -> None:
    service = start_service()
    network = trained(service)
    path = f"/v1/networks/{network}"
    for number, version in enumerate((0, 1, 0)):
        put(service, network, "production", version)
        put(service, network, f"moved-{number}", version)
        change(service, network, name=f"name-{number}")
        service.http.delete(f"{path}/tags/moved-{number - 1}")
        expected = service.get(path)
        assert expected["tags"] == {"production": version, f"moved-{number}": version}
        service.kill()
        service.start()
        assert service.get(f"/v1/networks/name-{number}") == expected
        assert outputs(service, network, "production") == outputs(service, network, version)


def test_with_the_client(service: RunningService) -> None:
    network, name = trained(service), unique()
    with Client(service.url, timeout=PATIENCE) as client:
        assert client.network(network).change(name=name).name == name
        named = client.network(name)
        assert (named.tag("production").version, named.tag("first", 0).version) == (1, 0)
        assert named.refresh().view.tags == {"first": 0, "production": 1}
        assert named.predict(scenarios.XOR_INPUTS, version="first").version == 0
        assert named.evaluate(scenarios.dataset(service)["id"], "production").version == 1
        assert (named.published().tags, named.published("first").origin) == (["production"], "drawn")
        assert [version.version for version in named.versions()] == [1, 0]
        named.untag("first")
        with pytest.raises(ServiceError, match="has no version first"):
            named.predict(scenarios.XOR_INPUTS, version="first")
