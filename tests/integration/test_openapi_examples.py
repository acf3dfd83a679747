"""Swagger UI loads nothing from other hosts, and the examples of the OpenAPI document run unchanged."""

import json
import re
from typing import Any

import pytest

from nabla.app.client import Client
from tests.support import scenarios
from tests.support.service import RunningService


@pytest.fixture(scope="module")
def openapi(service: RunningService) -> dict[str, Any]:
    return service.get("/openapi.json")


def test_page_loads_nothing_from_other_hosts(service: RunningService) -> None:
    page = service.http.get("/docs").text
    links = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
    assert len(links) >= 3
    for link in links:
        assert link.startswith("/"), link
        response = service.http.get(link)
        assert response.status_code == 200, link
        if link.endswith((".css", ".js")):
            assert not re.search(rb"@import|url\(['\"]?https?:", response.content)


def test_every_operation_is_described(openapi: dict[str, Any]) -> None:
    operations = [(path, operation) for path, methods in openapi["paths"].items() for operation in methods.values()]
    assert len(operations) >= 20
    for path, operation in operations:
        error_type = "application/json" if path.startswith("/v2") else "application/problem+json"
        assert operation["summary"]
        assert operation["description"]
        assert operation["tags"]
        for status, response in operation["responses"].items():
            if status.startswith(("4", "5")):
                assert error_type in response["content"], operation["summary"]


def test_every_reference_resolves(openapi: dict[str, Any]) -> None:
    references = set(re.findall(r'"\$ref": "([^"]*)"', json.dumps(openapi)))
    assert len(references) > 20
    for reference in references:
        root, *path = reference.split("/")
        assert root == "#"
        target = openapi
        for name in path:
            target = target[name]


def test_examples_run_unchanged_in_the_order_of_the_page(service: RunningService, openapi: dict[str, Any]) -> None:
    run(service, openapi, "post", "/v1/networks", 201)
    run(service, openapi, "post", "/v1/datasets", 201)
    job = run(service, openapi, "post", "/v1/jobs", 202)
    run(service, openapi, "get", "/v1/jobs/{job_id}/history", 200)
    run(service, openapi, "post", "/v1/networks/{network_id}/predictions", 200)
    assert service.wait_for_job(job["id"]).state == "succeeded"
    history = run(service, openapi, "get", "/v1/jobs/{job_id}/history", 200)
    assert len(history["data"]) == 500
    prediction = run(service, openapi, "post", "/v1/networks/{network_id}/predictions", 200)
    assert prediction["labels"] == ["no", "yes", "yes", "no"]
    batch = run(service, openapi, "post", "/v1/networks/{network_id}/batch-predictions", 202)
    with Client(service.url) as client:
        assert client.get_batch_prediction(batch["id"]).wait().view.rows_done == 4
    inference = run(service, openapi, "post", "/v2/models/{model_name}/infer", 200)
    assert inference["outputs"][1]["data"] == ["no", "yes"]
    evaluation = run(service, openapi, "post", "/v1/networks/{network_id}/evaluations", 200)
    assert (evaluation["accuracy"], evaluation["rows"]) == (1.0, 4)
    clone = run(service, openapi, "post", "/v1/networks/{network_id}/clones", 201)
    assert clone["version"] == 0
    for status in (201, 200):
        tag = run(service, openapi, "put", "/v1/networks/{network_id}/tags/{tag}", status)
        assert tag == {"tag": "production", "version": 1}
    assert run(service, openapi, "patch", "/v1/networks/{network_id}", 200)["version"] == 0
    for path, operations in openapi["paths"].items():
        if "get" in operations and not path.endswith("/events"):
            run(service, openapi, "get", path, 200)
    endless = scenarios.submit_endless_job(service, name="xor")
    scenarios.wait_until_running(service, endless["id"])
    live = run(service, openapi, "post", "/v1/jobs/{job_id}/predictions", 200)
    assert live["job_id"] == endless["id"]
    service.post(f"/v1/jobs/{endless['id']}/cancel")
    assert service.http.delete(f"/v1/jobs/{endless['id']}").status_code == 204
    problem = run(service, openapi, "post", "/v1/jobs/{job_id}/predictions", 409)
    assert "version 1" in problem["detail"]


def run(service: RunningService, openapi: dict[str, Any], method: str, path: str, status: int) -> dict[str, Any]:
    """Call an operation with its examples."""
    operation = openapi["paths"][path][method]
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", str(next(iter(parameter["examples"].values()))["value"]))
    body = None
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]["application/json"]
        body = content.get("example") or example_of(openapi, content["schema"])
    response = service.http.request(method.upper(), path, json=body)
    assert response.status_code == status, response.text
    return dict(response.json()) if "json" in response.headers["content-type"] else {}


def example_of(openapi: dict[str, Any], schema: dict[str, Any]) -> Any:
    if "$ref" in schema:
        schema = openapi["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema["examples"][0]
