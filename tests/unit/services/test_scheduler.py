"""Jobs go to slots of their kind, and wait for one of it; no worker is needed to see that."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from nabla.engine.data.dataset import Dataset
from nabla.engine.data.examples import Examples
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import DeviceChoice, Precision
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.cuda.devices import Found, Gpu
from nabla.engine.records.job import Job
from nabla.engine.records.network import NetworkRecord
from nabla.engine.services.jobs import JobService, Limits, Order
from nabla.engine.services.networks import Catalog
from nabla.engine.storage.data_dir import DataFolder
from nabla.engine.storage.journal import Journal
from nabla.engine.storage.registry import Registry
from nabla.engine.training.config import TrainingSpec
from nabla.engine.workers.training_pool import Slot

NO_CUPY = "CuPy is not installed"
GPU = Gpu(0, "NVIDIA H100", 79 * 2**30, 78 * 2**30, (9, 0), 132, 1.98e9)
LIMITS = Limits(100, 2**30)
WITH_GPU, WITHOUT = Found((GPU,), None), Found((), NO_CUPY)


@pytest.fixture
def network(registry: Registry, folder: DataFolder) -> NetworkRecord:
    architecture = Architecture(2, (Layer(3, "tanh"), Layer(1, "identity")), "quadratic")
    return Catalog(registry, folder, 1000).create_network(architecture, None)


@pytest.fixture
def dataset(registry: Registry, folder: DataFolder) -> Dataset:
    examples = Examples(np.zeros((4, 2), np.float32), np.zeros((4, 1), np.float32), None, None, None)
    return Catalog(registry, folder, 1000).create_dataset(examples, None)


def spec(device: DeviceChoice, precision: Precision = "full") -> TrainingSpec:
    return TrainingSpec(epochs=1, batch_size=2, learning_rate=0.1, device=device, precision=precision)


def test_a_job_goes_to_a_slot_of_its_kind_or_waits_for_one(
    registry: Registry, folder: DataFolder, network: NetworkRecord, dataset: Dataset
) -> None:
    cpu, gpu = Slot("cpu-0", 1, state="ready"), Slot("cuda-0", 1, 0, state="ready")
    networks = [Catalog(registry, folder, 1000).create_network(network.architecture, None) for _ in range(5)]
    service = JobService(registry, folder, [cpu, gpu], WITH_GPU, LIMITS)

    def submit(device: DeviceChoice) -> Job:
        return registry.jobs.get(service.submit(Order(networks.pop(), dataset, spec(device))).id)

    first, second, third = submit("cuda"), submit("cuda"), submit("cuda")
    assert (first.state, first.device, first.device_kind, first.device_reason) == (
        "running",
        "cuda:0",
        "cuda",
        "Asked for.",
    )
    assert (second.state, second.device) == ("queued", None)
    small = submit("auto")
    assert (small.state, small.device, small.device_kind) == ("running", "cpu", "cpu")
    assert small.device_reason is not None
    assert "on NVIDIA H100" in small.device_reason
    waiting = submit("cpu")
    assert registry.jobs.queue("cuda") == (second.id, third.id)
    assert registry.jobs.queue("cpu") == (waiting.id,)
    assert (service.busy_with(gpu), service.busy_with(cpu)) == (first.id, small.id)


def test_after_a_restart_without_the_gpu_only_what_asked_for_it_waits(
    registry: Registry, folder: DataFolder, network: NetworkRecord, dataset: Dataset
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
    service = JobService(registry, folder, [], WITHOUT, LIMITS)
    service.recover()
    service.start()
    service.stop(1.0)
    assert registry.jobs.queue("cpu") == ("job_0", "job_3")
    assert registry.jobs.queue("cuda") == ("job_1", "job_2")
    reason = f"It was to run on a GPU, but there is none here any more: {NO_CUPY}"
    assert registry.jobs.get("job_0").device_reason == reason
    assert registry.jobs.get("job_1").device_reason == "It was faster."


def test_a_job_for_a_gpu_that_is_not_there_is_not_taken(
    registry: Registry, folder: DataFolder, network: NetworkRecord, dataset: Dataset
) -> None:
    service = JobService(registry, folder, [Slot("cpu-0", 1, state="ready")], WITHOUT, LIMITS)
    with pytest.raises(InvalidInput, match="CuPy is not installed"):
        service.submit(Order(network, dataset, spec("cuda")))
    assert len(registry.jobs) == 0


def test_jobs_of_older_journals_are_for_the_cpu(tmp_path: Path) -> None:
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
