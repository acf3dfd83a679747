"""Predictions: rows in several forms, answers in several forms, the same bits in all of them."""

import io
import json
import re
import threading
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
    """The path of the predictions of a network that has learned three classes."""
    network = scenarios.network(service, **WIDE)["id"]
    labels = [["a", "b", "c"][place % 3] for place in range(60)]
    data = scenarios.dataset(service, inputs=X[:60].tolist(), labels=labels)["id"]
    job = scenarios.job(service, network_id=network, dataset_id=data, epochs=3, learning_rate=0.1)
    assert service.finished(job["id"]).state == "succeeded"
    return f"/v1/networks/{network}/predictions"


def outputs(service: RunningService, path: str, rows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return np.array(service.post(path, {"inputs": rows.tolist()})["outputs"], np.float32)


def test_rows_have_the_same_bits_in_every_form_and_company(service: RunningService, wide: str) -> None:
    alone = np.concatenate([outputs(service, wide, X[place : place + 1]) for place in range(12)])
    assert outputs(service, wide, X[:12]).tobytes() == alone.tobytes()
    answer = service.http.post(wide, content=npy(X), headers={**NPY, "Accept": "application/x-npy"})
    assert answer.headers["content-type"] == "application/x-npy"
    together = np.load(io.BytesIO(answer.content))
    assert (together.dtype, together.shape) == (np.float32, (3000, 3))
    assert together[:12].tobytes() == alone.tobytes()
    assert outputs(service, wide, X).tobytes() == together.tobytes()


def test_many_clients_at_once(service: RunningService, wide: str) -> None:
    """Each gets what it would have got alone."""
    expected = outputs(service, wide, X[:200])
    begin = threading.Barrier(16)

    def ask(client: int) -> bool:
        with httpx.Client(base_url=service.url) as http:
            begin.wait()
            found = []
            for place in range(client, 200, 16):
                body = {"inputs": X[place : place + 1].tolist()}
                found.append(http.post(wide, json=body).json()["outputs"][0])
        return np.array(found, np.float32).tobytes() == expected[client::16].tobytes()

    with ThreadPoolExecutor(16) as pool:
        assert [*pool.map(ask, range(16))] == [True] * 16


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "bool", ">f4"])
def test_arrays_of_any_numbers(service: RunningService, wide: str, dtype: str) -> None:
    rows = (2 * X[:5]).astype(dtype)
    answer = service.http.post(wide, content=npy(rows), headers=NPY)
    assert answer.status_code == 200, answer.text
    assert (
        np.array(answer.json()["outputs"], np.float32).tobytes()
        == outputs(service, wide, rows.astype(np.float64)).tobytes()
    )


def test_probabilities_and_the_likeliest_classes(service: RunningService, wide: str) -> None:
    found = service.post(wide, {"inputs": X[:4].tolist(), "probabilities": True, "top_k": 2})
    assert found["probabilities"] == found["outputs"]
    for row, label, top in zip(found["outputs"], found["labels"], found["top"], strict=True):
        ranked = sorted(zip(row, ["a", "b", "c"], strict=True), reverse=True)[:2]
        assert [(each["score"], each["label"]) for each in top] == ranked
        assert top[0]["label"] == label
    query = f"{wide}?probabilities=true&top_k=2&version=1"
    assert service.http.post(query, content=npy(X[:4]), headers=NPY).json() == found


def test_two_classes_by_one_output(service: RunningService) -> None:
    network = scenarios.network(service)["id"]
    job = scenarios.job(service, network_id=network)
    assert service.finished(job["id"]).state == "succeeded"
    path = f"/v1/networks/{network}/predictions"
    found = service.post(path, {"inputs": scenarios.XOR_INPUTS, "probabilities": True, "top_k": 5})
    for (p,), (first, second), label, top in zip(
        found["outputs"], found["probabilities"], found["labels"], found["top"], strict=True
    ):
        assert second == p
        assert first + second == pytest.approx(1)
        assert label == ("yes" if p >= 0.5 else "no")
        assert [each["label"] for each in top] == ([label, "no"] if label == "yes" else [label, "yes"])
    assert "top" not in service.post(path, {"inputs": scenarios.XOR_INPUTS})


def test_a_tie_of_one_output(service: RunningService) -> None:
    """What was written into the file is a start of zeros, which gives ½ to everything."""
    content = safetensors.numpy.save({"0.weight": np.zeros((1, 2), "f4"), "0.bias": np.zeros(1, "f4")})
    data = {"layers": json.dumps([{"activation": "sigmoid"}]), "classes": '["no", "yes"]'}
    answer = service.http.post("/v1/networks", files={"file": ("zeros", content)}, data=data)
    assert answer.status_code == 201, answer.text
    found = service.post(f"/v1/networks/{answer.json()['id']}/predictions", {"inputs": [[0, 0]], "top_k": 2})
    assert (found["outputs"], found["labels"]) == ([[0.5]], ["yes"])
    assert [each["label"] for each in found["top"][0]] == ["yes", "no"]


def test_answers_beyond_what_is_given_at_once(service: RunningService) -> None:
    layers = [{"units": 100_000, "activation": "identity"}]
    network = scenarios.network(service, cost="quadratic", inputs=1, layers=layers)["id"]
    path = f"/v1/networks/{network}/predictions"
    problem = service.post(path, {"inputs": [[0]] * 700}, 413)
    assert "The outputs of 700 rows would take 560000000 bytes; 536870912 are given at once." in problem["detail"]


