"""Kernels of the fake CuPy: launches that CUDA rejects are rejected, and threads run in a random order."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from tests.fakes.load import load_fake_cupy

cupy = load_fake_cupy()
pytestmark = pytest.mark.usefixtures("lazy_queues")

SOURCE = r"""
struct Call { const float* x; float* y; long long n; };
extern "C" __global__ void __launch_bounds__(256) doubled(const Call* calls, long long index) {
    const Call& call = calls[index];
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < call.n; i += gridDim.x * blockDim.x)
        call.y[i] = 2 * call.x[i];
}
extern "C" __global__ void typed(float* numbers, int a, unsigned long long b, float c, double d) {
    if (threadIdx.x == 0) numbers[0] = a + b + c + d;
}
extern "C" __global__ void write_at(float* numbers, long long index) { numbers[index] = 1; }
extern "C" __global__ void partial_barrier(float* numbers) {
    if (threadIdx.x < 5) __syncthreads();
    numbers[threadIdx.x] = 1;
}
extern "C" __global__ void uninitialized(float* numbers) {
    __shared__ float shared[32];
    numbers[threadIdx.x] = shared[threadIdx.x];
}
__global__ void mangled(float* numbers) {}
"""
SUM = r"""
struct Totals { double total; unsigned int arrived; };
template <typename T> __device__ T block_sum(T value) {
    __shared__ T shared[256];
    shared[threadIdx.x] = value;
    /*first*/ __syncthreads();
    for (int half = 128; half > 0; half >>= 1) {
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        /*second*/ __syncthreads();
    }
    T sum = shared[0];
    /*third*/ __syncthreads();
    return sum;
}
extern "C" __global__ void __launch_bounds__(256)
sum(const float* x, double* block_totals, Totals* totals, long long n) {
    __shared__ bool last;
    double partial = 0;
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.x * blockDim.x)
        partial += x[i];
    double block_total = block_sum(partial) + block_sum(1.0) - 256;
    if (threadIdx.x == 77) {
        block_totals[blockIdx.x] = block_total;
        __threadfence();
        last = atomicAdd(&totals->arrived, 1u) == gridDim.x - 1;
    }
    /*fourth*/ __syncthreads();
    if (!last) return;
    double total = block_sum(threadIdx.x < gridDim.x ? block_totals[threadIdx.x] : 0.0);
    if (threadIdx.x == 77) totals->total = total;
}
"""
MODULE = cupy.RawModule(code=SOURCE, options=("-std=c++17",))


def test_kernel_reads_array_addresses_from_a_device_struct() -> None:
    n = 1000
    x, y, calls = cupy.empty(n, np.float32), cupy.empty(n, np.float32), cupy.empty((2, 3), np.int64)
    x.set(np.arange(n, dtype=np.float32))
    calls.set(np.array([[0, 0, 0], [x.data.ptr, y.data.ptr, n]]))
    MODULE.get_function("doubled")((2,), (256,), (calls, 1))
    np.testing.assert_array_equal(y.get(), 2 * np.arange(n))
    np.testing.assert_array_equal(y[10:20].get(), 2 * np.arange(10, 20))
    assert y[10:20].data.ptr == y.data.ptr + 40


def sums_correctly(source: str) -> bool:
    """Return whether the kernel `sum` of a source is correct. If threads miss a barrier, it is not."""
    x, block_totals, totals = cupy.empty(10_000, np.float32), cupy.empty(16, np.float64), cupy.zeros(2, np.float64)
    values = np.random.default_rng(1).integers(0, 1000, x.shape).astype(np.float32)
    x.set(values)
    cupy.RawModule(code=source).get_function("sum")((16,), (256,), (x, block_totals, totals, x.size))
    try:
        return bool(totals.get()[0] == values.sum(dtype=np.float64))
    except cupy.cuda.runtime.CUDARuntimeError:
        return False


def test_reduction_in_shared_memory_is_correct() -> None:
    assert all(sums_correctly(SUM) for _ in range(5))


@pytest.mark.parametrize("barrier", ["first", "second", "third", "fourth"])
def test_reduction_without_one_of_its_barriers_is_wrong(barrier: str) -> None:
    broken = SUM.replace(f"/*{barrier}*/ __syncthreads();", "")
    assert broken != SUM
    assert not all(sums_correctly(broken) for _ in range(5))


def launch_typed(*arguments: object) -> Callable[[], object]:
    return lambda: MODULE.get_function("typed")((1,), (32,), arguments)


FLOATS, DOUBLES = cupy.zeros(32, np.float32), cupy.zeros(32, np.float64)
VALID_ARGUMENTS: tuple[Any, ...] = (FLOATS, np.int32(1), 2, np.float32(3), 4.0)


def test_arguments_reach_the_kernel() -> None:
    launch_typed(*VALID_ARGUMENTS)()
    assert FLOATS.get()[0] == 10
    launch_typed(FLOATS, np.int32(1), np.uint64(2), np.float32(3), np.float64(5))()
    assert FLOATS.get()[0] == 11


@pytest.mark.parametrize(
    ("index", "argument"),
    [
        (0, DOUBLES),
        (0, np.zeros(32, np.float32)),
        pytest.param(0, FLOATS.data.ptr, id="address"),
        (1, 1),
        (1, np.int64(1)),
        (1, np.uint32(1)),
        (2, 2.0),
        (2, True),
        (2, np.int64(2)),
        (3, 3.0),
        (3, np.float64(3)),
        (4, 4),
        (4, np.float32(4)),
        (4, FLOATS),
    ],
)
def test_arguments_of_wrong_types_are_rejected(index: int, argument: object) -> None:
    with pytest.raises(TypeError, match="Unsupported type"):
        launch_typed(*VALID_ARGUMENTS[:index], argument, *VALID_ARGUMENTS[index + 1 :])()


def test_invalid_launches_and_sources_are_rejected() -> None:
    error = cupy.cuda.driver.CUDADriverError
    calls = cupy.zeros(3, np.int64)
    doubled, write_at = MODULE.get_function("doubled"), MODULE.get_function("write_at")
    with pytest.raises(error, match="INVALID_VALUE"):
        write_at((1,), (32, 33), (FLOATS, 0))
    with pytest.raises(error, match="INVALID_VALUE"):
        write_at((1, 65536), (32,), (FLOATS, 0))
    with pytest.raises(error, match="INVALID_VALUE"):
        write_at((0,), (32,), (FLOATS, 0))
    with pytest.raises(error, match="OUT_OF_RESOURCES"):
        doubled((1,), (257,), (calls, 0))
    with pytest.raises(TypeError, match="takes 2 arguments, got 1"):
        doubled((1,), (256,), (calls,))
    for name in ("missing", "mangled"):
        with pytest.raises(error, match="NOT_FOUND"):
            MODULE.get_function(name)
    with pytest.raises(cupy.cuda.compiler.CompileException, match="nonsense"):
        cupy.RawModule(code="nonsense;").get_function("any")
    with pytest.raises(cupy.cuda.compiler.CompileException, match="vector"):
        cupy.RawModule(code="#include <vector>").get_function("any")
    large = 'extern "C" __global__ void f(float* x) { __shared__ float y[12289]; y[threadIdx.x] = 1; *x = y[7]; }'
    with pytest.raises(cupy.cuda.compiler.CompileException, match="too much shared data"):
        cupy.RawModule(code=large).get_function("f")


def test_kernel_errors_are_raised_by_synchronization() -> None:
    error, stream = cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.get_current_stream()
    MODULE.get_function("partial_barrier")((1,), (32,), (FLOATS,))
    with pytest.raises(error, match="LaunchFailure"):
        stream.synchronize()
    MODULE.get_function("write_at")((1,), (1,), (FLOATS, 1 << 12))
    with pytest.raises(error, match="IllegalAddress"):
        stream.synchronize()
    MODULE.get_function("write_at")((1,), (1,), (FLOATS[:16], 32))
    with pytest.raises(cupy.monitor.Misuse, match="out of the bounds"):
        stream.synchronize()
    # An error does not affect later launches.
    launch_typed(*VALID_ARGUMENTS)()
    assert FLOATS.get()[0] == 10


def test_freed_memory_is_inaccessible_after_queued_operations() -> None:
    x, y, calls = cupy.zeros(8, np.float32), cupy.empty(8, np.float32), cupy.empty(3, np.int64)
    calls.set(np.array([x.data.ptr, y.data.ptr, 8]))
    doubled = MODULE.get_function("doubled")
    doubled((1,), (8,), (calls, 0))
    del x
    np.testing.assert_array_equal(y.get(), np.zeros(8))
    doubled((1,), (8,), (calls, 0))
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="IllegalAddress"):
        y.get()


def test_uninitialized_memory_reads_as_nan() -> None:
    assert np.isnan(cupy.empty(5, np.float32).get()).all()
    MODULE.get_function("uninitialized")((1,), (32,), (FLOATS,))
    assert np.isnan(FLOATS.get()).all()


def test_half_precision_arrays_are_supported() -> None:
    source = r"""
    #include <cuda_fp16.h>
    extern "C" __global__ void to_half(const float* x, __half* y) { y[threadIdx.x] = __float2half(x[threadIdx.x]); }
    """
    x, y = cupy.empty(4, np.float32), cupy.empty(4, np.float16)
    x.set(np.array([1, 1 / 3, 70000, -1e-8], np.float32))
    to_half = cupy.RawModule(code=source).get_function("to_half")
    to_half((1,), (4,), (x, y))
    np.testing.assert_array_equal(y.get(), np.array([1, 1 / 3, np.inf, -0.0], np.float16))
    with pytest.raises(TypeError, match="Unsupported type"):
        to_half((1,), (4,), (x, x))


@pytest.mark.skipif(find_spec("cupy") is None, reason="CuPy is not installed")
@pytest.mark.parametrize("source", [SOURCE, SUM])
def test_kernels_of_these_tests_compile_with_nvrtc(source: str) -> None:
    try:
        nvrtc = import_module("cupy").cuda.nvrtc
        program = nvrtc.createProgram(source, "kernels.cu", (), ())
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"NVRTC is not installed: {error}")
    nvrtc.compileProgram(program, ("-arch=sm_90", "-std=c++17"))
