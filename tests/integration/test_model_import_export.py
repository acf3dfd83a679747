"""Export and import of networks: bitwise round trips, rejected files, limits, idempotency and crashes."""

import base64
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any, get_args
from uuid import uuid4

import httpx
import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.numpy
from sklearn.datasets import load_iris
from sklearn.neural_network import MLPClassifier

from nabla.app.client import Client, StatusError
from nabla.engine.literals import NetworkFormat
from tests.conftest import StartService
from tests.support import scenarios
from tests.support.damage import flip_last_bit
from tests.support.datasets import list_uploads, post_dataset, to_npz
from tests.support.service import TIMEOUT_SECONDS, RunningService, assert_exited

FORMATS = get_args(NetworkFormat)
PEOPLE = """age,job,member,since,pays
31,clerk,true,2024-05-31,yes
52,smith,false,1999-01-01,no
,smith,true,2010-07-15,no
28,,false,2020-02-29,yes
44,größer,true,1969-12-31,no
""".encode()
ROWS: list[dict[str, Any]] = [
    {"age": 31, "job": "clerk", "member": True, "since": "2024-05-31"},
    {"age": None, "job": "größer", "member": False, "since": "2001-09-09"},
    {"age": 70.5, "job": None, "member": True, "since": "1980-12-01"},
]


def export(service: RunningService, network: str, version: int = 1, format: str | None = None) -> httpx.Response:
    query = {} if format is None else {"format": format}
    response = service.http.get(f"/v1/networks/{network}/versions/{version}/file", params=query)
    assert response.status_code == 200, response.text
    return response


def import_file(service: RunningService, content: bytes, status: int = 201, **options: Any) -> dict[str, Any]:
    response = service.http.post("/v1/networks", files={"file": ("network.bin", content)}, data=options)
    assert response.status_code == status, response.text
    return dict(response.json())


def predict(service: RunningService, network: str, rows: Any = None, **options: Any) -> Any:
    """Return the outputs and labels for rows of a table, or for XOR."""
    body = {"inputs": scenarios.XOR_INPUTS} if rows is None else {"rows": rows}
    response = service.post(f"/v1/networks/{network}/predictions", {**body, **options})
    return response["outputs"], response["labels"]


def list_network_directories(service: RunningService) -> list[str]:
    """Return the sorted names in the directory of networks, finished or not."""
    return sorted(path.name for path in (service.data_dir / "networks").iterdir())


def list_version_files(service: RunningService, network: str) -> list[str]:
    return sorted(path.name.split(".")[0] for path in (service.data_dir / "networks" / network).iterdir())


@pytest.fixture(scope="module")
def xor(service: RunningService) -> str:
    job = scenarios.submit_job(service)
    assert service.wait_for_job(job["id"]).state == "succeeded"
    return str(job["network_id"])


@pytest.fixture(scope="module")
def people(service: RunningService) -> str:
    """Return the id of a network trained on a table, with scaled inputs."""
    options = {"label": "pays", "imputation": "mean", "types": '{"since": "date"}'}
    data = post_dataset(service, files={"file": ("people.csv", PEOPLE)}, data=options)
    network = scenarios.create_network(
        service,
        inputs=data["inputs"],
        layers=[{"units": 6, "activation": "gelu", "batch_norm": True}, {"units": 1, "activation": "sigmoid"}],
        preprocessing={"inputs": "standardize", "handle_unknown": "ignore"},
    )
    job = scenarios.submit_job(service, network_id=network["id"], dataset_id=data["id"], epochs=30, learning_rate=0.1)
    assert service.wait_for_job(job["id"]).state == "succeeded"
    return str(network["id"])


@pytest.mark.parametrize("format", FORMATS)
def test_exported_and_imported_network_predicts_bitwise_as_the_original(
    service: RunningService, xor: str, people: str, format: str
) -> None:
    for network, rows in ((xor, None), (people, ROWS)):
        file = export(service, network, format=format)
        assert file.headers["content-disposition"] == f'attachment; filename="{network}-1.{format}"'
        imported = import_file(service, file.content)
        assert predict(service, imported["id"], rows) == predict(service, network, rows)
        changed = {
            "id": imported["id"],
            "created_at": imported["created_at"],
            "name": "network",
            "shadows": imported["shadows"],
        }
        assert imported == {**service.get(f"/v1/networks/{network}"), **changed}
        assert export(service, imported["id"], format=format).content == file.content
        assert list_version_files(service, imported["id"]) == ["0", "1"]
        assert len(list_version_files(service, network)) == 2
    assert list_uploads(service) == []


