"""The fake CuPy hides the elements of device arrays from the host, and limits device memory."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.fakes.load import fake_cupy_environment, load_fake_cupy

cupy = load_fake_cupy()
pytestmark = pytest.mark.usefixtures("lazy_queues")


@pytest.mark.parametrize(
    "access",
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
def test_host_access_to_elements_is_rejected(access: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError):
        access(cupy.zeros(4))


def test_functions_that_the_service_does_not_use_are_missing() -> None:
    for name in ("asarray", "matmul", "ones", "ElementwiseKernel"):
        assert not hasattr(cupy, name)
    assert not hasattr(cupy.zeros(4), "item")


def test_shapes_and_views_match_cupy() -> None:
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


def test_child_process_imports_the_fake_with_its_memory_limit() -> None:
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
array, stream = cupy.zeros(100), cupy.cuda.Stream()
array.get(stream, blocking=False)  # still queued when the process exits
"""
    environment = fake_cupy_environment(NABLA_FAKE_CUPY_MEMORY=str(1 << 20))
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
