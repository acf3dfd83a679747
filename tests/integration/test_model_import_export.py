"""Networks copied out and taken in over HTTP: with the same bits, through crashes, and with nothing left of what is
refused."""

import base64
import hashlib
import io
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

from nabla.app.client import Client, ServiceError
from nabla.engine.literals import NetworkFormat
from tests.conftest import StartService
from tests.integration.test_uploads import create, left
from tests.support import scenarios
from tests.support.service import PATIENCE, RunningService, assert_gone

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


def exported(service: RunningService, network: str, version: int = 1, format: str | None = None) -> httpx.Response:
    query = {} if format is None else {"format": format}
    answer = service.http.get(f"/v1/networks/{network}/versions/{version}/file", params=query)
    assert answer.status_code == 200, answer.text
    return answer


def imported(service: RunningService, content: bytes, status: int = 201, **options: Any) -> dict[str, Any]:
    answer = service.http.post("/v1/networks", files={"file": ("network.bin", content)}, data=options)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def predicted(service: RunningService, network: str, rows: Any = None, **more: Any) -> Any:
    """Outputs and labels."""
    body = {"inputs": scenarios.XOR_INPUTS} if rows is None else {"rows": rows}
    answer = service.post(f"/v1/networks/{network}/predictions", {**body, **more})
    return answer["outputs"], answer["labels"]


def networks(service: RunningService) -> list[str]:
    """What there is in the data folder, finished or not."""
    return sorted(path.name for path in (service.folder / "networks").iterdir())


def files_of(service: RunningService, network: str) -> list[str]:
    return sorted(path.name.split(".")[0] for path in (service.folder / "networks" / network).iterdir())


@pytest.fixture(scope="module")
def xor(service: RunningService) -> str:
    job = scenarios.job(service)
    assert service.finished(job["id"]).state == "succeeded"
    return str(job["network_id"])


@pytest.fixture(scope="module")
def people(service: RunningService) -> str:
    """Trained on a table, which it scales."""
    options = {"label": "pays", "imputation": "mean", "types": '{"since": "date"}'}
    data = create(service, files={"file": ("people.csv", PEOPLE)}, data=options)
    network = scenarios.network(
        service,
        inputs=data["inputs"],
        layers=[{"units": 6, "activation": "gelu", "batch_norm": True}, {"units": 1, "activation": "sigmoid"}],
        preprocessing={"inputs": "standardize", "handle_unknown": "ignore"},
    )
    job = scenarios.job(service, network_id=network["id"], dataset_id=data["id"], epochs=30, learning_rate=0.1)
    assert service.finished(job["id"]).state == "succeeded"
    return str(network["id"])


@pytest.mark.parametrize("format", FORMATS)
def test_out_and_in_predicts_the_same_bits(service: RunningService, xor: str, people: str, format: str) -> None:
    for network, rows in ((xor, None), (people, ROWS)):
        file = exported(service, network, format=format)
        assert file.headers["content-disposition"] == f'attachment; filename="{network}-1.{format}"'
        taken = imported(service, file.content)
        assert predicted(service, taken["id"], rows) == predicted(service, network, rows)
        own = {"id": taken["id"], "created_at": taken["created_at"], "name": "network"}
        assert taken == {**service.get(f"/v1/networks/{network}"), **own}
        assert exported(service, taken["id"], format=format).content == file.content
        assert files_of(service, taken["id"]) == ["0", "1"]
        assert len(files_of(service, network)) == 2
    assert left(service) == []


def test_what_is_known_of_a_version_that_came_as_a_file(service: RunningService, people: str) -> None:
    taken = imported(service, exported(service, people).content, name="from elsewhere")
    assert (taken["name"], taken["version"]) == ("from elsewhere", 1)
    newest, start = service.get("/v1/networks/from elsewhere/versions")["data"]
    ours = service.get(f"/v1/networks/{people}/versions")["data"][0]
    assert (newest["job_id"], newest["imported"], newest["current"]) == (None, "safetensors", True)
    assert (ours["imported"], start["imported"], start["classes"], start["preprocessing"]) == (None, None, None, None)
    for known in ("classes", "preprocessing"):
        assert newest[known] == ours[known] is not None
    fresh = scenarios.network(service, **{name: taken[name] for name in ("inputs", "layers", "cost", "seed")})
    starts = [safetensors.numpy.load(exported(service, each, 0).content) for each in (taken["id"], fresh["id"])]
    for name, array in starts[0].items():
        assert array.tobytes() == starts[1][name].tobytes()