def test_metadata_of_an_imported_version(service: RunningService, people: str) -> None:
    imported = import_file(service, export(service, people).content, name="my import")
    assert (imported["name"], imported["version"]) == ("my import", 1)
    newest, start = service.get("/v1/networks/my import/versions")["data"]
    original = service.get(f"/v1/networks/{people}/versions")["data"][0]
    assert (newest["job_id"], newest["import_format"], newest["current"]) == (None, "safetensors", True)
    assert (original["import_format"], start["import_format"], start["classes"], start["preprocessing"]) == (
        None,
        None,
        None,
        None,
    )
    for field in ("classes", "preprocessing"):
        assert newest[field] == original[field] is not None
    created = scenarios.create_network(
        service, **{name: imported[name] for name in ("inputs", "layers", "cost", "seed")}
    )
    starts = [safetensors.numpy.load(export(service, id, 0).content) for id in (imported["id"], created["id"])]
    for name, array in starts[0].items():
        assert array.tobytes() == starts[1][name].tobytes()


def test_imported_network_can_be_trained(service: RunningService, xor: str, people: str) -> None:
    imported = import_file(service, export(service, xor).content)["id"]
    # The learning rate is too small to change the weights.
    no_op_job = {"network_id": imported, "epochs": 1, "batch_size": 4, "learning_rate": 1e-30}
    for number, warm in ((2, True), (3, False)):
        if number == 3:
            service.http.patch(f"/v1/networks/{imported}", json={"version": 1})
        job = scenarios.submit_job(service, warm_start=warm, **no_op_job)
        finished = service.wait_for_job(job["id"])
        assert (finished.state, finished.start_version, finished.network_version) == (
            "succeeded",
            1 if warm else 0,
            number,
        )
        assert (predict(service, imported) == predict(service, xor)) is warm
    assert predict(service, imported, version=1) == predict(service, xor)
    with_preprocessing = import_file(service, export(service, people, format="onnx").content)["id"]
    rejected = service.post(
        "/v1/jobs",
        {
            "network_id": with_preprocessing,
            "dataset_id": scenarios.create_dataset(service)["id"],
            "epochs": 1,
            "warm_start": True,
        },
        422,
    )
    assert "does not have the columns that the network was trained on" in rejected["detail"]


def test_imported_network_can_be_evaluated(service: RunningService, xor: str) -> None:
    imported = import_file(service, export(service, xor, format="npz").content)["id"]
    data = {"dataset_id": scenarios.create_dataset(service)["id"]}
    evaluation, expected = (service.post(f"/v1/networks/{id}/evaluations", data) for id in (imported, xor))
    assert evaluation["accuracy"] == 1.0
    assert (evaluation["trained_rows"], expected["trained_rows"]) == (None, 4)
    differing: dict[str, Any] = {"network_id": None, "trained_rows": None, "warnings": []}
    assert {**evaluation, **differing} == {**expected, **differing}


def test_onnxruntime_predicts_as_the_service(service: RunningService, xor: str, people: str) -> None:
    def run(network: str, inputs: dict[str, Any]) -> Any:
        content = export(service, network, format="onnx").content
        return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(
            ["outputs", "label"], inputs
        )

    outputs, labels = run(xor, {"inputs": np.array(scenarios.XOR_INPUTS, "f4")})
    expected = predict(service, xor)
    np.testing.assert_allclose(outputs, expected[0], rtol=0, atol=1e-6)
    assert labels.tolist() == expected[1] == ["no", "yes", "yes", "no"]
    days = [(date.fromisoformat(row["since"]) - date(1970, 1, 1)).days for row in ROWS]
    inputs = {
        "age": np.array([[31.0], [np.nan], [70.5]]),
        "job": np.array([["clerk"], ["größer"], [""]], object),
        "member": np.array([[1.0], [0.0], [1.0]]),  # boolean columns with imputation are float64
        "since": np.array(days, float).reshape(-1, 1),
    }
    outputs, labels = run(people, inputs)
    expected = predict(service, people, ROWS)
    np.testing.assert_allclose(outputs, expected[0], rtol=0, atol=1e-6)
    assert labels.tolist() == expected[1]


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_weights_of_a_scikit_learn_classifier_can_be_imported(service: RunningService) -> None:
    x, y = load_iris(return_X_y=True)
    classifier = MLPClassifier(hidden_layer_sizes=8, max_iter=30, random_state=1).fit(x, y)
    arrays = {f"coefs_{n}": w for n, w in enumerate(classifier.coefs_)}
    arrays |= {f"intercepts_{n}": b for n, b in enumerate(classifier.intercepts_)}
    content = to_npz(**arrays)
    options: dict[str, Any] = {
        "layers": '[{"activation": "relu"}, {"activation": "softmax"}]',
        "classes": json.dumps(load_iris().target_names.tolist()),
        "name": "iris",
    }
    from_form = import_file(service, content, **options)
    response = service.http.post(
        "/v1/networks",
        params={**options, "layers": "relu, softmax", "classes": "setosa,versicolor,virginica"},
        content=content,
        headers={"Content-Type": "application/octet-stream"},
    )
    assert response.status_code == 201, response.text
    for network in (from_form, response.json()):
        assert (network["name"], network["dtype"], network["cost"]) == ("iris", "float64", "categorical_cross_entropy")
        predictions = service.post(f"/v1/networks/{network['id']}/predictions", {"inputs": x.tolist()})
        np.testing.assert_allclose(predictions["outputs"], classifier.predict_proba(x), rtol=1e-9)
        assert predictions["labels"] == load_iris().target_names[classifier.predict(x)].tolist()


