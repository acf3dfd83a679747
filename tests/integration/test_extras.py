"""A service whose optional packages are not installed: everything else works, and errors name the extra."""

import gzip
import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support import scenarios
from tests.support.batch_predictions import (
    predict_npy,
    run_batch_prediction,
    start_batch_prediction,
    wait_for_batch_prediction,
)
from tests.support.datasets import post_dataset, to_npy, to_npz
from tests.support.service import RunningService

TABLE = {"file": ("people.csv", b"age,pays\n31,1\n52,0\n47,0\n28,1\n")}
SPLITS = {"splits": [{"name": name, "share": 0.5} for name in ("first", "second")]}
PACKAGES = {"pyarrow": "nabla-train[tables]", "onnx": "nabla-train[onnx]"}


@pytest.fixture(scope="module")
def base_install(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Return a service without optional packages, on the data of one that had them: a table, and a network of it."""
    site = tmp_path_factory.mktemp("site")
    for package in PACKAGES:
        error = f"raise ModuleNotFoundError(\"No module named '{package}'\", name='{package}')"
        (site / f"{package}.py").write_text(error)
    with RunningService(tmp_path_factory.mktemp("base-install") / "data") as service:
        table = post_dataset(service, files=TABLE, data={"target": "pays", "name": "people"})["id"]
        network = scenarios.create_network(service, name="people", inputs=1)["id"]
        service.wait_for_job(scenarios.submit_job(service, network_id=network, dataset_id=table, epochs=1)["id"])
        assert service.terminate() == 0
        service.environment["PYTHONPATH"] = str(site)
        service.start()
        service.wait_until_ready()
        yield service
        assert service.terminate() == 0, service.log.read_text()
    assert "Error" not in service.log.read_text()


def assert_names_extra(response: httpx.Response, field: str, package: str = "pyarrow") -> None:
    """Check that an error about this field says what to install."""
    assert response.status_code == 422, response.text
    (problem,) = response.json()["errors"]
    assert problem["field"] == field
    assert problem["message"].endswith(f"pip install '{PACKAGES[package]}'.")


@pytest.mark.parametrize(
    "upload",
    [
        {"json": {"inputs": scenarios.XOR_INPUTS, "labels": scenarios.XOR_LABELS}},
        {"files": {"file": to_npz(inputs=scenarios.XOR_INPUTS, labels=scenarios.XOR_LABELS)}},
        {
            "files": {
                "inputs": gzip.compress(to_npy(scenarios.XOR_INPUTS)),
                "labels": to_npy([label.encode() for label in scenarios.XOR_LABELS]),
            }
        },
    ],
    ids=["JSON", "npz", "compressed npy"],
)
def test_arrays_need_no_extra(base_install: RunningService, upload: dict[str, Any]) -> None:
    dataset = post_dataset(base_install, **upload)
    assert dataset["classes"] == ["no", "yes"]
    rows = base_install.get(f"/v1/datasets/{dataset['id']}/rows")
    assert rows["data"] == [
        [*inputs, label] for inputs, label in zip(scenarios.XOR_INPUTS, scenarios.XOR_LABELS, strict=True)
    ]
    profile = base_install.get(f"/v1/datasets/{dataset['id']}/profile")
    assert [column["distinct"] for column in profile["columns"]] == [2, 2, 2]
    network = scenarios.create_network(base_install)["id"]
    job = scenarios.submit_job(base_install, network_id=network, dataset_id=dataset["id"])
    assert base_install.wait_for_job(job["id"]).state == "succeeded"
    predicted = base_install.post(f"/v1/networks/{network}/predictions", {"inputs": scenarios.XOR_INPUTS})
    assert predicted["labels"] == scenarios.XOR_LABELS
    outputs = np.load(io.BytesIO(run_batch_prediction(base_install, network, dataset["id"], format="npy")))
    assert outputs.tobytes() == predict_npy(base_install, network, np.array(scenarios.XOR_INPUTS, float)).tobytes()


def test_split_of_arrays_needs_no_extra(base_install: RunningService) -> None:
    dataset = scenarios.create_dataset(base_install)["id"]
    split = base_install.post(f"/v1/datasets/{dataset}/split", SPLITS, 201)
    assert [part["rows"] for part in split["data"]] == [2, 2]


def test_table_names_the_extra(base_install: RunningService) -> None:
    send = base_install.http.post
    assert_names_extra(send("/v1/datasets", files=TABLE, data={"target": "pays"}), "file")
    assert_names_extra(send("/v1/datasets/preview", files=TABLE), "file")
    compressed = {"file": ("table.csv.zst", b"\x28\xb5\x2f\xfd and more")}
    assert_names_extra(send("/v1/datasets", files=compressed, data={"target": "pays"}), "file")
    arrow = {"content-type": "application/vnd.apache.arrow.stream"}
    assert_names_extra(send("/v1/networks/people/predictions", content=b"table", headers=arrow), "body")


def test_stored_table_names_the_extra(base_install: RunningService) -> None:
    http = base_install.http
    assert_names_extra(http.get("/v1/datasets/people/rows"), "dataset_id")
    assert_names_extra(http.get("/v1/datasets/people/profile"), "dataset_id")
    assert_names_extra(http.post("/v1/datasets/people/split", json=SPLITS), "dataset_id")
    assert_names_extra(http.post("/v1/networks/people/evaluations", json={"dataset_id": "people"}), "dataset_id")
    job = scenarios.submit_job(base_install, network_id="people", dataset_id="people")
    failed = base_install.wait_for_job(job["id"])
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error.message.endswith("pip install 'nabla-train[tables]'.")
    batch = wait_for_batch_prediction(base_install, start_batch_prediction(base_install, "people", "people"))
    assert batch.error is not None
    assert batch.error.message.endswith("pip install 'nabla-train[tables]'.")


def test_rows_of_a_table_are_predicted_without_the_extra(base_install: RunningService) -> None:
    predicted = base_install.post("/v1/networks/people/predictions", {"rows": [{"age": 31}, {"age": "52"}]})
    assert len(predicted["outputs"]) == 2


def test_onnx_names_the_extra(base_install: RunningService) -> None:
    http = base_install.http
    onnx = {"file": ("network.onnx", b"not safetensors, not npz")}
    assert_names_extra(http.post("/v1/networks", files=onnx), "file", "onnx")
    file = "/v1/networks/people/versions/1/file"
    assert_names_extra(http.get(file, params={"format": "onnx"}), "format", "onnx")
    assert http.get(file, params={"format": "npz"}).status_code == 200
