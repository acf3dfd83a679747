"""Predictions as JSON and .npy: formats, options, limits, and outputs that do not depend on either."""

import io
import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy

from tests.conftest import StartService
from tests.support import scenarios
from tests.support.service import RunningService

NPY = {"Content-Type": "application/x-npy"}
WIDE: dict[str, Any] = {
    "inputs": 20,
    "layers": [{"units": 32, "activation": "tanh"}, {"units": 3, "activation": "softmax"}],
    "cost": "categorical_cross_entropy",
}
X = np.random.default_rng(4).normal(size=(3000, 20)).astype(np.float32)


def npy(array: npt.NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.fixture(scope="module")
def wide(service: RunningService) -> str:
    """Return the predictions path of a network trained on three classes."""
    network = scenarios.create_network(service, **WIDE)["id"]
    labels = [["a", "b", "c"][row % 3] for row in range(60)]
    data = scenarios.create_dataset(service, inputs=X[:60].tolist(), labels=labels)["id"]
    job = scenarios.submit_job(service, network_id=network, dataset_id=data, epochs=3, learning_rate=0.1)
    assert service.wait_for_job(job["id"]).state == "succeeded"
    return f"/v1/networks/{network}/predictions"


def outputs(service: RunningService, path: str, rows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return np.array(service.post(path, {"inputs": rows.tolist()})["outputs"], np.float32)


def test_outputs_are_bitwise_equal_in_every_format_and_batch(service: RunningService, wide: str) -> None:
    single = np.concatenate([outputs(service, wide, X[row : row + 1]) for row in range(12)])
    assert outputs(service, wide, X[:12]).tobytes() == single.tobytes()
    response = service.http.post(wide, content=npy(X), headers={**NPY, "Accept": "application/x-npy"})
    assert response.headers["content-type"] == "application/x-npy"
    array = np.load(io.BytesIO(response.content))
    assert (array.dtype, array.shape) == (np.float32, (3000, 3))
    assert array[:12].tobytes() == single.tobytes()
    assert outputs(service, wide, X).tobytes() == array.tobytes()


def test_concurrent_requests_get_the_outputs_of_single_ones(service: RunningService, wide: str) -> None:
    expected = outputs(service, wide, X[:200])
    barrier = threading.Barrier(16)

    def predict_every_16th(client: int) -> bool:
        with httpx.Client(base_url=service.url) as http:
            barrier.wait()
            rows = [
                http.post(wide, json={"inputs": X[row : row + 1].tolist()}).json()["outputs"][0]
                for row in range(client, 200, 16)
            ]
        return np.array(rows, np.float32).tobytes() == expected[client::16].tobytes()

    with ThreadPoolExecutor(16) as pool:
        assert [*pool.map(predict_every_16th, range(16))] == [True] * 16


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "bool", ">f4"])
def test_npy_arrays_of_any_numeric_dtype(service: RunningService, wide: str, dtype: str) -> None:
    rows = (2 * X[:5]).astype(dtype)
    response = service.http.post(wide, content=npy(rows), headers=NPY)
    assert response.status_code == 200, response.text
    expected = outputs(service, wide, rows.astype(np.float64))
    assert np.array(response.json()["outputs"], np.float32).tobytes() == expected.tobytes()


def test_probabilities_and_top_k(service: RunningService, wide: str) -> None:
    prediction = service.post(wide, {"inputs": X[:4].tolist(), "probabilities": True, "top_k": 2})
    assert prediction["probabilities"] == prediction["outputs"]
    for row, label, top in zip(prediction["outputs"], prediction["labels"], prediction["top"], strict=True):
        ranked = sorted(zip(row, ["a", "b", "c"], strict=True), reverse=True)[:2]
        assert [(entry["score"], entry["label"]) for entry in top] == ranked
        assert top[0]["label"] == label
    query = f"{wide}?probabilities=true&top_k=2&version=1"
    assert service.http.post(query, content=npy(X[:4]), headers=NPY).json() == prediction