def test_jobs_go_on_from_it_with_a_warm_start(service: RunningService, xor: str, people: str) -> None:
    """Their step is too small to change anything."""
    taken = imported(service, exported(service, xor).content)["id"]
    still = {"network_id": taken, "epochs": 1, "batch_size": 4, "learning_rate": 1e-30}
    for number, warm in ((2, True), (3, False)):
        if number == 3:
            service.http.patch(f"/v1/networks/{taken}", json={"version": 1})
        job = scenarios.job(service, warm_start=warm, **still)
        done = service.finished(job["id"])
        assert (done.state, done.start_version, done.network_version) == ("succeeded", 1 if warm else 0, number)
        assert (predicted(service, taken) == predicted(service, xor)) is warm
    assert predicted(service, taken, version=1) == predicted(service, xor)
    scales = imported(service, exported(service, people, format="onnx").content)["id"]
    refused = service.post(
        "/v1/jobs",
        {"network_id": scales, "dataset_id": scenarios.dataset(service)["id"], "epochs": 1, "warm_start": True},
        422,
    )
    assert "is not of the columns that the network was trained on" in refused["detail"]


def test_an_evaluation_of_it(service: RunningService, xor: str) -> None:
    taken = imported(service, exported(service, xor, format="npz").content)["id"]
    data = {"dataset_id": scenarios.dataset(service)["id"]}
    ours, theirs = (service.post(f"/v1/networks/{each}/evaluations", data) for each in (taken, xor))
    assert ours["accuracy"] == 1.0
    assert {**ours, "network_id": None} == {**theirs, "network_id": None}


def test_onnxruntime_answers_as_the_service_does(service: RunningService, xor: str, people: str) -> None:
    def run(network: str, fed: dict[str, Any]) -> Any:
        content = exported(service, network, format="onnx").content
        return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(["outputs", "label"], fed)

    outputs, labels = run(xor, {"inputs": np.array(scenarios.XOR_INPUTS, "f4")})
    expected = predicted(service, xor)
    np.testing.assert_allclose(outputs, expected[0], rtol=0, atol=1e-6)
    assert labels.tolist() == expected[1] == ["no", "yes", "yes", "no"]
    days = [(date.fromisoformat(row["since"]) - date(1970, 1, 1)).days for row in ROWS]
    fed = {
        "age": np.array([[31.0], [np.nan], [70.5]]),
        "job": np.array([["clerk"], ["größer"], [""]], object),
        "member": np.array([[1.0], [0.0], [1.0]]),  # missing ones would be filled
        "since": np.array(days, float).reshape(-1, 1),
    }
    outputs, labels = run(people, fed)
    expected = predicted(service, people, ROWS)
    np.testing.assert_allclose(outputs, expected[0], rtol=0, atol=1e-6)
    assert labels.tolist() == expected[1]


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_a_classifier_of_scikit_learn(service: RunningService) -> None:
    x, y = load_iris(return_X_y=True)
    theirs = MLPClassifier(hidden_layer_sizes=8, max_iter=30, random_state=1).fit(x, y)
    arrays = {f"coefs_{n}": w for n, w in enumerate(theirs.coefs_)}
    arrays |= {f"intercepts_{n}": b for n, b in enumerate(theirs.intercepts_)}
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    options: dict[str, Any] = {
        "layers": '[{"activation": "relu"}, {"activation": "softmax"}]',
        "classes": json.dumps(load_iris().target_names.tolist()),
        "name": "iris",
    }
    as_form = imported(service, file.getvalue(), **options)
    body = service.http.post(
        "/v1/networks",
        params={**options, "layers": "relu, softmax", "classes": "setosa,versicolor,virginica"},
        content=file.getvalue(),
        headers={"Content-Type": "application/octet-stream"},
    )
    assert body.status_code == 201, body.text
    for network in (as_form, body.json()):
        assert (network["name"], network["dtype"], network["cost"]) == ("iris", "float64", "categorical_cross_entropy")
        answer = service.post(f"/v1/networks/{network['id']}/predictions", {"inputs": x.tolist()})
        np.testing.assert_allclose(answer["outputs"], theirs.predict_proba(x), rtol=1e-9)
        assert answer["labels"] == load_iris().target_names[theirs.predict(x)].tolist()