def test_client_exports_and_imports(service: RunningService, people: str, tmp_path: Path) -> None:
    with Client(service.url, timeout=TIMEOUT_SECONDS) as client:
        original = client.get_network(people)
        for format in FORMATS:
            path = original.download(tmp_path / f"original.{format}")
            imported = client.import_network(path, name=f"original in {format}")
            assert (imported.name, client.get_network(imported.id)) == (f"original in {format}", imported)
            assert imported.predict(ROWS).outputs == original.predict(ROWS).outputs
        start = original.download(tmp_path / "start.npz", version=0)
        assert client.import_network(start).name == "start"
        with pytest.raises(StatusError, match="has no version 7"):
            original.download(tmp_path / "none", version=7)
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == ["original.npz", "original.onnx", "original.safetensors", "start.npz"]
        weights = tmp_path / "plain.safetensors"
        safetensors.numpy.save_file({"0.weight": np.ones((2, 3), "f4")}, weights)
        plain = client.import_network(weights, layers=[{"activation": "softmax"}], classes=["a", "b"])
        assert plain.predict([[1, 2, 3]]).outputs == [[0.5, 0.5]]


def test_invalid_export_is_rejected(service: RunningService, xor: str) -> None:
    path = f"/v1/networks/{xor}/versions"
    for url, status, message in (
        (f"{path}/9/file", 404, "has no version 9; it has 0 to"),
        (f"{path}/1/file?format=pickle", 422, "'safetensors', 'npz' or 'onnx'"),
        ("/v1/networks/missing/versions/0/file", 404, "There is no network"),
    ):
        response = service.http.get(url)
        assert (response.status_code, message in response.json()["detail"]) == (status, True), response.text
    untrained = scenarios.create_network(service, preprocessing={"inputs": "min_max"})["id"]
    rejected = service.http.get(f"/v1/networks/{untrained}/versions/0/file?format=onnx")
    assert rejected.status_code == 409
    assert "has not been trained" in rejected.json()["detail"]
    reimported = import_file(service, export(service, untrained, 0).content)
    assert reimported["preprocessing"]["inputs"] == "min_max"
    unfitted = service.post(f"/v1/networks/{reimported['id']}/predictions", {"inputs": scenarios.XOR_INPUTS}, 409)
    assert "Version 1 of the network has not been trained" in unfitted["detail"]
    assert list_version_files(service, untrained) == ["0"]


def test_damaged_version_is_not_exported(start_service: StartService) -> None:
    service = start_service()
    network = scenarios.create_network(service)["id"]
    (weights,) = (service.data_dir / "networks" / network).iterdir()
    flip_last_bit(weights)
    response = service.http.get(f"/v1/networks/{network}/versions/0/file")
    assert (response.status_code, response.json()["type"]) == (500, "/problems/damaged")
    assert list_version_files(service, network) == ["0"]