def test_single_output_scores_two_classes(service: RunningService) -> None:
    network = scenarios.create_network(service)["id"]
    job = scenarios.submit_job(service, network_id=network)
    assert service.wait_for_job(job["id"]).state == "succeeded"
    path = f"/v1/networks/{network}/predictions"
    prediction = service.post(path, {"inputs": scenarios.XOR_INPUTS, "probabilities": True, "top_k": 5})
    fields = (prediction[name] for name in ("outputs", "probabilities", "labels", "top"))
    for (p,), (first, second), label, top in zip(*fields, strict=True):
        assert second == p
        assert first + second == pytest.approx(1)
        assert label == ("yes" if p >= 0.5 else "no")
        assert [entry["label"] for entry in top] == ([label, "no"] if label == "yes" else [label, "yes"])
    assert "top" not in service.post(path, {"inputs": scenarios.XOR_INPUTS})


def test_single_output_of_one_half_predicts_the_second_class(service: RunningService) -> None:
    # Zero weights give sigmoid(0) = ½.
    content = safetensors.numpy.save({"0.weight": np.zeros((1, 2), "f4"), "0.bias": np.zeros(1, "f4")})
    data = {"layers": json.dumps([{"activation": "sigmoid"}]), "classes": '["no", "yes"]'}
    response = service.http.post("/v1/networks", files={"file": ("zeros", content)}, data=data)
    assert response.status_code == 201, response.text
    prediction = service.post(f"/v1/networks/{response.json()['id']}/predictions", {"inputs": [[0, 0]], "top_k": 2})
    assert (prediction["outputs"], prediction["labels"]) == ([[0.5]], ["yes"])
    assert [entry["label"] for entry in prediction["top"][0]] == ["yes", "no"]


def test_outputs_above_size_limit_are_rejected(service: RunningService) -> None:
    layers = [{"units": 100_000, "activation": "identity"}]
    network = scenarios.create_network(service, cost="quadratic", inputs=1, layers=layers)["id"]
    path = f"/v1/networks/{network}/predictions"
    problem = service.post(path, {"inputs": [[0]] * 700}, 413)
    assert "700 rows would take 560000000 bytes; at most 536870912" in problem["detail"]


def test_large_json_response_is_streamed(service: RunningService) -> None:
    layers = [{"units": 400, "activation": "identity"}]
    network = scenarios.create_network(service, cost="quadratic", inputs=1, layers=layers)["id"]
    rows = [[float(row)] for row in range(2500)]
    with service.http.stream("POST", f"/v1/networks/{network}/predictions", json={"inputs": rows}) as response:
        assert response.headers["transfer-encoding"] == "chunked"
        prediction = json.loads(response.read())
    assert len(prediction["outputs"]) == 2500
    assert prediction["outputs"][7] == pytest.approx([7 * value for value in prediction["outputs"][1]], rel=1e-6)