def test_the_client(service: RunningService, people: str, tmp_path: Path) -> None:
    with Client(service.url, timeout=PATIENCE) as client:
        mine = client.network(people)
        for format in FORMATS:
            path = mine.download(tmp_path / f"mine.{format}")
            taken = client.import_network(path, name=f"mine in {format}")
            assert (taken.name, client.network(taken.id)) == (f"mine in {format}", taken)
            assert taken.predict(ROWS).outputs == mine.predict(ROWS).outputs
        start = mine.download(tmp_path / "start.npz", version=0)
        assert client.import_network(start).name == "start"
        with pytest.raises(ServiceError, match="has no version 7"):
            mine.download(tmp_path / "none", version=7)
        there = sorted(path.name for path in tmp_path.iterdir())
        assert there == ["mine.npz", "mine.onnx", "mine.safetensors", "start.npz"]
        weights = tmp_path / "plain.safetensors"
        safetensors.numpy.save_file({"0.weight": np.ones((2, 3), "f4")}, weights)
        plain = client.import_network(weights, layers=[{"activation": "softmax"}], classes=["a", "b"])
        assert plain.predict([[1, 2, 3]]).outputs == [[0.5, 0.5]]


def test_what_cannot_be_copied_out(service: RunningService, xor: str) -> None:
    path = f"/v1/networks/{xor}/versions"
    for address, status, words in (
        (f"{path}/9/file", 404, "has no version 9; it has 0 to"),
        (f"{path}/1/file?format=pickle", 422, "'safetensors', 'npz' or 'onnx'"),
        ("/v1/networks/nobody/versions/0/file", 404, "There is no network"),
    ):
        answer = service.http.get(address)
        assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text
    scales = scenarios.network(service, preprocessing={"inputs": "min_max"})["id"]
    refused = service.http.get(f"/v1/networks/{scales}/versions/0/file?format=onnx")
    assert refused.status_code == 409
    assert "has not been trained" in refused.json()["detail"]
    again = imported(service, exported(service, scales, 0).content)
    assert again["preprocessing"]["inputs"] == "min_max"
    unfitted = service.post(f"/v1/networks/{again['id']}/predictions", {"inputs": scenarios.XOR_INPUTS}, 409)
    assert "Version 1 of the network has not been trained" in unfitted["detail"]
    assert files_of(service, scales) == ["0"]


def test_what_is_damaged_is_not_copied_out(start_service: StartService) -> None:
    service = start_service()
    network = scenarios.network(service)["id"]
    (weights,) = (service.folder / "networks" / network).iterdir()
    content = bytearray(weights.read_bytes())
    content[-3] ^= 4
    weights.write_bytes(content)
    answer = service.http.get(f"/v1/networks/{network}/versions/0/file")
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/damaged")
    assert files_of(service, network) == ["0"]


