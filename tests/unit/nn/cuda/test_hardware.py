"""Tests that need a real GPU. `pytest -m gpu` runs these, and the other tests of the GPU path on the GPU."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu import measure
from benchmarks.support.workloads import WORKLOADS
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.backend import TrainingSetup
from nabla.engine.nn.cuda.backend import CudaBackend
from nabla.engine.nn.network import Network
from nabla.engine.nn.optimizers import init_optimizer_state
from nabla.engine.nn.training_step import Examples
from nabla.engine.training.config import TrainingSpec
from tests.unit.nn.cuda.devices import GPU_MARKS, import_cupy

pytestmark = list(GPU_MARKS)
ARCHITECTURE = Architecture(64, (Layer(48, "relu"), Layer(10, "softmax")), "categorical_cross_entropy")
ROWS, BATCH_SIZE = 640, 32

BLOCK_STREAM = """
extern "C" __global__ void block_stream(const volatile int* released) {
  while (*released == 0) {}
}
"""


def start_epoch(**settings: Any) -> tuple[CudaBackend, Any, Any]:
    """Return a backend at the start of an epoch, the order of the rows, and the optimization."""
    cupy = import_cupy("gpu")
    generator = np.random.default_rng(1)
    x = generator.normal(size=(ROWS, 64)).astype(np.float32)
    y = np.eye(10, dtype=np.float32)[generator.integers(0, 10, ROWS)]
    network, order = Network(ARCHITECTURE), np.arange(ROWS)
    optimization = (
        TrainingSpec(1, BATCH_SIZE, 0.1)
        .step_settings(ROWS)
        ._replace(
            optimizer_state=init_optimizer_state(),
            rates=np.full(ROWS // BATCH_SIZE, 0.1),
            moments=np.zeros((0, 0), np.float32),
        )
    )
    setup = TrainingSetup(
        network, ARCHITECTURE.layout(), optimization, BATCH_SIZE, (Examples(x, y, np.zeros(0)), order), None
    )
    backend = CudaBackend(setup, cupy=cupy, **settings)
    backend.begin_epoch(order, optimization)
    return backend, order, optimization


@contextmanager
def blocked(stream: Any) -> Iterator[Any]:
    """Block a stream until the function that this yields is called."""
    cupy = import_cupy("gpu")
    memory = cupy.cuda.alloc_pinned_memory(64)
    released = np.frombuffer(memory, np.int32, 1)
    released[0] = 0
    kernel = cupy.RawModule(code=BLOCK_STREAM).get_function("block_stream")

    def release() -> None:
        released[0] = 1

    with stream:
        kernel((1,), (1,), (np.uint64(memory.ptr),))
    try:
        yield release
    finally:
        release()
        stream.synchronize()


@pytest.mark.parametrize("single_block", [True, False])
def test_host_does_not_wait_for_the_device_in_an_epoch(single_block: bool) -> None:
    """With the stream blocked, the host reaches the end of the epoch; it would hang if it waited for the device."""
    backend, order, optimization = start_epoch(single_block=single_block)
    backend.train(0, ROWS)  # initializes what is initialized lazily
    backend.read_metric_sums()
    backend.begin_epoch(order, optimization)
    done = threading.Event()

    def train() -> None:
        backend.train(0, ROWS)
        done.set()

    with blocked(backend.stream) as release:
        thread = threading.Thread(target=train)
        thread.start()
        is_done = done.wait(20)
        release()
        thread.join()
    assert is_done
    assert np.isfinite(backend.read_metric_sums()).all()


def test_device_memory_is_freed_after_a_run() -> None:
    cupy = import_cupy("gpu")
    pool = cupy.get_default_memory_pool()
    gc.collect()
    pool.free_all_blocks()
    before = pool.total_bytes()
    backend, _, _ = start_epoch()
    backend.train(0, ROWS)
    backend.read_metric_sums()
    assert pool.total_bytes() > before
    del backend
    gc.collect()
    pool.free_all_blocks()
    assert pool.total_bytes() == before


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_throughput_is_measured(workload: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Report the fraction of the speed of bare matrix products; `python -m benchmarks.gpu` measures it precisely."""
    result = measure(import_cupy("gpu"), workload, rounds=1)
    with capsys.disabled():
        print(f"\n{result.summary()}")
    assert 0 < result.share < 1.5
