"""Selection of the device for a job, and settings that are rejected before it is queued."""

import pytest

from nabla.engine.errors import InvalidInput
from nabla.engine.literals import DtypeName
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.cuda.devices import Gpu, GpuInventory
from nabla.engine.training.device_selection import DeviceDecision, select_device
from tests.unit.training.sample_datasets import spec

GIB = 2**30
LARGE_GPU = Gpu(0, "Large", 80 * GIB, 79 * GIB, (9, 0), 132, 1.98e9)
OLD_GPU = Gpu(0, "Old", 8 * GIB, 7 * GIB, (6, 1), 20, 1.7e9)
HOME_GPU = Gpu(0, "Home", 24 * GIB, 23 * GIB, (8, 9), 128, 2.5e9)
NO_GPU = GpuInventory(unavailable_reason="CuPy is not installed")


def network(*units: int, dtype: DtypeName = "float32") -> Architecture:
    """Return an architecture with these inputs and units, ReLU in hidden layers, and softmax outputs."""
    hidden = tuple(Layer(count, "relu") for count in units[1:-1])
    return Architecture(
        units[0],
        (*hidden, Layer(units[-1], "softmax")),
        "categorical_cross_entropy",
        dtype=dtype,
    )


def select(
    architecture: Architecture, *, batch_size: int, gpu: Gpu | None = LARGE_GPU, rows: int = 50_000, **settings: object
) -> DeviceDecision:
    inventory = NO_GPU if gpu is None else GpuInventory((gpu,))
    settings_with_adam = spec(batch_size=batch_size, optimizer="adam", **settings)
    return select_device(settings_with_adam, architecture, rows, rows, 2, inventory)


def test_small_networks_train_on_cpu() -> None:
    for units, batch_size in (((784, 30, 10), 10), ((13, 64, 64, 2), 16), ((784, 128, 10), 32)):
        choice = select(network(*units), batch_size=batch_size)
        assert choice.device == "cpu"
    assert choice.reason == (
        "A step of 6.5 million multiply-adds takes about 112 µs on 2 cores and about 300 µs on Large, limited by "
        "launching its 20 kernels."
    )


def test_large_networks_train_on_gpu() -> None:
    choice = select(network(1024, 4096, 4096, 256), batch_size=1024)
    assert choice.device == "cuda"
    assert "on 2 cores" in choice.reason
    assert "on Large, limited by its arithmetic." in choice.reason


def test_larger_batches_never_return_to_cpu() -> None:
    devices = [select(network(784, 256, 10), batch_size=2**k).device for k in range(16)]
    assert devices == sorted(devices)
    assert {"cpu", "cuda"} == set(devices)


def test_float64_is_slow_on_consumer_gpus() -> None:
    architecture = network(1024, 2048, 256, dtype="float64")
    assert select(architecture, batch_size=1024).device == "cuda"
    assert select(network(256, 256, 10, dtype="float64"), batch_size=64, gpu=HOME_GPU).device == "cpu"


def test_cpu_is_used_without_gpu() -> None:
    assert select(network(784, 30, 10), batch_size=10, gpu=None) == DeviceDecision(
        "cpu", "No GPU is available: CuPy is not installed."
    )
    with pytest.raises(InvalidInput, match=r"CuPy is not installed\. Accepted here: auto, cpu") as rejected:
        select(network(784, 30, 10), batch_size=10, gpu=None, device="cuda")
    assert rejected.value.problems[0][0] == "device"


def test_requested_device_is_used() -> None:
    assert select(network(784, 30, 10), batch_size=10, device="cuda") == DeviceDecision("cuda", "Requested.")
    assert select(network(1024, 4096, 4096, 256), batch_size=1024, device="cpu") == DeviceDecision("cpu", "Requested.")


def test_l_bfgs_runs_on_cpu() -> None:
    inventory = GpuInventory((LARGE_GPU,))
    assert select_device(spec(optimizer="l-bfgs"), network(784, 30, 10), 100, 100, 2, inventory).device == "cpu"
    with pytest.raises(InvalidInput, match=r"l-bfgs runs on the CPU.* Accepted here: auto, cpu"):
        select_device(spec(optimizer="l-bfgs", device="cuda"), network(784, 30, 10), 100, 100, 2, inventory)


def test_reduced_precision_needs_suitable_gpu_and_float32() -> None:
    small = network(784, 30, 10)
    assert select(small, batch_size=10, precision="half").device == "cuda"
    for settings, match in (
        ({"gpu": None}, "needs a GPU. Accepted here: full"),
        ({"gpu": OLD_GPU}, "needs a GPU of compute capability 7.0; Old has 6.1"),
        ({"device": "cpu"}, "The CPU computes with full precision"),
    ):
        with pytest.raises(InvalidInput, match=match) as rejected:
            select(small, batch_size=10, precision="half", **settings)
        assert rejected.value.problems[0][0] == "precision"
    with pytest.raises(InvalidInput, match="this one is float64"):
        select(network(784, 30, 10, dtype="float64"), batch_size=10, precision="tf32")


def test_run_beyond_gpu_memory_is_rejected_with_estimate() -> None:
    architecture = network(30_000, 30_000, 30_000, 10)
    with pytest.raises(InvalidInput, match=r"needs about 27\.\d GiB of GPU memory \(26\.8 GiB for .* Old has 8\.0 GiB"):
        select(architecture, batch_size=32, gpu=OLD_GPU, device="cuda")
    choice = select(architecture, batch_size=32, gpu=OLD_GPU)
    assert choice.device == "cpu"
    assert "Old has 8.0 GiB" in choice.reason


def test_dataset_may_exceed_gpu_memory() -> None:
    architecture = network(1024, 4096, 4096, 256)
    assert select(architecture, batch_size=1024, gpu=OLD_GPU, rows=10**8).device == "cuda"
