"""Where a job trains, by arithmetic, and what is refused before it is queued."""

import pytest

from nabla.engine.errors import InvalidInput
from nabla.engine.literals import DtypeName
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.cuda.devices import Found, Gpu
from nabla.engine.training.device_selection import Choice, choose
from tests.unit.training.sample_datasets import spec

GIB = 2**30
LARGE_GPU = Gpu(0, "Large", 80 * GIB, 79 * GIB, (9, 0), 132, 1.98e9)
OLD_GPU = Gpu(0, "Old", 8 * GIB, 7 * GIB, (6, 1), 20, 1.7e9)
HOME_GPU = Gpu(0, "Home", 24 * GIB, 23 * GIB, (8, 9), 128, 2.5e9)
NONE = Found(missing="CuPy is not installed")


def network(*units: int, dtype: DtypeName = "float32") -> Architecture:
    """Of so many inputs and units, relu within and softmax at the end."""
    hidden = tuple(Layer(count, "relu") for count in units[1:-1])
    return Architecture(
        units[0],
        (*hidden, Layer(units[-1], "softmax")),
        "categorical_cross_entropy",
        dtype=dtype,
    )


def chosen(
    architecture: Architecture, *, batch_size: int, gpu: Gpu | None = LARGE_GPU, rows: int = 50_000, **settings: object
) -> Choice:
    found = NONE if gpu is None else Found((gpu,))
    return choose(spec(batch_size=batch_size, optimizer="adam", **settings), architecture, rows, rows, 2, found)


def test_small_networks_train_faster_on_the_cpu() -> None:
    for units, batch_size in (((784, 30, 10), 10), ((13, 64, 64, 2), 16), ((784, 128, 10), 32)):
        choice = chosen(network(*units), batch_size=batch_size)
        assert choice.device == "cpu"
    assert choice.reason == (
        "A step of 6.5 million multiply-adds takes about 112 µs on 2 cores and about 300 µs on Large, for launching "
        "its 20 kernels."
    )


def test_large_networks_train_faster_on_a_gpu() -> None:
    choice = chosen(network(1024, 4096, 4096, 256), batch_size=1024)
    assert choice.device == "cuda"
    assert "on 2 cores" in choice.reason
    assert "on Large, for its work." in choice.reason


def test_a_larger_batch_never_goes_back_to_the_cpu() -> None:
    devices = [chosen(network(784, 256, 10), batch_size=2**k).device for k in range(16)]
    assert devices == sorted(devices)
    assert {"cpu", "cuda"} == set(devices)


def test_float64_is_slow_on_gpus_that_are_not_made_for_it() -> None:
    architecture = network(1024, 2048, 256, dtype="float64")
    assert chosen(architecture, batch_size=1024).device == "cuda"
    assert chosen(network(256, 256, 10, dtype="float64"), batch_size=64, gpu=HOME_GPU).device == "cpu"


def test_without_a_gpu() -> None:
    assert chosen(network(784, 30, 10), batch_size=10, gpu=None) == Choice(
        "cpu", "There is no GPU to use: CuPy is not installed."
    )
    with pytest.raises(InvalidInput, match=r"CuPy is not installed\. Accepted here: auto, cpu") as refused:
        chosen(network(784, 30, 10), batch_size=10, gpu=None, device="cuda")
    assert refused.value.problems[0][0] == "device"


def test_what_is_asked_for_is_done() -> None:
    assert chosen(network(784, 30, 10), batch_size=10, device="cuda") == Choice("cuda", "Asked for.")
    assert chosen(network(1024, 4096, 4096, 256), batch_size=1024, device="cpu") == Choice("cpu", "Asked for.")


def test_l_bfgs_stays_on_the_cpu() -> None:
    found = Found((LARGE_GPU,))
    assert choose(spec(optimizer="l-bfgs"), network(784, 30, 10), 100, 100, 2, found).device == "cpu"
    with pytest.raises(InvalidInput, match="SciPy makes its steps"):
        choose(spec(optimizer="l-bfgs", device="cuda"), network(784, 30, 10), 100, 100, 2, found)


def test_precisions_need_a_gpu_that_has_them_and_float32() -> None:
    small = network(784, 30, 10)
    assert chosen(small, batch_size=10, precision="half").device == "cuda"
    for settings, match in (
        ({"gpu": None}, "needs a GPU. Accepted here: full"),
        ({"gpu": OLD_GPU}, "needs a GPU of compute capability 7.0; Old has 6.1"),
        ({"device": "cpu"}, "The CPU computes with full precision"),
    ):
        with pytest.raises(InvalidInput, match=match) as refused:
            chosen(small, batch_size=10, precision="half", **settings)
        assert refused.value.problems[0][0] == "precision"
    with pytest.raises(InvalidInput, match="this one is float64"):
        chosen(network(784, 30, 10, dtype="float64"), batch_size=10, precision="tf32")


def test_what_no_gpu_can_hold_is_refused_with_the_estimate() -> None:
    architecture = network(30_000, 30_000, 30_000, 10)
    with pytest.raises(InvalidInput, match=r"needs about 27\.\d GiB of GPU memory \(26\.8 GiB for .* Old has 8\.0 GiB"):
        chosen(architecture, batch_size=32, gpu=OLD_GPU, device="cuda")
    choice = chosen(architecture, batch_size=32, gpu=OLD_GPU)
    assert choice.device == "cpu"
    assert "Old has 8.0 GiB" in choice.reason


def test_data_that_a_gpu_cannot_hold_is_no_obstacle() -> None:
    architecture = network(1024, 4096, 4096, 256)
    assert chosen(architecture, batch_size=1024, gpu=OLD_GPU, rows=10**8).device == "cuda"
