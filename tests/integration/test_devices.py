"""Devices, and jobs on a GPU: here the stand-in for CuPy is all that a service and its workers see."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import StartService
from tests.fakes.load import FOLDER
from tests.support.service import RunningService
from tests.unit.nn.cuda.devices import NO_GPU

NETWORK: dict[str, Any] = {
    "name": "net",
    "inputs": 2,
    "layers": [{"units": 16, "activation": "tanh"}, {"units": 1, "activation": "sigmoid"}],
    "cost": "binary_cross_entropy",
    "seed": 7,
}
JOB: dict[str, Any] = {
    "network_id": "net",
    "dataset_id": "xor",
    "epochs": 60,
    "batch_size": 3,
    "learning_rate": 0.05,
    "optimizer": "momentum",
}


def with_network_and_data(service: RunningService) -> RunningService:
    service.post("/v1/networks", NETWORK)
    inputs = [[0, 0], [0, 1], [1, 0], [1, 1]]
    service.post("/v1/datasets", {"name": "xor", "inputs": inputs, "labels": ["no", "yes", "yes", "no"]})
    return service


@pytest.fixture
def pretended_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started find the stand-in where they import CuPy."""
    monkeypatch.setenv("PYTHONPATH", str(FOLDER))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def gpu_of(service: RunningService) -> dict[str, Any]:
    gpu = service.get("/v1/devices")["data"][1]
    assert isinstance(gpu, dict)
    return gpu


def wait_for_gpu(service: RunningService, state: str = "idle") -> dict[str, Any]:
    """Asked again and again: no event tells of slots."""
    deadline = time.monotonic() + 120
    while (gpu := gpu_of(service))["slots"][0]["state"] != state:
        assert time.monotonic() < deadline, service.log.read_text()
        time.sleep(0.05)
    return gpu


@pytest.mark.skipif(NO_GPU is None, reason="there is a GPU")
def test_without_a_gpu_everything_else_works(start_service: StartService) -> None:
    service = start_service(gpus="auto")
    found = service.get("/v1/devices")
    (cpu,) = found["data"]
    assert (cpu["id"], cpu["kind"], cpu["compute_capability"]) == ("cpu", "cpu", None)
    assert 0 < cpu["memory_free_bytes"] < cpu["memory_total_bytes"]
    assert [slot["name"] for slot in cpu["slots"]] == ["cpu-0"]
    assert "CuPy" in found["missing"]


