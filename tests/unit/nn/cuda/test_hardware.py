"""What only a real GPU can show. `pytest -m gpu` runs these, and all other tests of the GPU path on the GPU too."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu import measured
from benchmarks.workloads import WORKLOADS
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.backend import Setup
from nabla.engine.nn.cuda.backend import CudaStepper
from nabla.engine.nn.network import Network
from nabla.engine.nn.optimizers import fresh_memory
from nabla.engine.nn.training_step import Examples
from nabla.engine.training.config import TrainingSpec
from tests.unit.nn.cuda.devices import ON_GPU, cupy_of

pytestmark = list(ON_GPU)
ARCHITECTURE = Architecture(64, (Layer(48, "relu"), Layer(10, "softmax")), "categorical_cross_entropy")
ROWS, BATCH = 640, 32

HOLD = """
extern "C" __global__ void hold(const volatile int* released) {
  while (*released == 0) {}
}
"""


def stepper(**settings: Any) -> tuple[CudaStepper, Any, Any]:
    """A run of an epoch: the stepper, the order of its rows, and its optimization."""
    cupy = cupy_of("gpu")
    generator = np.random.default_rng(1)
    x = generator.normal(size=(ROWS, 64)).astype(np.float32)
    y = np.eye(10, dtype=np.float32)[generator.integers(0, 10, ROWS)]
    network, order = Network(ARCHITECTURE), np.arange(ROWS)
    optimization = (
        TrainingSpec(1, BATCH, 0.1)
        .optimization(ROWS)
        ._replace(memory=fresh_memory(), rates=np.full(ROWS // BATCH, 0.1), moments=np.zeros((0, 0), np.float32))
    )
    setup = Setup(network, ARCHITECTURE.plan(), optimization, BATCH, (Examples(x, y, np.zeros(0)), order), None)
    run = CudaStepper(setup, cupy=cupy, **settings)
    run.begin_epoch(order, optimization)
    return run, order, optimization


@contextmanager
def held(stream: Any) -> Iterator[Any]:
    """Nothing that is put on the stream runs before the function that this gives is called."""
    cupy = cupy_of("gpu")
    memory = cupy.cuda.alloc_pinned_memory(64)
    released = np.frombuffer(memory, np.int32, 1)
    released[0] = 0
    kernel = cupy.RawModule(code=HOLD).get_function("hold")

    def release() -> None:
        released[0] = 1

    with stream:
        kernel((1,), (1,), (np.uint64(memory.ptr),))
    try:
        yield release
    finally:
        release()
        stream.synchronize()


@pytest.mark.parametrize("in_one_block", [True, False])
def test_the_host_never_waits_inside_an_epoch(in_one_block: bool) -> None:
    """While the GPU stands still, the host gets to the end of the epoch: it would hang if it waited for anything."""
    run, order, optimization = stepper(in_one_block=in_one_block)
    run.train(0, ROWS)  # whatever is made on first use is made
    run.read_totals()
    run.begin_epoch(order, optimization)
    done = threading.Event()

    def train() -> None:
        run.train(0, ROWS)
        done.set()

    with held(run.stream) as release:
        thread = threading.Thread(target=train)
        thread.start()
        waited_for_nothing = done.wait(20)
        release()
        thread.join()
    assert waited_for_nothing
    assert np.isfinite(run.read_totals()).all()


def test_memory_is_back_after_a_run() -> None:
    cupy = cupy_of("gpu")
    pool = cupy.get_default_memory_pool()
    gc.collect()
    pool.free_all_blocks()
    before = pool.total_bytes()
    run, _, _ = stepper()
    run.train(0, ROWS)
    run.read_totals()
    assert pool.total_bytes() > before
    del run
    gc.collect()
    pool.free_all_blocks()
    assert pool.total_bytes() == before


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_throughput_is_reported(workload: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """As a share of what the device's own matrix products reach; python -m benchmarks.gpu measures it well."""
    found = measured(cupy_of("gpu"), workload, rounds=1)
    with capsys.disabled():
        print(f"\n{found.line()}")
    assert 0 < found.share < 1.5