def test_rejected_import_leaves_no_files(service: RunningService, xor: str) -> None:
    valid = export(service, xor).content
    nan = safetensors.numpy.save({"0.weight": np.full((1, 2), np.nan, "f4")})
    before, listed = list_network_directories(service), service.get("/v1/networks?limit=1")
    rejected: list[tuple[bytes, dict[str, str], str, str]] = [
        (b"", {}, "file", "The file is empty"),
        (b"hello", {}, "file", "neither safetensors nor npz"),
        (valid[:-1], {}, "file", "beyond the end of the file"),
        (valid, {"format": "onnx"}, "format", "The file is safetensors, not onnx"),
        (valid, {"format": "keras"}, "format", "'safetensors', 'npz' or 'onnx'"),
        (valid, {"cost": "huber"}, "cost", "states this itself"),
        (valid, {"name": "net_x"}, "name", "must not start with net_"),
        (valid, {"colour": "red"}, "colour", "Unknown"),
        (nan, {"layers": '[{"activation": "relu"}]'}, "file", "0.weight holds NaN"),
        (nan, {}, "layers", "does not state their activations"),
        (nan, {"layers": "[relu]"}, "layers", "Not valid JSON"),
        (nan, {"layers": "[3]"}, "layers.0", "JSON object"),
        (nan, {"layers": '[{"activation": "relu7"}]'}, "layers.0.activation", "'relu'"),
        (nan, {"layers": "relu7"}, "layers.0.activation", "'relu'"),
        (nan, {"layers": '[{"activation": "relu", "units": 3}]'}, "layers.0.units", "Unknown"),
        (nan, {"layers": '[{"activation": "relu"}]', "classes": '["a"]'}, "classes", "at least 2"),
    ]
    for content, options, field, message in rejected:
        problem = import_file(service, content, 422, **options)
        assert (problem["errors"][0]["field"], message in problem["detail"]) == (field, True), problem
    for response, status, message in (
        (service.http.post("/v1/networks", files={"inputs": ("x", valid)}), 422, "Accepted: file"),
        (service.http.post("/v1/networks", files=[("file", ("x", valid))] * 2), 422, "The form has 2 files"),
        (service.http.post("/v1/networks", data={"name": "x"}, files={"name": (None, "y")}), 422, "twice"),
        (
            service.http.post("/v1/networks", content=b"x", headers={"Content-Type": "multipart/form-data"}),
            400,
            "boundary",
        ),
        (
            service.http.post("/v1/networks", content=b"", headers={"Content-Type": "application/octet-stream"}),
            422,
            "the body is empty",
        ),
        (
            service.http.post("/v1/networks", content=valid, headers={"Content-Type": "image/png"}),
            415,
            "application/json is expected",
        ),
        (
            service.http.post(
                "/v1/networks",
                content=valid,
                headers={
                    "Content-Type": "application/octet-stream",
                    "Content-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(b'else').digest()).decode()}:",
                },
            ),
            422,
            "send it again",
        ),
    ):
        assert (response.status_code, message in response.json()["detail"]) == (status, True), response.text
    assert service.http.put("/v1/networks", json={}).status_code == 405
    assert list_network_directories(service) == before
    assert service.get("/v1/networks?limit=1") == listed
    assert list_uploads(service) == []


def to_safetensors(shape: list[int], dtype: str = "F32", length: int = 0) -> bytes:
    """Return a safetensors file with this metadata, whether or not it fits the `length` bytes of data."""
    header = json.dumps({"0.weight": {"dtype": dtype, "shape": shape, "data_offsets": [0, length]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(length)


def test_file_with_wrong_metadata_is_rejected_with_a_short_message(service: RunningService) -> None:
    tensor = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [2, 3], np.zeros(6, "f4").tobytes(), raw=True)
    tensor.float_data.append(1.0)
    node = onnx.helper.make_node("Gemm", ["x", "w"], ["y"], alpha=b"\0" * 2**20)
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("x", "y")]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:], [tensor])
    for content, message in (
        (to_safetensors([2**62] * 100_000), "has 100000 dimensions"),
        (to_safetensors([2**62, 0]), "a dimension below 0 or above"),
        (to_safetensors([-1]), "a dimension below 0 or above"),
        (to_safetensors([1, 1], "F" * 2**20, 4), "FFFF…"),
        (onnx.helper.make_model(graph).SerializeToString(), r"its alpha is b'\x00\x00"),
    ):
        hints = {"layers": '[{"activation": "relu"}]'} if b"data_offsets" in content else {}
        problem = import_file(service, content, 422, **hints)
        assert message in problem["detail"]
        assert len(problem["detail"]) < 5000


def test_limits_of_parameters_and_bytes(start_service: StartService) -> None:
    service = start_service(max_parameters="100", max_upload_bytes="5000", max_json_bytes="2000")
    smaller = safetensors.numpy.save({"0.weight": np.ones((9, 10), "f4")})
    too_many_parameters = safetensors.numpy.save({"0.weight": np.ones((10, 10), "f4")})
    too_many_bytes = safetensors.numpy.save({"0.weight": np.ones((100, 100), "f4")})
    layers = '[{"activation": "identity"}]'
    assert import_file(service, smaller, layers=layers)["parameters"] == 99
    for content, message in (
        (too_many_parameters, "110 parameters; at most 100 are accepted"),
        (too_many_bytes, "At most 5000 bytes"),
    ):
        problem = import_file(service, content, 413, layers=layers)
        assert message in problem["detail"]
        assert problem["type"] == "/problems/too-large"
    assert len(list_network_directories(service)) == 1
    assert list_uploads(service) == []


