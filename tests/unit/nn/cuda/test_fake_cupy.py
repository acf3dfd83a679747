"""The stand-in for CuPy keeps the numbers of the device from the host, and has no more memory than it says."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.fakes.load import environment, standin

cupy = standin()
pytestmark = pytest.mark.usefixtures("late")


@pytest.mark.parametrize(
    "use",
    [
        np.asarray,
        np.sum,
        float,
        bool,
        list,
        lambda a: a + np.ones(4),
        lambda a: np.ones(4) * a,
        lambda a: a + a,
        lambda a: a == 0,
        lambda a: a[0],
        lambda a: a[::2],
        lambda a: a.set([1.0, 2.0, 3.0, 4.0]),
        lambda a: a.set(np.zeros(4, np.float32)),
        lambda a: a.set(np.zeros(8)[::2]),
        lambda a: a.get(out=np.zeros(4, np.float32)),
        lambda a: type(a)((4,)),
    ],
)
def test_numbers_on_the_device_are_not_the_hosts(use: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError):
        use(cupy.zeros(4))


def test_what_the_service_does_not_use_is_missing() -> None:
    for missing in ("asarray", "matmul", "ones", "ElementwiseKernel"):
        assert not hasattr(cupy, missing)
    assert not hasattr(cupy.zeros(4), "item")


def test_shapes_and_views() -> None:
    array = cupy.zeros((4, 6), np.float32)
    assert (array.shape, array.ndim, array.size, array.itemsize, array.nbytes) == ((4, 6), 2, 24, 4, 96)
    assert array.reshape(-1).shape == array.reshape((24,)).shape == (24,)
    assert array.reshape(3, -1).shape == (3, 8)
    assert array.view(np.float64).shape == (4, 3)
    array[1:3].fill(7)
    np.testing.assert_array_equal(array.get().sum(1), [0, 42, 42, 0])
    for shape in ((5, 5), (-1, 7)):
        with pytest.raises(ValueError, match="cannot reshape"):
            array.reshape(shape)
    with pytest.raises(ValueError, match="Shape mismatch"):
        array.set(np.zeros(24, np.float32))


def test_a_process_that_finds_it_on_its_path_has_one_device_and_so_much_memory() -> None:
    script = """
import cupy, numpy
assert cupy.cuda.is_available() and cupy.cuda.runtime.getDeviceCount() == 1
free, total = cupy.cuda.Device().mem_info
assert total == cupy.cuda.runtime.getDeviceProperties(0)["totalGlobalMem"] == 1 << 20
pool, a = cupy.get_default_memory_pool(), cupy.empty(1000, numpy.uint8)
assert (pool.used_bytes(), pool.total_bytes()) == (1024, 1024)
try:
    cupy.empty(1 << 20, numpy.uint8)
except cupy.cuda.memory.OutOfMemoryError as error:
    assert isinstance(error, MemoryError) and "allocated so far: 1,024 bytes" in str(error)
else:
    raise AssertionError
del a
assert (pool.used_bytes(), pool.total_bytes()) == (0, 1024)
pool.free_all_blocks()
assert pool.total_bytes() == 0
pool.set_limit(size=512)
try:
    cupy.empty(513, numpy.uint8)
except MemoryError as error:
    assert "limit set to: 512 bytes" in str(error)
else:
    raise AssertionError
pool.set_limit()
left, stream = cupy.zeros(100), cupy.cuda.Stream()
left.get(stream, blocking=False)
"""
    settings = environment(NABLA_STANDIN_MEMORY=str(1 << 20))
    done = subprocess.run([sys.executable, "-c", script], env=settings, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
