"""Devices, and jobs on a GPU that the fake CuPy provides to the service and its workers."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import StartService
from tests.fakes.load import FAKES_DIRECTORY
from tests.support.cpu_quota import cpu_quota
from tests.support.service import RunningService
from tests.unit.nn.cuda.devices import GPU_UNAVAILABLE_REASON

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


def create_network_and_dataset(service: RunningService) -> RunningService:
    service.post("/v1/networks", NETWORK)
    inputs = [[0, 0], [0, 1], [1, 0], [1, 1]]
    service.post("/v1/datasets", {"name": "xor", "inputs": inputs, "labels": ["no", "yes", "yes", "no"]})
    return service


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes that the test starts import the fake CuPy."""
    monkeypatch.setenv("PYTHONPATH", str(FAKES_DIRECTORY), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def get_gpu(service: RunningService) -> dict[str, Any]:
    gpu = service.get("/v1/devices")["data"][1]
    assert isinstance(gpu, dict)
    return gpu


def wait_for_gpu(service: RunningService, state: str = "idle") -> dict[str, Any]:
    """Poll the state of the GPU's slot, of which there are no events."""
    deadline = time.monotonic() + 120
    while (gpu := get_gpu(service))["slots"][0]["state"] != state:
        assert time.monotonic() < deadline, service.log.read_text()
        time.sleep(0.05)
    return gpu


@pytest.mark.skipif(GPU_UNAVAILABLE_REASON is None, reason="there is a GPU")
def test_service_without_a_gpu_reports_the_reason(start_service: StartService) -> None:
    service = start_service(gpus="auto")
    devices = service.get("/v1/devices")
    (cpu,) = devices["data"]
    assert (cpu["id"], cpu["kind"], cpu["compute_capability"]) == ("cpu", "cpu", None)
    assert 0 < cpu["memory_free_bytes"] < cpu["memory_total_bytes"]
    assert [slot["name"] for slot in cpu["slots"]] == ["cpu-0"]
    assert "CuPy" in devices["gpu_unavailable_reason"]


@pytest.mark.skipif(GPU_UNAVAILABLE_REASON is None, reason="there is a GPU")
@pytest.mark.parametrize("installed", [True, False])
def test_request_for_an_unavailable_gpu_names_what_is_missing(
    installed: bool, start_service: StartService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if installed:
        pytest.importorskip("cupy", reason="CuPy is not installed")
    else:
        site = tmp_path / "without_cupy"
        site.mkdir()
        (site / "sitecustomize.py").write_text(
            "import sys, importlib.util as u\n"
            "find_spec = u.find_spec\n"
            "u.find_spec = lambda name, *rest: None if name == 'cupy' else find_spec(name, *rest)\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    service = create_network_and_dataset(start_service(gpus="auto"))
    rejected = service.post("/v1/jobs", {**JOB, "device": "cuda"}, status=422)
    assert rejected["errors"][0]["field"] == "device"
    expected = "CUDA finds no GPU with a driver" if installed else "CuPy is not installed: pip install"
    assert expected in rejected["detail"]
    assert "Accepted here: auto, cpu" in rejected["detail"]
    assert expected in service.get("/v1/devices")["gpu_unavailable_reason"]
    job = service.post("/v1/jobs", {**JOB, "epochs": 1})
    assert (job["device_kind"], expected in job["device_reason"]) == ("cpu", True)
    rejected = service.post("/v1/jobs", {**JOB, "precision": "tf32"}, status=422)
    assert rejected["errors"][0]["field"] == "precision"


@pytest.mark.usefixtures("fake_gpu")
def test_job_on_the_gpu_has_the_costs_of_the_cpu(start_service: StartService) -> None:
    service = create_network_and_dataset(start_service(gpus="auto"))
    gpu = wait_for_gpu(service)
    assert (gpu["id"], gpu["compute_capability"]) == ("cuda:0", "9.0")
    assert 0 < gpu["memory_free_bytes"] <= gpu["memory_total_bytes"]
    on_gpu = service.post("/v1/jobs", {**JOB, "device": "cuda", "name": "gpu"})
    on_cpu = service.post("/v1/jobs", {**JOB, "device": "cpu", "name": "cpu"})
    automatic = service.post("/v1/jobs", {**JOB, "name": "automatic"})
    assert on_gpu["device_reason"] == "Requested."
    assert automatic["device_kind"] == "cpu"
    assert "multiply-adds takes about" in automatic["device_reason"]
    assert service.wait_for_job(on_gpu["id"]).device == "cuda:0"
    assert service.wait_for_job(on_cpu["id"]).device == "cpu"
    costs = [
        [epoch["cost"] for epoch in service.get(f"/v1/jobs/{name}/history?limit=1000")["data"]]
        for name in ("gpu", "cpu")
    ]
    assert len(costs[0]) == JOB["epochs"]
    np.testing.assert_allclose(costs[0], costs[1], rtol=1e-4)
    assert wait_for_gpu(service)["memory_free_bytes"] == gpu["memory_free_bytes"]


@pytest.mark.usefixtures("fake_gpu")
def test_live_predictions_of_a_job_on_the_gpu(start_service: StartService) -> None:
    """The weights are copied from the device only on request."""
    service = create_network_and_dataset(start_service(gpus="auto"))
    wait_for_gpu(service)
    job = service.post("/v1/jobs", {**JOB, "optimizer": "sgd", "epochs": 10**9, "device": "cuda"})
    service.wait_for_epoch(job["id"], 20)
    assert service.http.patch(f"/v1/jobs/{job['id']}", json={"learning_rate": 1e-30}).is_success  # changes no bit
    epoch = service.get(f"/v1/jobs/{job['id']}")["epoch"]
    body = {"inputs": [[0, 0], [0, 1], [1, 0], [1, 1]]}
    while (live := service.post(f"/v1/jobs/{job['id']}/predictions", body))["epoch"] <= epoch:
        pass
    service.post(f"/v1/jobs/{job['id']}/cancel", {"keep": "last"})
    assert live["outputs"] == service.post("/v1/networks/net/predictions", body)["outputs"]
    assert live["outputs"] != service.post("/v1/networks/net/predictions", {**body, "version": 0})["outputs"]


@pytest.mark.usefixtures("fake_gpu")
def test_job_on_the_gpu_resumes_after_a_crash(start_service: StartService) -> None:
    service = create_network_and_dataset(start_service(gpus="auto", checkpoint_interval="0.2"))
    wait_for_gpu(service)
    job = service.post("/v1/jobs", {**JOB, "device": "cuda", "epochs": 500})
    service.wait_for_epoch(job["id"], 100)
    service.kill()
    service.start()
    finished = service.wait_for_job(job["id"])
    assert (finished.state, finished.attempts) == ("succeeded", 2)
    again = service.wait_for_job(service.post("/v1/jobs", {**JOB, "device": "cuda", "epochs": 500})["id"])
    assert again.cost == finished.cost


@pytest.mark.usefixtures("fake_gpu")
def test_job_without_enough_free_gpu_memory_fails_and_the_next_one_runs(start_service: StartService) -> None:
    """Another process occupies most of the memory of the GPU."""
    memory = {"NABLA_FAKE_CUPY_MEMORY": str(2**31), "NABLA_FAKE_CUPY_USED_MEMORY": str(2**31 - 2**20)}
    service = create_network_and_dataset(start_service(memory, gpus="auto"))
    wait_for_gpu(service)
    before = set(service.worker_pids())
    wide = {**NETWORK, "name": "wide", "layers": [{"units": 200_000, "activation": "relu"}, NETWORK["layers"][1]]}
    service.post("/v1/networks", wide)
    failed = service.wait_for_job(service.post("/v1/jobs", {**JOB, "network_id": "wide", "device": "cuda"})["id"])
    assert failed.error is not None
    assert failed.error.kind == "out_of_memory"
    assert "GPU memory" in failed.error.message
    assert failed.attempts == 1
    assert service.wait_for_job(service.post("/v1/jobs", {**JOB, "device": "cuda"})["id"]).state == "succeeded"
    assert len(set(service.worker_pids()) - before) == 1


@pytest.mark.usefixtures("fake_gpu")
def test_job_larger_than_the_gpu_memory_is_rejected_with_the_estimate(start_service: StartService) -> None:
    service = create_network_and_dataset(start_service({"NABLA_FAKE_CUPY_MEMORY": str(700 * 2**20)}, gpus="auto"))
    wide = {
        **NETWORK,
        "name": "wide",
        "layers": [{"units": 6_000_000, "activation": "relu"}, NETWORK["layers"][1]],
    }
    service.post("/v1/networks", wide)
    rejected = service.post("/v1/jobs", {**JOB, "network_id": "wide", "device": "cuda"}, status=422)
    assert "needs about 1.0 GiB of GPU memory" in rejected["detail"]
    assert "has 0.7 GiB" in rejected["detail"]


@pytest.mark.usefixtures("fake_gpu")
def test_gpus_can_be_turned_off(start_service: StartService) -> None:
    service = start_service(gpus="none")
    devices = service.get("/v1/devices")
    assert [device["id"] for device in devices["data"]] == ["cpu"]
    assert "NABLA_GPUS" in devices["gpu_unavailable_reason"]


@pytest.mark.usefixtures("fake_gpu")
def test_worker_sees_only_its_own_gpu(start_service: StartService, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPUs of the service are those of its own CUDA_VISIBLE_DEVICES, in that order."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b7, 3")
    service = start_service(gpus="auto")
    wait_for_gpu(service)
    environments = (Path(f"/proc/{worker}/environ").read_text().split("\0") for worker in service.worker_pids())
    variables = {
        line for environment in environments for line in environment if line.startswith("CUDA_VISIBLE_DEVICES=")
    }
    assert variables == {"CUDA_VISIBLE_DEVICES=", "CUDA_VISIBLE_DEVICES=GPU-b7"}


def test_cpu_quota_decides_the_cores_of_a_slot(start_service: StartService) -> None:
    try:
        with cpu_quota(1.5):
            service = start_service()
            service.wait_until_ready()
    except PermissionError:
        pytest.skip("needs the right to create control groups")
    (device,) = service.get("/v1/devices")["data"]
    assert [slot["cores"] for slot in device["slots"]] == [1]