def test_what_is_refused_leaves_nothing(service: RunningService, xor: str) -> None:
    whole = exported(service, xor).content
    nan = safetensors.numpy.save({"0.weight": np.full((1, 2), np.nan, "f4")})
    before, listed = networks(service), service.get("/v1/networks?limit=1")
    wrong: list[tuple[bytes, dict[str, str], str, str]] = [
        (b"", {}, "file", "The file is empty"),
        (b"hello", {}, "file", "neither safetensors nor npz"),
        (whole[:-1], {}, "file", "where the file has nothing"),
        (whole, {"format": "onnx"}, "format", "The file is safetensors, not onnx"),
        (whole, {"format": "keras"}, "format", "'safetensors', 'npz' or 'onnx'"),
        (whole, {"cost": "huber"}, "cost", "says it itself"),
        (whole, {"name": "net_x"}, "name", "ids do"),
        (whole, {"colour": "red"}, "colour", "not known here"),
        (nan, {"layers": '[{"activation": "relu"}]'}, "file", "0.weight holds NaN"),
        (nan, {}, "layers", "does not say what their activations are"),
        (nan, {"layers": "[relu]"}, "layers", "Not valid JSON"),
        (nan, {"layers": "[3]"}, "layers.0", "JSON object"),
        (nan, {"layers": '[{"activation": "relu7"}]'}, "layers.0.activation", "'relu'"),
        (nan, {"layers": "relu7"}, "layers.0.activation", "'relu'"),
        (nan, {"layers": '[{"activation": "relu", "units": 3}]'}, "layers.0.units", "not known"),
        (nan, {"layers": '[{"activation": "relu"}]', "classes": '["a"]'}, "classes", "at least 2"),
    ]
    for content, options, field, sentence in wrong:
        problem = imported(service, content, 422, **options)
        assert (problem["errors"][0]["field"], sentence in problem["detail"]) == (field, True), problem
    for answer, status, sentence in (
        (service.http.post("/v1/networks", files={"inputs": ("x", whole)}), 422, "Accepted: file"),
        (service.http.post("/v1/networks", files=[("file", ("x", whole))] * 2), 422, "There are 2 files"),
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
            service.http.post("/v1/networks", content=whole, headers={"Content-Type": "image/png"}),
            415,
            "JSON is expected",
        ),
        (
            service.http.post(
                "/v1/networks",
                content=whole,
                headers={
                    "Content-Type": "application/octet-stream",
                    "Content-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(b'else').digest()).decode()}:",
                },
            ),
            422,
            "send it again",
        ),
    ):
        assert (answer.status_code, sentence in answer.json()["detail"]) == (status, True), answer.text
    assert service.http.put("/v1/networks", json={}).status_code == 405
    assert networks(service) == before
    assert service.get("/v1/networks?limit=1") == listed
    assert left(service) == []


def said(shape: list[int], kind: str = "F32", length: int = 0) -> bytes:
    """A safetensors file whose header says this of its array."""
    header = json.dumps({"0.weight": {"dtype": kind, "shape": shape, "data_offsets": [0, length]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(length)


def test_files_that_lie_of_themselves(service: RunningService) -> None:
    """Each is answered soon, and in a sentence of some length."""
    both = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [2, 3], np.zeros(6, "f4").tobytes(), raw=True)
    both.float_data.append(1.0)
    long = onnx.helper.make_node("Gemm", ["x", "w"], ["y"], alpha=b"\0" * 2**20)
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("x", "y")]
    graph = onnx.helper.make_graph([long], "g", value[:1], value[1:], [both])
    for content, words in (
        (said([2**62] * 100_000), "is said to have 100000 dimensions"),
        (said([2**62, 0]), "a dimension below 0 or above"),
        (said([-1]), "a dimension below 0 or above"),
        (said([1, 1], "F" * 2**20, 4), "FFFF…"),
        (onnx.helper.make_model(graph).SerializeToString(), r"its alpha is b'\x00\x00"),
    ):
        hints = {"layers": '[{"activation": "relu"}]'} if b"data_offsets" in content else {}
        problem = imported(service, content, 422, **hints)
        assert words in problem["detail"]
        assert len(problem["detail"]) < 5000


def test_limits(start_service: StartService) -> None:
    service = start_service(max_parameters="100", max_upload_bytes="5000", max_json_bytes="2000")
    small = safetensors.numpy.save({"0.weight": np.ones((9, 10), "f4")})
    beyond = safetensors.numpy.save({"0.weight": np.ones((10, 10), "f4")})
    large = safetensors.numpy.save({"0.weight": np.ones((100, 100), "f4")})
    layers = '[{"activation": "identity"}]'
    assert imported(service, small, layers=layers)["parameters"] == 99
    for content, words in ((beyond, "110 parameters; this service takes at most 100"), (large, "At most 5000 bytes")):
        problem = imported(service, content, 413, layers=layers)
        assert words in problem["detail"]
        assert problem["type"] == "/problems/too-large"
    assert len(networks(service)) == 1
    assert left(service) == []


def test_the_same_key_takes_it_in_once(start_service: StartService) -> None:
    service = start_service()
    network = scenarios.network(service)["id"]
    content, other = (exported(service, network, 0, format).content for format in ("safetensors", "npz"))
    key = {"Idempotency-Key": uuid4().hex}

    def ask(content: bytes, **options: str) -> httpx.Response:
        files = {"file": ("mine.bin", content)}
        return httpx.post(f"{service.url}/v1/networks", files=files, data=options, headers=key, timeout=PATIENCE)

    with ThreadPoolExecutor(4) as pool:
        answers = [*pool.map(ask, [content] * 8)]
    assert {answer.status_code for answer in answers} <= {201, 409}
    first = ask(content)
    assert {answer.content for answer in answers if answer.status_code == 201} == {first.content}
    assert len(networks(service)) == 2
    service.kill()
    service.start()
    again = ask(content)
    assert (again.content, again.headers["Idempotent-Replayed"]) == (first.content, "true")
    for refused in (ask(other), ask(content, name="other")):
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "Idempotency-Key")
    assert len(networks(service)) == 2
    assert left(service) == []
    taken = first.json()["id"]
    assert predicted(service, taken) == predicted(service, network)
    assert service.get(f"/v1/networks/{taken}/versions")["data"][0]["imported"] == "safetensors"
    assert service.http.delete(f"/v1/networks/{taken}").status_code == 204
    assert networks(service) == [network]


