"""Planning of jobs: limits, memory, devices and shuffle blocks, without any worker."""

from dataclasses import replace

import numpy as np
import pytest

from nabla.engine.data.dataset import Dataset
from nabla.engine.data.examples import build_examples
from nabla.engine.errors import InvalidInput
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.cuda.devices import GpuInventory
from nabla.engine.records.network import NetworkRecord
from nabla.engine.services.datasets import DatasetService
from nabla.engine.services.job_validation import JobLimits, JobPlan, JobRequest, plan_job
from nabla.engine.services.networks import NetworkService
from nabla.engine.storage.data_dir import DataDir
from nabla.engine.training.config import TrainingSpec

SPEC = TrainingSpec(epochs=1, batch_size=2, learning_rate=0.1)
LIMITS = JobLimits(queued_jobs=1, job_bytes=2**30)


@pytest.fixture
def network(networks: NetworkService) -> NetworkRecord:
    return networks.create_network(Architecture(2, (Layer(3, "tanh"), Layer(1, "identity")), "quadratic"), None)


@pytest.fixture
def dataset(datasets: DatasetService) -> Dataset:
    return datasets.create_dataset(build_examples(np.eye(2), targets=np.ones(2)), None)


def plan(request: JobRequest, data_dir: DataDir, limits: JobLimits = LIMITS) -> JobPlan:
    return plan_job(request, limits, data_dir, cores=1, gpus=GpuInventory(unavailable_reason="CuPy is not installed"))


def test_data_memory_is_half_of_what_the_run_leaves_of_its_slot() -> None:
    limits = JobLimits(queued_jobs=1, job_bytes=1000, slot_bytes=1000)
    assert [limits.data_memory(peak_bytes) for peak_bytes in (0, 400, 2000)] == [500, 300, 0]
    assert JobLimits(queued_jobs=1, job_bytes=1000, slot_bytes=1000, data_bytes=70).data_memory(2000) == 70


def test_plan_has_device_and_memory_and_shuffles_rows(
    network: NetworkRecord, dataset: Dataset, data_dir: DataDir
) -> None:
    request = JobRequest(network, dataset, SPEC)
    job_plan = plan(request, data_dir)
    assert (job_plan.request, job_plan.spec) == (request, SPEC)
    assert job_plan.device == "cpu"
    assert "CuPy is not installed" in job_plan.device_reason
    assert 0 < job_plan.memory_bytes < job_plan.peak_memory_bytes


def test_data_larger_than_its_memory_is_shuffled_in_blocks(
    network: NetworkRecord, dataset: Dataset, data_dir: DataDir
) -> None:
    limits = replace(LIMITS, data_bytes=1)
    assert plan(JobRequest(network, dataset, SPEC), data_dir, limits).spec.shuffle_block == 1
    unshuffled = JobRequest(network, dataset, replace(SPEC, shuffle=False))
    assert plan(unshuffled, data_dir, limits).spec.shuffle_block is None


def test_run_beyond_the_memory_limit_is_refused(network: NetworkRecord, dataset: Dataset, data_dir: DataDir) -> None:
    memory = plan(JobRequest(network, dataset, SPEC), data_dir).memory_bytes
    exact = replace(LIMITS, job_bytes=memory)
    assert plan(JobRequest(network, dataset, SPEC), data_dir, exact).memory_bytes == memory
    with pytest.raises(InvalidInput, match=f"{memory} bytes .* at most {memory - 1} are allowed") as refused:
        plan(JobRequest(network, dataset, SPEC), data_dir, replace(LIMITS, job_bytes=memory - 1))
    assert refused.value.problems[0][0] == "batch_size"


def test_missing_gpu_is_refused(network: NetworkRecord, dataset: Dataset, data_dir: DataDir) -> None:
    with pytest.raises(InvalidInput, match="CuPy is not installed") as refused:
        plan(JobRequest(network, dataset, replace(SPEC, device="cuda")), data_dir)
    assert refused.value.problems[0][0] == "device"
