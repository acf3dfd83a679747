"""Errors of the API: status, problem type, field, accepted values; and a rejected request stores nothing."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartService
from tests.support import scenarios
from tests.support.service import RunningService

LAYERS = [{"units": 3, "activation": "tanh"}, {"units": 1, "activation": "sigmoid"}]
NETWORK = {"inputs": 2, "layers": LAYERS, "cost": "quadratic"}
DATASET = {"inputs": [[0, 1], [1, 0]], "targets": [[1], [0]]}


def post_rejected(service: RunningService, path: str, status: int, **request: Any) -> dict[str, Any]:
    """Return the problem of a POST request, after checking its format and that nothing was created."""

    def newest_records() -> list[Any]:
        return [service.get(f"/v1/{kind}?limit=1")["data"] for kind in ("networks", "datasets", "jobs")]

    before = newest_records()
    response = service.http.post(path, **request)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["type"].startswith("/problems/")
    assert problem["title"]
    assert problem["detail"]
    assert newest_records() == before
    return dict(problem)


def check_field(problem: dict[str, Any], field: str, expected: str) -> None:
    messages = {error["field"]: error["message"] for error in problem["errors"]}
    assert field in messages, problem
    assert expected in messages[field]


@pytest.mark.parametrize(
    ("change", "field", "expected"),
    [
        ({"layers": [{"units": 1, "activation": "swoosh"}]}, "layers.0.activation", "'identity', 'sigmoid', 'tanh'"),
        ({"cost": "hinge"}, "cost", "'quadratic', 'mean_absolute', 'huber'"),
        ({"layers": []}, "layers", "at least 1 item"),
        ({"layers": [{"units": 0}]}, "layers.0.units", "greater than or equal to 1"),
        ({"layers": [{"units": -3}]}, "layers.0.units", "greater than or equal to 1"),
        ({"layers": [{"units": 1.5}]}, "layers.0.units", "integer"),
        ({"inputs": 0}, "inputs", "greater than or equal to 1"),
        ({"inputs": "2"}, "inputs", "integer"),
        ({"inputs": True}, "inputs", "integer"),
        ({"colour": "red"}, "colour", "Unknown field"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"dtype": "int8"}, "dtype", "'float32' or 'float64'"),
        ({"initializer": "zeros"}, "initializer", "'glorot_uniform'"),
        ({"name": "net_1"}, "name", "must not start with net_"),
        ({"name": "a/b"}, "name", "A name consists of at most 100 letters"),
        ({"cost": "categorical_cross_entropy"}, "layers.1.activation", "needs softmax"),
        ({"input_dropout": 1}, "input_dropout", "less than 1"),
        ({"layers": [{"units": 1, "dropout": 0.5}]}, "layers.0.dropout", "last layer cannot have dropout"),
        ({"layers": [{"units": 1, "batch_norm": 1}]}, "layers.0.batch_norm", "boolean"),
        (
            {"layers": [{"units": 1, "activation": "relu"}], "cost": "binary_cross_entropy"},
            "layers.0.activation",
            "needs sigmoid",
        ),
    ],
)
def test_invalid_network_settings_are_rejected(
    service: RunningService, change: dict[str, Any], field: str, expected: str
) -> None:
    check_field(post_rejected(service, "/v1/networks", 422, json={**NETWORK, **change}), field, expected)


def test_network_above_parameter_limit_is_rejected(service: RunningService) -> None:
    layers = [{"units": 2**20, "activation": "relu"}, {"units": 1000, "activation": "identity"}]
    problem = post_rejected(service, "/v1/networks", 413, json={**NETWORK, "layers": layers})
    check_field(problem, "layers", "at most 200000000")


def test_missing_fields_are_listed(service: RunningService) -> None:
    problem = post_rejected(service, "/v1/networks", 422, json={})
    check_field(problem, "inputs", "required")
    check_field(problem, "layers", "required")


@pytest.mark.parametrize(
    ("change", "field", "expected"),
    [
        ({"inputs": [[0, 1], [1]]}, "inputs.1", "1 numbers, the first has 2"),
        ({"inputs": []}, "inputs", "at least 1"),
        ({"inputs": [[], []]}, "inputs.0", "at least 1"),
        ({"inputs": [[0, "1"], [1, 0]]}, "inputs.0.1", "number"),
        ({"inputs": [[0, None], [1, 0]]}, "inputs.0.1", "number"),
        ({"inputs": [[0, True], [1, 0]]}, "inputs.0.1", "number"),
        ({"targets": None}, "targets", "exactly one"),
        ({"labels": [0, 1]}, "targets", "exactly one"),
        ({"targets": [[1]]}, "targets", "1 targets for 2 rows"),
        ({"targets": None, "labels": ["a", "b"], "classes": ["a", "c"]}, "labels.1", "'b' is not one of the classes"),
        ({"targets": None, "labels": [1.5, 2]}, "labels.0", "integer, a boolean or a string"),
        ({"weights": [1, 1, 1]}, "weights", "3 weights for 2 rows"),
        ({"weights": [1, -1]}, "weights.1", "finite number of at least 0"),
        ({"weights": [0, 0]}, "weights", "All weights are 0"),
        ({"weights": [1, "1"]}, "weights.1", "number"),
        ({"colour": "blue"}, "colour", "Unknown field"),
    ],
)
def test_invalid_datasets_are_rejected(
    service: RunningService, change: dict[str, Any], field: str, expected: str
) -> None:
    check_field(post_rejected(service, "/v1/datasets", 422, json={**DATASET, **change}), field, expected)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_non_json_numbers_in_rows_are_malformed(service: RunningService, number: str) -> None:
    body = f'{{"rows": [{{"a": {number}, "y": 1}}], "target": "y"}}'
    problem = post_rejected(service, "/v1/datasets", 400, content=body, headers={"content-type": "application/json"})
    assert problem["type"] == "/problems/malformed-json"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_non_finite_inputs_name_their_cell(service: RunningService, number: str) -> None:
    body = json.dumps(DATASET).replace("[0, 1]", f"[0, {number}]", 1)
    headers = {"content-type": "application/json"}
    problem = post_rejected(service, "/v1/datasets", 422, content=body, headers=headers)
    check_field(problem, "inputs.0.1", "finite")


def test_label_of_wrong_type_is_one_error(service: RunningService) -> None:
    body = {"inputs": [[0], [1]], "labels": [1.0, [2]]}
    problem = post_rejected(service, "/v1/datasets", 422, json=body)
    assert [error["field"] for error in problem["errors"]] == ["labels.0"]


MALFORMED = [
    '{"inputs": 2',
    "",
    "[" * 200_000,
    '{"rows": ' + "[" * 200_000,
    '{"inputs": ' + "9" * 10_000 + "}",
    "\xff\xfe",
    "null",
    '"x"',
    "[]",
]


@pytest.mark.parametrize("path", ["/v1/networks", "/v1/datasets", "/v1/jobs", "/v1/networks/net_0/evaluations"])
@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_json(service: RunningService, path: str, body: str) -> None:
    """Malformed JSON is answered with 400, JSON of another shape with 422."""
    is_json = body in ("null", '"x"', "[]") or body.startswith('{"inputs": 9')
    response = service.http.post(path, content=body.encode("latin-1"), headers={"content-type": "application/json"})
    assert response.status_code in ((422, 400) if is_json else (400,)), response.text
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("name", "content", "fields", "field", "expected"),
    [
        ("data.npz", b"a,b\n1,2\n", {}, "file", "The .npz archive is damaged"),
        ("data.csv", b"PK\x03\x04\x00\x00", {"target": "a"}, "file", "The zip archive is damaged"),
        ("data.csv", b"a,b\n1,2\n3\n", {"target": "a"}, "file", "Line 3 has 1 cells"),
        ("data.csv", b"a,b\n1,2\n", {}, "target", "The columns are: a, b"),
        ("data.csv", b"a,b\n1,2\n", {"target": "a", "weight": "w"}, "weight", "no column 'w'"),
        ("data.csv", b"a,b\n1,2\n", {"target": "a", "speed": "fast"}, "speed", "Unknown field"),
        ("photo.jpg", b"\xff\xd8\xff", {}, "file", "Accepted: CSV, TSV, Parquet"),
        ("", b"", {}, "file", "no file"),
    ],
)
def test_invalid_files_are_rejected(
    service: RunningService, name: str, content: bytes, fields: dict[str, str], field: str, expected: str
) -> None:
    problem = post_rejected(service, "/v1/datasets", 422, files={"file": (name, content)}, data=fields)
    check_field(problem, field, expected)


def test_form_without_file_and_unsupported_media_type_are_rejected(service: RunningService) -> None:
    problem = post_rejected(service, "/v1/datasets", 422, files={"picture": ("x.npy", b"")})
    check_field(problem, "picture", "Accepted: file, inputs")
    problem = post_rejected(service, "/v1/datasets", 415, content=b"a,b", headers={"content-type": "text/html"})
    assert "accepted: application/json, multipart/form-data, text/csv" in problem["detail"]
    headers = {"content-type": "multipart/form-data; boundary=x"}
    post_rejected(service, "/v1/datasets", 400, content=b"no parts", headers=headers)


@pytest.mark.parametrize(
    ("change", "field", "expected"),
    [
        ({"epochs": 0}, "epochs", "greater than or equal to 1"),
        ({"batch_size": -1}, "batch_size", "greater than or equal to 1"),
        ({"learning_rate": 0}, "learning_rate", "greater than 0"),
        ({"learning_rate": "fast"}, "learning_rate", "number"),
        ({"optimizer": "magic"}, "optimizer", "'sgd', 'momentum'"),
        ({"optimizer": {"type": "magic"}}, "optimizer", "'sgd', 'momentum'"),
        ({"optimizer": {"type": "sgd", "beta": 1}}, "optimizer.beta", "Unknown field"),
        ({"optimizer": {"type": "adam", "beta_1": 1}}, "optimizer.beta_1", "less than 1"),
        ({"validation": {"fraction": 1}}, "validation.fraction", "less than 1"),
        ({"validation": {"fraction": 0.9}, "dataset_id": "tiny"}, "validation.fraction", "none would be left"),
        ({"validation": {}}, "validation", "exactly one of fraction and dataset_id"),
        (
            {"validation": {"fraction": 0.1, "dataset_id": "fit"}},
            "validation",
            "exactly one of fraction and dataset_id",
        ),
        ({"validation": {"dataset_id": "wide"}}, "validation.dataset_id", "The network has 2 inputs"),
        ({"validation": {"dataset_id": "tiny"}}, "validation.dataset_id", "The classes of the network are no, yes"),
        ({"schedule": "magic"}, "schedule", "'constant', 'step'"),
        ({"schedule": {"type": "step", "every": 0}}, "schedule.every", "greater than or equal to 1"),
        ({"schedule": {"type": "step", "power": 1}}, "schedule.power", "Unknown field"),
        ({"schedule": [[0, {}]]}, "schedule.0.0", "greater than or equal to 1"),
        ({"schedule": [[5, {"learning_rate": -1}]]}, "schedule.0.1.learning_rate", "greater than 0"),
        ({"schedule": [[5, {"speed": 1}]]}, "schedule.0.1.speed", "Unknown field"),
        ({"schedule": [[5, {"momentum": 0.5}]]}, "schedule.0.1.momentum", "sgd has no momentum"),
        ({"schedule": [[5, {}]], "epochs": 6}, "epochs", "5 epochs together, the job 6"),
        ({"l1": -1}, "l1", "greater than or equal to 0"),
        ({"l2": "much"}, "l2", "number"),
        ({"clip_norm": 0}, "clip_norm", "greater than 0"),
        ({"clip_value": 0}, "clip_value", "greater than 0"),
        ({"max_norm": 0}, "max_norm", "greater than 0"),
        ({"max_seconds": 0}, "max_seconds", "greater than 0"),
        ({"class_weights": "even"}, "class_weights", "'balanced'"),
        ({"class_weights": {"no": -1}}, "class_weights.no", "greater than or equal to 0"),
        ({"class_weights": {"maybe": 1}}, "class_weights.maybe", "the classes no, yes"),
        ({"class_weights": "balanced", "dataset_id": "numbers"}, "class_weights", "no classes"),
        ({"early_stopping": {"patience": 0}}, "early_stopping.patience", "greater than or equal to 1"),
        ({"early_stopping": True}, "early_stopping", "JSON object"),
        ({"optimizer": "l-bfgs", "learning_rate": 1}, "learning_rate", "leave out learning_rate"),
        ({"optimizer": "l-bfgs", "batch_size": 1}, "batch_size", "leave out batch_size"),
        ({"optimizer": "l-bfgs", "schedule": "cosine"}, "schedule", "no learning rate"),
        ({"optimizer": "l-bfgs", "network_id": "dropping"}, "optimizer", "dropout"),
        ({"batch_size": 1, "network_id": "normalized"}, "batch_size", "at least 2 rows"),
        ({"device": "tpu"}, "device", "'auto', 'cpu' or 'cuda'"),
        ({"device": "cuda"}, "device", "Accepted here: auto, cpu"),
        ({"dataset_id": "wide"}, "dataset_id", "The network has 2 inputs, the dataset 3"),
        ({"dataset_id": "many"}, "dataset_id", "needs 3"),
        ({"dataset_id": "large"}, "dataset_id", "needs targets from 0 to 1"),
    ],
)
def test_invalid_job_settings_are_rejected(
    service: RunningService, change: dict[str, Any], field: str, expected: str
) -> None:
    scenarios.create_network(service, name="fit")
    output = {"units": 1, "activation": "sigmoid"}
    scenarios.create_network(service, name="dropping", layers=[{"units": 3, "dropout": 0.5}, output])
    scenarios.create_network(service, name="normalized", layers=[{"units": 3, "batch_norm": True}, output])
    scenarios.create_dataset(service, name="numbers", inputs=[[0, 0], [1, 1]], labels=None, targets=[[0], [1]])
    scenarios.create_dataset(service, name="fit")
    scenarios.create_dataset(service, name="tiny", inputs=[[0, 0], [1, 1]], labels=[0, 1])
    scenarios.create_dataset(service, name="wide", inputs=[[0, 0, 0], [1, 1, 1]], labels=[0, 1])
    scenarios.create_dataset(service, name="many", inputs=[[0, 0], [1, 1], [0, 1]], labels=[0, 1, 2])
    scenarios.create_dataset(service, name="large", inputs=[[0, 0], [1, 1]], labels=None, targets=[[0], [2]])
    body = {"network_id": "fit", "dataset_id": "fit", **change}
    check_field(post_rejected(service, "/v1/jobs", 422, json=body), field, expected)


@pytest.mark.parametrize(
    ("body", "field", "expected"),
    [
        ({"inputs": [[1, 2, 3]]}, "inputs.0", "3 numbers; the network has 2 inputs"),
        ({"inputs": [[1, 2], [1]]}, "inputs.1", "1 numbers; the network has 2 inputs"),
        ({"inputs": []}, "inputs", "at least 1"),
        ({"inputs": [[1, "x"]]}, "inputs.0.1", "number"),
        ({"inputs": [[1, 1], [1, 1e300]]}, "inputs.1.1", "too large for float32"),
        ({"inputs": [[1, True]]}, "inputs.0.1", "A number is expected, not true"),
        ({"inputs": [[1, None]]}, "inputs.0.1", "A number is expected, not null"),
        ({}, "inputs", "required"),
        ({"inputs": [[1, 2]], "rows": [{}]}, "inputs", "Exactly one of inputs and rows"),
        ({"rows": [{"a": 1, "b": 2}]}, "rows", "plain numbers without column names"),
        ({"rows": [[1, 2]]}, "rows.0", "JSON object"),
        ({"rows": []}, "rows", "at least 1"),
    ],
)
def test_invalid_predictions_are_rejected(
    service: RunningService, body: dict[str, Any], field: str, expected: str
) -> None:
    network = scenarios.create_network(service)
    check_field(post_rejected(service, f"/v1/networks/{network['id']}/predictions", 422, json=body), field, expected)


@pytest.mark.parametrize(
    ("change", "field", "expected"),
    [
        ({"dataset_id": "ev-wide"}, "dataset_id", "The network has 2 inputs, the dataset 3"),
        ({"dataset_id": "ev-many"}, "dataset_id", "a dataset of 2 targets needs 2"),
        ({"dataset_id": "ev-large"}, "dataset_id", "needs targets from 0 to 1"),
        ({"dataset_id": None}, "dataset_id", "has not been trained, so it has no dataset"),
        ({"dataset_id": 1}, "dataset_id", "string"),
        ({"rows": "some"}, "rows", "'all'"),
        ({"version": -1}, "version", "greater than or equal to 0"),
        ({"version": "1"}, "version", "integer"),
        ({"metrics": ["r2"]}, "metrics", "Unknown field"),
    ],
)
def test_invalid_evaluations_are_rejected(
    service: RunningService, change: dict[str, Any], field: str, expected: str
) -> None:
    network = scenarios.create_network(service)
    scenarios.create_dataset(service, name="ev-fit")
    scenarios.create_dataset(service, name="ev-wide", inputs=[[0, 0, 0], [1, 1, 1]], labels=[0, 1])
    scenarios.create_dataset(service, name="ev-many", inputs=[[0, 0], [1, 1]], labels=None, targets=[[0, 1], [1, 0]])
    scenarios.create_dataset(service, name="ev-large", inputs=[[0, 0], [1, 1]], labels=None, targets=[[0], [2]])
    body = {"dataset_id": "ev-fit", **change}
    check_field(post_rejected(service, f"/v1/networks/{network['id']}/evaluations", 422, json=body), field, expected)


def test_unknown_ids_are_not_found(service: RunningService) -> None:
    network, dataset = scenarios.create_network(service)["id"], scenarios.create_dataset(service)["id"]
    for method, path, kind in (
        ("GET", "/v1/networks/net_0", "network"),
        ("DELETE", "/v1/networks/net_0", "network"),
        ("GET", "/v1/datasets/ds_0", "dataset"),
        ("DELETE", "/v1/datasets/ds_0", "dataset"),
        ("GET", "/v1/jobs/job_0", "job"),
        ("GET", "/v1/jobs/job_0/history", "job"),
        ("GET", "/v1/jobs/job_0/events", "job"),
        ("POST", "/v1/jobs/job_0/cancel", "job"),
        ("POST", "/v1/jobs/job_0/pause", "job"),
        ("POST", "/v1/jobs/job_0/resume", "job"),
        ("DELETE", "/v1/jobs/job_0", "job"),
    ):
        response = service.http.request(method, path)
        assert (response.status_code, response.json()["type"]) == (404, f"/problems/unknown-{kind}")
        assert path.split("/")[3] in response.json()["detail"]
    for body, kind in (
        ({"network_id": "net_0", "dataset_id": dataset}, "network"),
        ({"network_id": network, "dataset_id": "ds_0"}, "dataset"),
    ):
        assert post_rejected(service, "/v1/jobs", 404, json=body)["type"] == f"/problems/unknown-{kind}"
    path = f"/v1/networks/{network}/predictions"
    assert (
        post_rejected(service, path, 404, json={"inputs": [[0, 0]], "version": 5})["type"]
        == "/problems/unknown-version"
    )
    for id, body, kind in (
        ("net_0", {"dataset_id": dataset}, "network"),
        (network, {"dataset_id": "ds_0"}, "dataset"),
        (network, {"dataset_id": dataset, "version": 5}, "version"),
    ):
        assert (
            post_rejected(service, f"/v1/networks/{id}/evaluations", 404, json=body)["type"]
            == f"/problems/unknown-{kind}"
        )
    unknown_path = service.http.get("/v9/nothing")
    assert (unknown_path.status_code, unknown_path.headers["content-type"]) == (404, "application/problem+json")
    wrong_method = service.http.put("/v1/networks")
    assert (wrong_method.status_code, wrong_method.headers["content-type"]) == (405, "application/problem+json")


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x"])
def test_invalid_page_limits_are_rejected(service: RunningService, query: str) -> None:
    response = service.http.get(f"/v1/jobs?{query}")
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "limit"


@pytest.mark.parametrize("path", ["/v1/networks", "/v1/jobs", "/v1/networks/net_0/evaluations"])
def test_json_with_another_media_type_is_unsupported(service: RunningService, path: str) -> None:
    # The media type that curl -d sends by default.
    headers = {"content-type": "application/x-www-form-urlencoded"}
    problem = post_rejected(service, path, 415, content=b"{}", headers=headers)
    assert "x-www-form-urlencoded; application/json is expected" in problem["detail"]
    problem = post_rejected(service, path, 422, json=[1])
    check_field(problem, "body", "A JSON object is expected")


def test_body_above_limit_of_its_media_type(start_service: StartService) -> None:
    service = start_service(max_json_bytes="2000", max_upload_bytes="5000")
    json_headers = {"content-type": "application/json"}
    for path in ("/v1/networks", "/v1/datasets", "/v1/jobs"):
        problem = post_rejected(service, path, 413, content=b" " * 3000, headers=json_headers)
        assert problem["type"] == "/problems/too-large"
        assert "2000 bytes" in problem["detail"]
    upload = {"file": ("data.csv", b"a,b\n" + b"1,2\n" * 3000)}
    problem = post_rejected(service, "/v1/datasets", 413, files=upload, data={"target": "b"})
    assert "5000 bytes" in problem["detail"]
    chunked = (b" " * 1000 for _ in range(1000))  # without a Content-Length
    assert post_rejected(service, "/v1/networks", 413, content=chunked, headers=json_headers)["status"] == 413
    response = service.http.post("/v1/datasets", files={"file": ("data.csv", b"a,b\n1,2\n")}, data={"target": "b"})
    assert response.status_code == 201


@pytest.mark.parametrize("name", ["a/b", "größe", "x*", "", "-x", "a" * 101, "net_x"])
def test_invalid_name_is_explained(service: RunningService, name: str) -> None:
    response = service.http.post("/v1/networks", json={**NETWORK, "name": name})
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["field"] == "name"
    assert "A name" in error["message"]
    assert "^" not in error["message"]


def fill_body(prefix: str, item: str, suffix: str) -> bytes:
    """Return a body of 7.8 MB that repeats an item, with commas between."""
    return f"{prefix}{','.join([item] * (7_800_000 // (len(item) + 1)))}{suffix}".encode()


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/datasets", fill_body('{"targets": [[1]], "inputs": [', "[]", "]}"), "inputs.0"),
        ("/v1/datasets", fill_body('{"targets": [[1]], "inputs": [[', "null", "]]}"), "inputs.0.0"),
        ("/v1/datasets", fill_body('{"inputs": [[1]], "labels": [', "[]", "]}"), "labels.0"),
        ("/v1/datasets", fill_body('{"inputs": [[1]], "targets": [[1]], "weights": [', "[]", "]}"), "weights.0"),
        ("/v1/datasets", fill_body('{"target": "a", "rows": [', '{"a": []}', "]}"), "rows.0.a"),
        ("/v1/datasets", fill_body('{"target": "a", "rows": [', "[]", "]}"), "rows.0"),
        ("/v1/datasets", b"{%s}" % b",".join(b'"%d":0' % number for number in range(700_000)), "body"),
        ("/v1/networks/{network}/predictions", fill_body('{"inputs": [', "[]", "]}"), "inputs.0"),
        ("/v1/networks/{network}/predictions", fill_body('{"rows": [', "[]", "]}"), "rows.0"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value,
)
def test_millions_of_invalid_items_take_little_memory(
    service: RunningService, path: str, body: bytes, field: str
) -> None:
    path = path.format(network=scenarios.create_network(service)["id"])
    process = Path(f"/proc/{service.process.pid}")

    def memory(name: str) -> int:
        status = (process / "status").read_text()
        return int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) * 1024

    before = memory("VmRSS")
    (process / "clear_refs").write_text("5")  # the peak starts anew
    problem = post_rejected(service, path, 422, content=body, headers={"content-type": "application/json"})
    assert memory("VmHWM") - before < 300 * 2**20
    assert problem["errors"][0]["field"].removeprefix("body.").startswith(field)