@pytest.mark.skipif(NO_GPU is None, reason="there is a GPU")
@pytest.mark.parametrize("installed", [True, False])
def test_asking_for_a_gpu_says_what_is_missing(
    installed: bool, start_service: StartService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if installed:
        pytest.importorskip("cupy", reason="CuPy is not installed")
    else:
        hidden = tmp_path / "without"
        hidden.mkdir()
        (hidden / "sitecustomize.py").write_text(
            "import sys, importlib.util as u\n"
            "found = u.find_spec\n"
            "u.find_spec = lambda name, *rest: None if name == 'cupy' else found(name, *rest)\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(hidden))
    service = with_network_and_data(start_service(gpus="auto"))
    refused = service.post("/v1/jobs", {**JOB, "device": "cuda"}, status=422)
    assert refused["errors"][0]["field"] == "device"
    expected = "CUDA finds no GPU with a driver" if installed else "CuPy is not installed: pip install"
    assert expected in refused["detail"]
    assert "Accepted here: auto, cpu" in refused["detail"]
    assert expected in service.get("/v1/devices")["missing"]
    job = service.post("/v1/jobs", {**JOB, "epochs": 1})
    assert (job["device_kind"], expected in job["device_reason"]) == ("cpu", True)
    refused = service.post("/v1/jobs", {**JOB, "precision": "tf32"}, status=422)
    assert refused["errors"][0]["field"] == "precision"


@pytest.mark.usefixtures("pretended_gpu")
def test_a_job_on_a_gpu_is_the_job_on_the_cpu(start_service: StartService) -> None:
    service = with_network_and_data(start_service(gpus="auto"))
    gpu = wait_for_gpu(service)
    assert (gpu["id"], gpu["compute_capability"]) == ("cuda:0", "9.0")
    assert 0 < gpu["memory_free_bytes"] <= gpu["memory_total_bytes"]
    on_gpu = service.post("/v1/jobs", {**JOB, "device": "cuda", "name": "gpu"})
    on_cpu = service.post("/v1/jobs", {**JOB, "device": "cpu", "name": "cpu"})
    chosen = service.post("/v1/jobs", {**JOB, "name": "chosen"})
    assert on_gpu["device_reason"] == "Asked for."
    assert chosen["device_kind"] == "cpu"
    assert "multiply-adds takes about" in chosen["device_reason"]
    assert service.finished(on_gpu["id"]).device == "cuda:0"
    assert service.finished(on_cpu["id"]).device == "cpu"
    costs = [
        [epoch["cost"] for epoch in service.get(f"/v1/jobs/{name}/history?limit=1000")["data"]]
        for name in ("gpu", "cpu")
    ]
    assert len(costs[0]) == JOB["epochs"]
    np.testing.assert_allclose(costs[0], costs[1], rtol=1e-4)
    assert wait_for_gpu(service)["memory_free_bytes"] == gpu["memory_free_bytes"]


@pytest.mark.usefixtures("pretended_gpu")
def test_a_job_on_a_gpu_predicts_with_the_weights_that_it_has(start_service: StartService) -> None:
    """They are on the device until somebody asks."""
    service = with_network_and_data(start_service(gpus="auto"))
    wait_for_gpu(service)
    job = service.post("/v1/jobs", {**JOB, "optimizer": "sgd", "epochs": 10**9, "device": "cuda"})
    service.trained(job["id"], 20)
    assert service.http.patch(f"/v1/jobs/{job['id']}", json={"learning_rate": 1e-30}).is_success  # changes no bit
    epoch = service.get(f"/v1/jobs/{job['id']}")["epoch"]
    body = {"inputs": [[0, 0], [0, 1], [1, 0], [1, 1]]}
    while (live := service.post(f"/v1/jobs/{job['id']}/predictions", body))["epoch"] <= epoch:
        pass
    service.post(f"/v1/jobs/{job['id']}/cancel", {"keep": "last"})
    assert live["outputs"] == service.post("/v1/networks/net/predictions", body)["outputs"]
    assert live["outputs"] != service.post("/v1/networks/net/predictions", {**body, "version": 0})["outputs"]


@pytest.mark.usefixtures("pretended_gpu")
def test_a_job_on_a_gpu_survives_kill_9(start_service: StartService) -> None:
    service = with_network_and_data(start_service(gpus="auto", checkpoint_seconds="0.2"))
    wait_for_gpu(service)
    job = service.post("/v1/jobs", {**JOB, "device": "cuda", "epochs": 500})
    service.trained(job["id"], 100)
    service.kill()
    service.start()
    ended = service.finished(job["id"])
    assert (ended.state, ended.attempts) == ("succeeded", 2)
    again = service.finished(service.post("/v1/jobs", {**JOB, "device": "cuda", "epochs": 500})["id"])
    assert again.cost == ended.cost


@pytest.mark.usefixtures("pretended_gpu")
def test_a_run_that_finds_too_little_memory_fails_and_gives_it_back(start_service: StartService) -> None:
    """Another process has taken most of the GPU's memory."""
    service = with_network_and_data(
        start_service(gpus="auto", standin_memory=str(2**31), standin_taken=str(2**31 - 2**20))
    )
    wait_for_gpu(service)
    before = set(service.workers())
    wide = {**NETWORK, "name": "wide", "layers": [{"units": 200_000, "activation": "relu"}, NETWORK["layers"][1]]}
    service.post("/v1/networks", wide)
    failed = service.finished(service.post("/v1/jobs", {**JOB, "network_id": "wide", "device": "cuda"})["id"])
    assert failed.error is not None
    assert failed.error.kind == "out_of_memory"
    assert "memory of the GPU" in failed.error.message
    assert failed.attempts == 1
    assert service.finished(service.post("/v1/jobs", {**JOB, "device": "cuda"})["id"]).state == "succeeded"
    assert len(set(service.workers()) - before) == 1


@pytest.mark.usefixtures("pretended_gpu")
def test_a_run_that_cannot_fit_is_refused_with_the_estimate(start_service: StartService) -> None:
    service = with_network_and_data(start_service(gpus="auto", standin_memory=str(700 * 2**20)))
    wide = {
        **NETWORK,
        "name": "wide",
        "layers": [{"units": 6_000_000, "activation": "relu"}, NETWORK["layers"][1]],
    }
    service.post("/v1/networks", wide)
    refused = service.post("/v1/jobs", {**JOB, "network_id": "wide", "device": "cuda"}, status=422)
    assert "needs about 1.0 GiB of GPU memory" in refused["detail"]
    assert "has 0.7 GiB" in refused["detail"]


@pytest.mark.usefixtures("pretended_gpu")
def test_a_service_can_be_told_to_use_none(start_service: StartService) -> None:
    service = start_service(gpus="none")
    found = service.get("/v1/devices")
    assert [device["id"] for device in found["data"]] == ["cpu"]
    assert "NABLA_GPUS" in found["missing"]


@pytest.mark.usefixtures("pretended_gpu")
def test_a_worker_sees_its_own_gpu_alone(start_service: StartService, monkeypatch: pytest.MonkeyPatch) -> None:
    """The i-th GPU of the service is the i-th of those that it may see itself."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b7, 3")
    service = start_service(gpus="auto")
    wait_for_gpu(service)
    environments = (Path(f"/proc/{worker}/environ").read_text().split("\0") for worker in service.workers())
    seen = {line for environment in environments for line in environment if line.startswith("CUDA_VISIBLE_DEVICES=")}
    assert seen == {"CUDA_VISIBLE_DEVICES=", "CUDA_VISIBLE_DEVICES=GPU-b7"}