def test_import_is_idempotent(start_service: StartService) -> None:
    service = start_service()
    network = scenarios.create_network(service)["id"]
    content, other = (export(service, network, 0, format).content for format in ("safetensors", "npz"))
    key = {"Idempotency-Key": uuid4().hex}

    def post(content: bytes, **options: str) -> httpx.Response:
        files = {"file": ("network.bin", content)}
        return httpx.post(f"{service.url}/v1/networks", files=files, data=options, headers=key, timeout=TIMEOUT_SECONDS)

    with ThreadPoolExecutor(4) as pool:
        responses = [*pool.map(post, [content] * 8)]
    assert {response.status_code for response in responses} <= {201, 409}
    first = post(content)
    assert {response.content for response in responses if response.status_code == 201} == {first.content}
    assert len(list_network_directories(service)) == 2
    service.kill()
    service.start()
    replay = post(content)
    assert (replay.content, replay.headers["Idempotent-Replayed"]) == (first.content, "true")
    for rejected in (post(other), post(content, name="other")):
        assert (rejected.status_code, rejected.json()["errors"][0]["field"]) == (422, "Idempotency-Key")
    assert len(list_network_directories(service)) == 2
    assert list_uploads(service) == []
    imported = first.json()["id"]
    assert predict(service, imported) == predict(service, network)
    assert service.get(f"/v1/networks/{imported}/versions")["data"][0]["import_format"] == "safetensors"
    assert service.http.delete(f"/v1/networks/{imported}").status_code == 204
    assert list_network_directories(service) == [network]


def test_crash_during_an_import_leaves_no_files(start_service: StartService) -> None:
    """The file is large enough to be seen while it is received and stored."""
    service = start_service()
    content = safetensors.numpy.save({"0.weight": np.zeros((2000, 4000), "f4")})
    for name in ("uploads", "networks"):
        directory = service.data_dir / name
        service.get("/health/live")
        with ThreadPoolExecutor(1) as pool:
            response = pool.submit(import_file, service, content, layers='[{"activation": "identity"}]')
            while not [*directory.iterdir()]:
                assert not response.done(), response.result()
            pids = service.task_pids()
            service.kill()
            with pytest.raises((httpx.TransportError, RuntimeError)):
                response.result()
        assert_exited(pids)
        service.start()
        service.get("/health/live")
        assert [*(service.data_dir / "uploads").iterdir()] == [*(service.data_dir / "networks").iterdir()] == []
        assert service.get("/v1/networks")["data"] == []


def make_empty_nodes(count: int) -> bytes:
    """Return an ONNX graph of this many empty nodes: two bytes each in the file, and many more in memory."""
    length = 2 * count
    return (
        b"\x08\x09\x3a" + bytes((length >> 7 * n & 127) | (128 if n < 3 else 0) for n in range(4)) + b"\x0a\x00" * count
    )


def test_shutdown_during_an_import_responds_unavailable(start_service: StartService) -> None:
    service = start_service()
    service.get("/health/live")
    with ThreadPoolExecutor(1) as pool:
        files = {"file": ("endless.onnx", make_empty_nodes(50_000_000))}
        response = pool.submit(httpx.post, f"{service.url}/v1/networks", files=files, timeout=TIMEOUT_SECONDS)
        while not service.task_pids():
            assert not response.done(), response.result().text
        pids = service.task_pids()
        assert service.terminate() == 0
        assert (response.result().status_code, response.result().json()["type"]) == (503, "/problems/unavailable")
    assert_exited(pids)
    assert list_network_directories(service) == list_uploads(service) == []


def test_import_beyond_the_memory_limit_is_rejected_and_the_next_one_succeeds(start_service: StartService) -> None:
    service = start_service(task_memory_limit=str(256 * 2**20))
    problem = import_file(service, make_empty_nodes(50_000_000), 413)
    assert "more memory than is available" in problem["detail"]
    network = scenarios.create_network(service)["id"]
    imported = import_file(service, export(service, network, 0).content)
    assert predict(service, imported["id"]) == predict(service, network)
    assert list_uploads(service) == []
