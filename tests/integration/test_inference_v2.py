"""The Open Inference Protocol, with Triton's client and with requests as in the specification."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.http as triton

from tests.conftest import StartService
from tests.support import scenarios
from tests.support.service import RunningService

JOBS = ("clerk", "nurse", "cook")
TABLE = "age,job,member,since,risk\n" + "\n".join(
    f"{20 + row % 40},{JOBS[row % 3]},{['false', 'true'][row % 2]},2024-01-{1 + row % 28:02d},"
    f"{['low', 'high'][row % 2]}"
    for row in range(60)
)


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[Any]:
    with triton.InferenceServerClient(service.url.removeprefix("http://")) as triton_client:
        yield triton_client


@pytest.fixture(scope="module")
def xor(service: RunningService) -> str:
    network = scenarios.create_network(service, name="protocol-xor")
    job = scenarios.submit_job(service, network_id=network["id"])
    assert service.wait_for_job(job["id"]).state == "succeeded"
    return "protocol-xor"


@pytest.fixture(scope="module")
def table(service: RunningService) -> str:
    """Return the name of a model trained on a table."""
    response = service.http.post(
        "/v1/datasets", files={"file": ("risk.csv", TABLE)}, data={"label": "risk", "types": '{"since": "date"}'}
    )
    assert response.status_code == 201, response.text
    data = response.json()
    layers = [{"units": 4, "activation": "tanh"}, {"units": 2, "activation": "softmax"}]
    network = scenarios.create_network(
        service,
        name="protocol-table",
        inputs=data["inputs"],
        layers=layers,
        cost="categorical_cross_entropy",
        preprocessing={"inputs": "standardize"},
    )
    job = scenarios.submit_job(service, network_id=network["id"], dataset_id=data["id"], learning_rate=0.1, epochs=5)
    assert service.wait_for_job(job["id"]).state == "succeeded"
    return "protocol-table"


def test_health_and_metadata(client: Any, xor: str) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(xor)
    assert client.is_model_ready(xor, "1")
    assert not client.is_model_ready("nothing")
    server = client.get_server_metadata()
    assert server["name"] == "nabla"
    assert "binary_tensor_data" in server["extensions"]
    assert client.get_model_metadata(xor, "1") == {
        "name": xor,
        "versions": ["0", "1"],
        "platform": "nabla",
        "inputs": [{"name": "inputs", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [
            {"name": "outputs", "datatype": "FP32", "shape": [-1, 1]},
            {"name": "labels", "datatype": "BYTES", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
        ],
    }


def test_model_repository(service: RunningService, client: Any, xor: str) -> None:
    untrained = scenarios.create_network(service, preprocessing={"inputs": "standardize"})["id"]
    index = {(state["name"], state["version"]): state for state in client.get_model_repository_index()}
    assert index[xor, "1"] == {"name": xor, "version": "1", "state": "READY", "reason": ""}
    assert index[untrained, "0"]["state"] == "UNAVAILABLE"
    assert "not been trained" in index[untrained, "0"]["reason"]
    client.unload_model(xor)
    assert not client.is_model_ready(xor)
    with pytest.raises(triton.InferenceServerException, match="is unloaded; POST") as rejected:
        client.infer(xor, [numeric_input("inputs", scenarios.XOR_INPUTS)])
    assert rejected.value.status() == "409"
    assert service.post(f"/v1/networks/{xor}/predictions", {"inputs": [[0, 1]]})["labels"] == ["yes"]
    client.load_model(xor)
    assert client.is_model_ready(xor)


def numeric_input(name: str, values: Any, datatype: str = "FP32", *, binary: bool = True) -> Any:
    array: npt.NDArray[Any] = np.array(
        values, {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "BOOL": np.bool_}[datatype]
    )
    tensor = triton.InferInput(name, array.shape, datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def text_input(name: str, values: list[str], *, binary: bool = True) -> Any:
    tensor = triton.InferInput(name, [len(values)], "BYTES")
    tensor.set_data_from_numpy(np.array(values, object), binary_data=binary)
    return tensor


@pytest.mark.parametrize("binary_input", [True, False], ids=["binary in", "json in"])
@pytest.mark.parametrize("binary_output", [True, False], ids=["binary out", "json out"])
@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_outputs_match_predictions_bitwise(
    service: RunningService, client: Any, xor: str, binary_input: bool, binary_output: bool, datatype: str
) -> None:
    rows = np.random.default_rng(1).normal(size=(300, 2)).astype(np.float32)
    expected = service.post(f"/v1/networks/{xor}/predictions", {"inputs": rows.tolist(), "probabilities": True})
    names = ["outputs", "labels", "probabilities"]
    result = client.infer(
        xor,
        [numeric_input("inputs", rows, datatype, binary=binary_input)],
        outputs=[triton.InferRequestedOutput(name, binary_data=binary_output) for name in names],
        request_id="mine",
    )
    assert result.get_response()["id"] == "mine"
    assert result.get_response()["model_version"] == "1"
    for name in ("outputs", "probabilities"):
        assert result.as_numpy(name).tobytes() == np.array(expected[name], np.float32).tobytes()
    labels = [text.decode() if isinstance(text, bytes) else text for text in result.as_numpy("labels").tolist()]
    assert labels == expected["labels"]


def test_versions_and_classification(client: Any, xor: str) -> None:
    rows = numeric_input("inputs", scenarios.XOR_INPUTS)
    trained, initial = (client.infer(xor, [rows], model_version=version).as_numpy("outputs") for version in ("1", "0"))
    assert not np.array_equal(trained, initial)
    result = client.infer(xor, [rows], outputs=[triton.InferRequestedOutput("outputs", class_count=1)])
    top_classes = [text.decode().split(":")[1:] for (text,) in result.as_numpy("outputs").tolist()]
    assert top_classes == [["0", "no"], ["1", "yes"], ["1", "yes"], ["0", "no"]]


@pytest.mark.parametrize("binary", [True, False])
def test_model_of_a_table(service: RunningService, client: Any, table: str, binary: bool) -> None:
    datatypes = {tensor["name"]: tensor["datatype"] for tensor in client.get_model_metadata(table)["inputs"]}
    assert datatypes == {"age": "FP64", "job": "BYTES", "member": "BOOL", "since": "BYTES"}
    rows = [
        {"age": 31, "job": "clerk", "member": True, "since": "2024-01-03"},
        {"age": 57, "job": "cook", "member": False, "since": "2024-01-20"},
    ]
    tensors = [
        numeric_input("age", [31, 57], "FP64", binary=binary),
        text_input("job", ["clerk", "cook"], binary=binary),
        numeric_input("member", [True, False], "BOOL", binary=binary),
        text_input("since", ["2024-01-03", "2024-01-20"], binary=binary),
    ]
    expected = service.post(f"/v1/networks/{table}/predictions", {"rows": rows})
    result = client.infer(table, tensors, outputs=[triton.InferRequestedOutput("outputs")])
    assert result.as_numpy("outputs").tobytes() == np.array(expected["outputs"], np.float32).tobytes()
    with pytest.raises(
        triton.InferenceServerException, match=r"since: This input is missing\. The inputs are age, job"
    ):
        client.infer(table, tensors[:3])
    with pytest.raises(triton.InferenceServerException, match="All inputs need the same number of elements"):
        client.infer(table, [numeric_input("age", [31], "FP64"), *tensors[1:]])
    with pytest.raises(triton.InferenceServerException, match=r"job: .*categories; BYTES is expected"):
        client.infer(table, [tensors[0], numeric_input("job", [True, False], "BOOL"), *tensors[2:]])


@pytest.mark.parametrize("name", ["age", "job", "member", "since"])
def test_null_is_a_missing_value(service: RunningService, table: str, name: str) -> None:
    row = {"age": 31, "job": "clerk", "member": True, "since": "2024-01-03", name: None}
    datatypes = {"age": "FP64", "job": "BYTES", "member": "BOOL", "since": "BYTES"}
    inputs = [{"name": key, "shape": [1], "datatype": datatypes[key], "data": [cell]} for key, cell in row.items()]
    response = service.http.post(f"/v2/models/{table}/infer", json={"inputs": inputs})
    # The network was trained without an imputation.
    assert response.status_code == 422
    assert f"Row 1 has no value in the column '{name}'" in response.json()["error"]


def infer_request(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "inputs", "shape": [1, 2], "datatype": "FP32", "data": [0, 1]}
    return {"inputs": [{**tensor, **changes}]}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (infer_request(name="x"), "x: Unknown input. The inputs are inputs."),
        (infer_request(shape=[1, 3]), "inputs: The shape [1, 3] has 3 elements; the data have 2."),
        (infer_request(shape=[2, 1]), "inputs: The shape is [2, 1]; [rows, 2] is expected."),
        (infer_request(shape=[2]), "inputs: The shape is [2]; [rows, 2] is expected."),
        (infer_request(shape=[-1, 2]), "A size in the shape is below 0 or above 2147483647."),
        (infer_request(shape=[10**18, 10**18]), "A size in the shape is below 0 or above 2147483647."),
        (infer_request(shape=[2**31 - 1, 2**31 - 1]), "has 4611686014132420609 elements; the data have 2."),
        (
            infer_request(shape=[2**62] * 100_000),
            "The tensor has 100000 dimensions; [rows, columns] or [rows] is expected",
        ),
        (infer_request(shape=[1] * 69 + [2]), "The tensor has 70 dimensions"),
        (infer_request(shape=[0, 2**62], data=[]), "A size in the shape is"),
        (infer_request(shape=[0, 2], data=[]), "There are no rows"),
        (infer_request(datatype="FP8"), "The datatype is FP8; supported are BOOL"),
        (infer_request(datatype="BYTES", data=["a", "b"]), "Numbers are expected: FP32 or FP64"),
        (infer_request(datatype="BOOL", data=[True, False]), "Numbers are expected"),
        (infer_request(data=["0", "1"]), "Element 0 has the wrong type; FP32 consists of numbers."),
        (infer_request(data=[0, None]), "inputs.0.1: Only finite numbers are accepted"),
        (infer_request(data=[0, True]), "Element 1 has the wrong type; FP32 consists of numbers."),
        (infer_request(data=[[0], [1, 2]]), "has 2 elements; the data have 3"),
        (infer_request(data=[0, 1e300]), "inputs: Element 1 is 1e+300, which FP32 cannot represent."),
        (infer_request(datatype="FP16", data=[1e6, 1]), "Element 0 is 1e+06, which FP16 cannot represent."),
        (infer_request(datatype="INT8", data=[0, 300]), "Element 1 is 300, which INT8 cannot represent."),
        (infer_request(datatype="INT8", data=[1.5, 0]), "Element 0 is 1.5, which INT8 cannot represent."),
        (infer_request(datatype="UINT8", data=[[-1, 2]]), "Element 0 is -1, which UINT8 cannot represent."),
        (infer_request(data=[0, int("9" * 401)]), "inputs: "),
        (infer_request(parameters={"binary_data_size": 8}), "binary_data_size is 8; 0 bytes are left"),
        ({"inputs": [infer_request()["inputs"][0]] * 2}, "several tensors with this name"),
        ({"inputs": []}, "inputs: This input is missing"),
        ({}, "does not follow the protocol"),
        ([], "does not follow the protocol"),
        ({**infer_request(), "outputs": [{"name": "x"}]}, "x: Unknown output. The outputs are outputs, labels"),
        ({**infer_request(), "outputs": [{"name": "outputs"}] * 2000}, "outputs: This output is requested twice."),
        (
            {**infer_request(), "outputs": [{"name": "outputs", "parameters": {"classification": 0}}]},
            "an integer of at least 1 is expected",
        ),
    ],
)
def test_invalid_requests_are_rejected(service: RunningService, xor: str, body: Any, expected: str) -> None:
    response = service.http.post(f"/v2/models/{xor}/infer", json=body)
    assert response.status_code == 422, response.text
    assert [*response.json()] == ["error"]
    assert expected in response.json()["error"]


@pytest.mark.parametrize(
    ("json_length", "binary", "expected"),
    [
        ("", b"", "The length is ''; the whole body has"),
        ("-1", b"", "The length is '-1'"),
        ("99999", b"", "The length is '99999'"),
        ("1" * 5000, b"", "The length is '11111"),
        (None, b"1234", "does not follow the protocol"),
        ("right", b"1234", "There are 4 bytes of data; 2 elements of FP32 take 8."),
        ("right", b"12345678901", "There are 11 bytes of data; 2 elements of FP32 take 8."),
        ("right", np.array([np.nan, 1], np.float32).tobytes(), "inputs.0.0: Only finite numbers are accepted"),
    ],
)
def test_invalid_binary_tensors_are_rejected(
    service: RunningService, xor: str, json_length: str | None, binary: bytes, expected: str
) -> None:
    tensor = {"name": "inputs", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": len(binary)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Content-Type": "application/octet-stream"}
    if json_length is not None:
        headers["Inference-Header-Content-Length"] = str(len(head)) if json_length == "right" else json_length
    response = service.http.post(f"/v2/models/{xor}/infer", content=head + binary, headers=headers)
    assert (response.status_code, [*response.json()]) == (422, ["error"])
    assert expected in response.json()["error"]


@pytest.mark.parametrize("content", [b"\x05\0\0\0ab", b"\x01\0", b"\xff\xff\xff\xffa", b"\x01\0\0\0\xff"])
def test_invalid_binary_texts_are_rejected(service: RunningService, table: str, content: bytes) -> None:
    tensor = {"name": "job", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(content)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    response = service.http.post(f"/v2/models/{table}/infer", content=head + content, headers=headers)
    assert response.status_code == 422
    assert response.json()["error"].startswith("job: ")


def test_unavailable_models_are_rejected(service: RunningService, xor: str) -> None:
    untrained = scenarios.create_network(service, preprocessing={"inputs": "standardize"})["id"]
    for path, status, expected in (
        (f"/v2/models/{untrained}/infer", 409, "has not been trained"),
        ("/v2/models/nothing/infer", 404, "'nothing'"),
        (f"/v2/models/{xor}/versions/7/infer", 404, "no version 7"),
        (f"/v2/models/{xor}/versions/x!/infer", 404, "no version x!"),
        ("/v2/nothing", 404, "Nothing exists at /v2/nothing"),
    ):
        response = service.http.post(path, json=infer_request())
        assert (response.status_code, [*response.json()]) == (status, ["error"]), response.text
        assert expected in response.json()["error"]


def test_outputs_too_large_for_json_are_rejected(service: RunningService) -> None:
    layers = [{"units": 4200, "activation": "identity"}]
    network = scenarios.create_network(service, cost="quadratic", inputs=1, layers=layers)["id"]
    tensor = {"name": "inputs", "shape": [1000, 1], "datatype": "FP32", "data": [0] * 1000}
    response = service.http.post(f"/v2/models/{network}/infer", json={"inputs": [tensor]})
    assert response.status_code == 413
    assert "4200000 numbers; JSON can have at most 4194304. Request binary data." in response.json()["error"]
    binary = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    response = service.http.post(f"/v2/models/{network}/infer", json=binary)
    assert (response.status_code, len(response.content) > 4200 * 4000) == (200, True)


def test_binary_tensors_need_no_content_type(start_service: StartService) -> None:
    service = start_service(max_json_bytes="2000")
    network = scenarios.create_network(service, cost="quadratic")["id"]
    rows = np.ones((1000, 2), np.float32).tobytes()
    tensor = {"name": "inputs", "shape": [1000, 2], "datatype": "FP32", "parameters": {"binary_data_size": len(rows)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    path, headers = f"/v2/models/{network}/infer", {"Inference-Header-Content-Length": str(len(head))}
    assert service.http.post(path, content=head + rows, headers=headers).status_code == 200
    assert service.http.post(path, content=b" " * 2001).status_code == 413