def test_large_answers_come_in_parts(service: RunningService) -> None:
    layers = [{"units": 400, "activation": "identity"}]
    network = scenarios.network(service, cost="quadratic", inputs=1, layers=layers)["id"]
    rows = [[float(row)] for row in range(2500)]
    with service.http.stream("POST", f"/v1/networks/{network}/predictions", json={"inputs": rows}) as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        found = json.loads(answer.read())
    assert len(found["outputs"]) == 2500
    assert found["outputs"][7] == pytest.approx([7 * value for value in found["outputs"][1]], rel=1e-6)


def head(shape: object) -> bytes:
    """Of an array that is said to have this shape."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (npy(X[:2, :3]), 422, r"\(rows, 20\) is expected"),
        (npy(X[0]), 422, "a plain list; "),
        (npy(np.asfortranarray(X[:4])), 422, "Fortran"),
        (npy(X[:3].astype(str)), 422, "numbers are expected"),
        (npy(np.where(np.arange(20) == 4, np.nan, X[:3])), 422, "finite"),
        (npy(np.full((1, 20), 1e300)), 422, "too large for float32"),
        (npy(X[:2])[:-1], 422, "announces 2 rows, and fewer follow"),
        (npy(X[:2]) + b"1", 422, "More follows"),
        (npy(X[:2])[:60], 422, "cannot be read|not a .npy"),
        (b"", 422, "not a .npy file"),
        (b"{}", 422, "not a .npy file"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b" " * 99, 422, "header of the .npy file has"),
        (head((-1, 20)), 422, "dimension below 0"),
        (head("x"), 422, "cannot be read"),
        (head((10**10, 20)), 413, "outputs of 10000000000 rows would take"),
        (head((5, 20)), 422, "announces 5 rows, and fewer follow"),
        (npy(np.array([["a"] * 20], object)), 422, "not accepted|cannot be read"),
        (npy(np.zeros((0, 20))), 422, "at least 1 row"),
    ],
)
def test_arrays_that_are_refused(service: RunningService, wide: str, body: bytes, status: int, words: str) -> None:
    answer = service.http.post(wide, content=body, headers=NPY)
    assert answer.status_code == status, answer.text
    problem = answer.json()
    assert problem["errors"][0]["field"].startswith("body")
    assert re.search(words, problem["detail"])


@pytest.mark.parametrize(
    ("change", "status", "field"),
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
def test_json_that_is_refused(
    service: RunningService, wide: str, change: dict[str, Any], status: int, field: str
) -> None:
    problem = service.post(wide, change, status)
    assert problem["errors"][0]["field"] == field


def test_a_cost_that_makes_no_probabilities(service: RunningService) -> None:
    network = scenarios.network(service, cost="quadratic")["id"]
    job = scenarios.job(service, network_id=network)
    assert service.finished(job["id"]).state == "succeeded"
    problem = service.post(f"/v1/networks/{network}/predictions", {"inputs": [[0, 1]], "probabilities": True}, 422)
    assert "cost quadratic, which makes no probabilities" in problem["detail"]


def test_kinds_of_bodies_and_parameters(service: RunningService, wide: str) -> None:
    assert service.http.post(wide, content=b"x", headers={"Content-Type": "text/csv"}).status_code == 415
    unknown = service.http.post(f"{wide}?colour=1", content=npy(X[:1]), headers=NPY)
    assert (unknown.status_code, unknown.json()["errors"][0]["field"]) == (422, "colour")
    table = service.http.post(f"{wide}?version=x!", content=npy(X[:1]), headers=NPY)
    assert (table.status_code, table.json()["errors"][0]["field"]) == (422, "version")
    assert service.http.post("/v1/networks/nothing/predictions", json={"inputs": [[1]]}).status_code == 404


def test_an_array_that_arrives_slowly_keeps_nobody_waiting(service: RunningService, wide: str) -> None:
    """And may be larger than JSON."""
    rows = np.tile(X, (50, 1))
    body = npy(rows)
    assert len(body) > 8 * 2**20
    going_on = threading.Event()

    def parts() -> Any:
        yield body[: len(body) // 2]
        assert going_on.wait(60)
        yield body[len(body) // 2 :]

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(
            httpx.post, service.url + wide, content=parts(), headers={**NPY, "Accept": "application/x-npy"}, timeout=60
        )
        expected = outputs(service, wide, X)
        going_on.set()
        found = np.load(io.BytesIO(slow.result().content))
    assert found.tobytes() == np.tile(expected, (50, 1)).tobytes()


def test_more_than_may_wait_is_turned_away(start_service: StartService) -> None:
    service = start_service(max_inflight_bytes=str(2**20))
    network = scenarios.network(service, inputs=1000, layers=[{"units": 1, "activation": "sigmoid"}])["id"]
    path = f"/v1/networks/{network}/predictions"
    answer = service.http.post(path, json={"inputs": [[0.123456789012] * 1000] * 100})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["type"] == "/problems/busy"
    assert service.http.post(path, json={"inputs": [[0.1] * 1000]}).status_code == 200