def test_killed_as_it_takes_one_in(start_service: StartService) -> None:
    """The file is large enough to be seen on its way; what was not answered is not there, and nothing is left of it."""
    service = start_service()
    content = safetensors.numpy.save({"0.weight": np.zeros((2000, 4000), "f4")})
    for place in ("uploads", "networks"):
        folder = service.folder / place
        service.get("/health/live")
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(imported, service, content, layers='[{"activation": "identity"}]')
            while not [*folder.iterdir()]:
                assert not asked.done(), asked.result()
            readers = service.readers()
            service.kill()
            with pytest.raises((httpx.TransportError, RuntimeError)):
                asked.result()
        assert_gone(readers)
        service.start()
        service.get("/health/live")
        assert [*(service.folder / "uploads").iterdir()] == [*(service.folder / "networks").iterdir()] == []
        assert service.get("/v1/networks")["data"] == []


def nodes(count: int) -> bytes:
    """A graph of so many nodes with nothing in them: two bytes each, and much more in memory."""
    length = 2 * count
    return (
        b"\x08\x09\x3a" + bytes((length >> 7 * n & 127) | (128 if n < 3 else 0) for n in range(4)) + b"\x0a\x00" * count
    )


def test_told_to_end_as_it_takes_one_in(start_service: StartService) -> None:
    service = start_service()
    service.get("/health/live")
    with ThreadPoolExecutor(1) as pool:
        files = {"file": ("endless.onnx", nodes(50_000_000))}
        asked = pool.submit(httpx.post, f"{service.url}/v1/networks", files=files, timeout=PATIENCE)
        while not service.readers():
            assert not asked.done(), asked.result().text
        readers = service.readers()
        assert service.terminate() == 0
        assert (asked.result().status_code, asked.result().json()["type"]) == (503, "/problems/unavailable")
    assert_gone(readers)
    assert networks(service) == left(service) == []


def test_more_memory_than_there_is(start_service: StartService) -> None:
    """A file takes more memory than reading may: it is said, and the next one is read."""
    service = start_service(task_memory_limit=str(256 * 2**20))
    problem = imported(service, nodes(50_000_000), 413)
    assert "more memory than there is" in problem["detail"]
    network = scenarios.network(service)["id"]
    taken = imported(service, exported(service, network, 0).content)
    assert predicted(service, taken["id"]) == predicted(service, network)
    assert left(service) == []