def npy_header(shape: object) -> bytes:
    """Return the header of a float32 array that announces a shape."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        (npy(X[:2, :3]), 422, r"\(rows, 20\) is expected"),
        (npy(X[0]), 422, r"shape \(20,\); \(rows, 20\) is expected"),
        (npy(np.asfortranarray(X[:4])), 422, "Fortran"),
        (npy(X[:3].astype(str)), 422, "numbers are expected"),
        (npy(np.where(np.arange(20) == 4, np.nan, X[:3])), 422, "finite"),
        (npy(np.full((1, 20), 1e300)), 422, "too large for float32"),
        (npy(X[:2])[:-1], 422, "announces 2 rows, but the body ends earlier"),
        (npy(X[:2]) + b"1", 422, "continues after the rows"),
        (npy(X[:2])[:60], 422, "cannot be read|not a .npy"),
        (b"", 422, "not a .npy file"),
        (b"{}", 422, "not a .npy file"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b" " * 99, 422, r"header has \d+ bytes; at most 4096"),
        (npy_header((-1, 20)), 422, "negative dimension"),
        (npy_header("x"), 422, "cannot be read"),
        (npy_header((10**10, 20)), 413, "outputs of 10000000000 rows would take"),
        (npy_header((5, 20)), 422, "announces 5 rows, but the body ends earlier"),
        (npy(np.array([["a"] * 20], object)), 422, "not accepted|cannot be read"),
        (npy(np.zeros((0, 20))), 422, "at least 1 row"),
    ],
)
def test_invalid_npy_bodies_are_rejected(
    service: RunningService, wide: str, body: bytes, status: int, expected: str
) -> None:
    response = service.http.post(wide, content=body, headers=NPY)
    assert response.status_code == status, response.text
    problem = response.json()
    assert problem["errors"][0]["field"].startswith("body")
    assert re.search(expected, problem["detail"]), problem["detail"]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"inputs": [[1.0] * 20, [2.0] * 19]}, 422, "inputs.1"),
        ({"inputs": [[1.0] * 19 + ["x"]]}, 422, "inputs.0.19"),
        ({"inputs": [[1.0] * 19 + [True]]}, 422, "inputs.0.19"),
        ({"inputs": [[1.0] * 19 + [None]]}, 422, "inputs.0.19"),
        ({"inputs": [[1.0] * 19 + [10**400]]}, 422, "inputs.0.19"),
        ({"inputs": []}, 422, "inputs"),
        ({"inputs": [[]]}, 422, "inputs.0"),
        ({"rows": [{"a": 1}]}, 422, "rows"),
        ({}, 422, "inputs"),
        ({"inputs": [[1.0] * 20], "top_k": 0}, 422, "top_k"),
        ({"inputs": [[1.0] * 20], "top_k": 2.5}, 422, "top_k"),
        ({"inputs": [[1.0] * 20], "probabilities": 1}, 422, "probabilities"),
        ({"inputs": [[1.0] * 20], "version": -1}, 422, "version"),
        ({"inputs": [[1.0] * 20], "version": 7}, 404, "version"),
        ({"inputs": [[1.0] * 20], "version": 0, "probabilities": True}, 422, "probabilities"),
        ({"inputs": [[1.0] * 20], "version": 0, "top_k": 1}, 422, "top_k"),
        ({"inputs": [[1.0] * 20], "colour": 1}, 422, "colour"),
    ],
)
def test_invalid_json_bodies_are_rejected(
    service: RunningService, wide: str, body: dict[str, Any], status: int, field: str
) -> None:
    problem = service.post(wide, body, status)
    assert problem["errors"][0]["field"] == field


def test_probabilities_require_a_cross_entropy_cost(service: RunningService) -> None:
    network = scenarios.create_network(service, cost="quadratic")["id"]
    job = scenarios.submit_job(service, network_id=network)
    assert service.wait_for_job(job["id"]).state == "succeeded"
    problem = service.post(f"/v1/networks/{network}/predictions", {"inputs": [[0, 1]], "probabilities": True}, 422)
    assert problem["errors"][0]["field"] == "probabilities"
    assert "cost quadratic" in problem["detail"]


def test_unsupported_media_type_and_invalid_query_are_rejected(service: RunningService, wide: str) -> None:
    assert service.http.post(wide, content=b"x", headers={"Content-Type": "text/csv"}).status_code == 415
    unknown = service.http.post(f"{wide}?colour=1", content=npy(X[:1]), headers=NPY)
    assert (unknown.status_code, unknown.json()["errors"][0]["field"]) == (422, "colour")
    invalid = service.http.post(f"{wide}?version=x!", content=npy(X[:1]), headers=NPY)
    assert (invalid.status_code, invalid.json()["errors"][0]["field"]) == (422, "version")
    assert service.http.post("/v1/networks/nothing/predictions", json={"inputs": [[1]]}).status_code == 404


def test_slow_upload_does_not_delay_other_predictions(service: RunningService, wide: str) -> None:
    body = npy(np.tile(X, (50, 1)))
    assert len(body) > 8 * 2**20  # more than the limit of a JSON body
    resumed = threading.Event()

    def upload() -> Iterator[bytes]:
        yield body[: len(body) // 2]
        assert resumed.wait(60)
        yield body[len(body) // 2 :]

    headers = {**NPY, "Accept": "application/x-npy"}
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(httpx.post, service.url + wide, content=upload(), headers=headers, timeout=60)
        expected = outputs(service, wide, X)
        resumed.set()
        predicted = np.load(io.BytesIO(slow.result().content))
    assert predicted.tobytes() == np.tile(expected, (50, 1)).tobytes()


def test_request_above_memory_budget_is_busy(start_service: StartService) -> None:
    service = start_service(max_inflight_bytes=str(2**20))
    network = scenarios.create_network(service, inputs=1000, layers=[{"units": 1, "activation": "sigmoid"}])["id"]
    path = f"/v1/networks/{network}/predictions"
    response = service.http.post(path, json={"inputs": [[0.123456789012] * 1000] * 100})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert response.json()["type"] == "/problems/busy"
    assert service.http.post(path, json={"inputs": [[0.1] * 1000]}).status_code == 200
