"""Assignment of jobs to slots by kind; no worker runs."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from nabla.engine.data.dataset import Dataset
from nabla.engine.data.examples import Examples
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import DeviceChoice, Precision
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.cuda.devices import Gpu, GpuInventory
from nabla.engine.records.job import Job
from nabla.engine.records.network import NetworkRecord
from nabla.engine.services.datasets import DatasetService
from nabla.engine.services.job_validation import JobLimits, JobRequest
from nabla.engine.services.jobs import JobService
from nabla.engine.services.networks import NetworkService
from nabla.engine.storage.data_dir import DataDir
from nabla.engine.storage.journal import Journal
from nabla.engine.storage.registry import Registry
from nabla.engine.training.config import TrainingSpec
from nabla.engine.workers.training_pool import Slot

NO_CUPY = "CuPy is not installed"
GPU = Gpu(0, "NVIDIA H100", 79 * 2**30, 78 * 2**30, (9, 0), 132, 1.98e9)
LIMITS = JobLimits(100, 2**30)
WITH_GPU, WITHOUT_GPU = GpuInventory((GPU,), None), GpuInventory((), NO_CUPY)


@pytest.fixture
def network(networks: NetworkService) -> NetworkRecord:
    architecture = Architecture(2, (Layer(3, "tanh"), Layer(1, "identity")), "quadratic")
    return networks.create_network(architecture, None)


@pytest.fixture
def dataset(datasets: DatasetService) -> Dataset:
    examples = Examples(np.zeros((4, 2), np.float32), np.zeros((4, 1), np.float32), None, None, None)
    return datasets.create_dataset(examples, None)


def spec(device: DeviceChoice, precision: Precision = "full") -> TrainingSpec:
    return TrainingSpec(epochs=1, batch_size=2, learning_rate=0.1, device=device, precision=precision)


def test_job_starts_in_a_free_slot_of_its_kind_or_is_queued(
    registry: Registry, data_dir: DataDir, networks: NetworkService, network: NetworkRecord, dataset: Dataset
) -> None:
    cpu, gpu = Slot("cpu-0", 1, state="ready"), Slot("cuda-0", 1, 0, state="ready")
    untrained = [networks.create_network(network.architecture, None) for _ in range(5)]
    service = JobService(registry, data_dir, [cpu, gpu], WITH_GPU, LIMITS)

    def submit(device: DeviceChoice) -> Job:
        plan = service.plan(JobRequest(untrained.pop(), dataset, spec(device)))
        return registry.jobs.get(service.submit(plan).id)

    first, second, third = submit("cuda"), submit("cuda"), submit("cuda")
    assert (first.state, first.device, first.device_kind, first.device_reason) == (
        "running",
        "cuda:0",
        "cuda",
        "Requested.",
    )
    assert (second.state, second.device) == ("queued", None)
    small = submit("auto")
    assert (small.state, small.device, small.device_kind) == ("running", "cpu", "cpu")
    assert small.device_reason is not None
    assert "on NVIDIA H100" in small.device_reason
    waiting = submit("cpu")
    assert registry.jobs.queue("cuda") == (second.id, third.id)
    assert registry.jobs.queue("cpu") == (waiting.id,)
    assert (service.job_in(gpu), service.job_in(cpu)) == (first.id, small.id)


def test_after_a_restart_without_gpu_only_jobs_that_need_it_stay_in_its_queue(
    registry: Registry, data_dir: DataDir, network: NetworkRecord, dataset: Dataset
) -> None:
    kinds: list[tuple[DeviceChoice, Precision]] = [
        ("auto", "full"),
        ("cuda", "full"),
        ("auto", "half"),
        ("auto", "full"),
    ]
    for number, (device, precision) in enumerate(kinds):
        job = Job(
            f"job_{number}",
            None,
            network.id,
            dataset.id,
            spec(device, precision),
            datetime.now(UTC),
            device_kind="cuda",
            device_reason="It was faster.",
            state="running" if number == 3 else "queued",
        )
        registry.add(registry.jobs, job)
    service = JobService(registry, data_dir, [], WITHOUT_GPU, LIMITS)
    service.recover()
    service.start()
    service.stop(1.0)
    assert registry.jobs.queue("cpu") == ("job_0", "job_3")
    assert registry.jobs.queue("cuda") == ("job_1", "job_2")
    reason = f"The job was planned for a GPU, but none is available any more: {NO_CUPY}"
    assert registry.jobs.get("job_0").device_reason == reason
    assert registry.jobs.get("job_1").device_reason == "It was faster."


def test_job_for_a_missing_gpu_is_refused(
    registry: Registry, data_dir: DataDir, network: NetworkRecord, dataset: Dataset
) -> None:
    service = JobService(registry, data_dir, [Slot("cpu-0", 1, state="ready")], WITHOUT_GPU, LIMITS)
    with pytest.raises(InvalidInput, match="CuPy is not installed"):
        service.submit(service.plan(JobRequest(network, dataset, spec("cuda"))))
    assert len(registry.jobs) == 0


def test_jobs_of_older_journals_run_on_the_cpu(tmp_path: Path) -> None:
    job = (
        b'{"id":"job_1","name":null,"network_id":"net_1","dataset_id":"ds_1","spec":{"epochs":1,"batch_size":1,'
        b'"learning_rate":0.1},"created_at":"2026-01-31T09:30:00Z"}'
    )
    journal = Journal(tmp_path / "journal.sqlite")
    with journal.transaction():
        journal.put("job", "job_1", None, "queued", job)
    registry = Registry(journal)
    found = registry.jobs.get("job_1")
    assert (found.device_kind, found.device_reason, found.spec.precision) == ("cpu", None, "full")
    assert registry.jobs.queue("cpu") == ("job_1",)
    journal.close()
