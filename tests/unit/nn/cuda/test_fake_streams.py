"""Streams and monitor of the fake CuPy: operations run when the host waits, and waits are counted."""

import itertools
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from tests.fakes.load import fake_cupy_environment, load_fake_cupy

cupy = load_fake_cupy()
monitor, runtime = cupy.monitor, cupy.cuda.runtime
pytestmark = pytest.mark.usefixtures("lazy_queues")


def pinned_array(size: int) -> npt.NDArray[np.float64]:
    return np.frombuffer(cupy.cuda.alloc_pinned_memory(8 * size), np.float64, size)


def test_overwriting_pinned_memory_before_its_copy_is_done_changes_the_copy() -> None:
    stream, array, host = cupy.cuda.Stream(non_blocking=True), cupy.zeros(4), pinned_array(4)
    cupy.cuda.Device().synchronize()
    host[:] = 1
    array.set(host, stream)
    host[:] = 2
    np.testing.assert_array_equal(array.get(stream), [2] * 4)
    host[:] = 3
    array.set(host, stream)
    stream.record().synchronize()
    host[:] = 4
    np.testing.assert_array_equal(array.get(stream), [3] * 4)


def test_pageable_memory_is_read_in_the_call() -> None:
    stream, array, host = cupy.cuda.Stream(), cupy.zeros(4), np.ones(4)
    array.set(host, stream)
    host[:] = 2
    np.testing.assert_array_equal(array.get(stream), [1] * 4)


def test_result_is_missing_until_the_host_waits() -> None:
    array, out = cupy.zeros(4), np.full(4, -1.0)
    array.get(out=out, blocking=False)
    np.testing.assert_array_equal(out, [-1] * 4)
    cupy.cuda.get_current_stream().synchronize()
    np.testing.assert_array_equal(out, [0] * 4)


def test_stream_waits_for_an_event_of_another_stream() -> None:
    first, second, array = cupy.cuda.Stream(False, True), cupy.cuda.Stream(False, True), cupy.zeros(4)
    cupy.cuda.Device().synchronize()
    with first:
        array.fill(1)
    np.testing.assert_array_equal(array.get(second), [0] * 4)  # the streams are not ordered
    event = first.record()
    second.wait_event(event)
    np.testing.assert_array_equal(array.get(second), [1] * 4)
    assert event.done


def test_blocking_streams_synchronize_with_the_null_stream() -> None:
    stream, array = cupy.cuda.Stream(), cupy.empty(4)
    with stream:
        array.fill(1)
    np.testing.assert_array_equal(array.get(), [1] * 4)
    array.fill(2)
    np.testing.assert_array_equal(array.get(stream), [2] * 4)


def test_polling_an_event_ends() -> None:
    array = cupy.empty(4)
    for value in range(5):
        array.fill(value)
    event = cupy.cuda.Event()
    event.record()
    polls = list(itertools.takewhile(lambda done: not done, (event.done for _ in range(100))))
    assert 0 < len(polls) < 10


def test_copies_by_address_check_the_location_of_memory() -> None:
    a, b, host, stream = cupy.zeros(4), cupy.zeros(4), pinned_array(4), cupy.cuda.get_current_stream()
    host[:] = 5
    runtime.memcpyAsync(a.data.ptr, host.ctypes.data, 32, runtime.memcpyHostToDevice, stream.ptr)
    runtime.memcpyAsync(b.data.ptr, a.data.ptr, 32, runtime.memcpyDeviceToDevice, stream.ptr)
    runtime.memsetAsync(a.data.ptr, 0, 16, stream.ptr)
    np.testing.assert_array_equal(a.get(), [0, 0, 5, 5])
    host[:] = 0
    runtime.memcpyAsync(host.ctypes.data, b.data.ptr, 32, runtime.memcpyDeviceToHost, stream.ptr)
    np.testing.assert_array_equal(host, [0] * 4)
    runtime.deviceSynchronize()
    np.testing.assert_array_equal(host, [5] * 4)
    for dst, src, size, kind, queue in (
        (a.data.ptr, host.ctypes.data, 33, runtime.memcpyHostToDevice, 0),
        (a.data.ptr, host.ctypes.data, 32, runtime.memcpyDeviceToDevice, 0),
        (host.ctypes.data, host.ctypes.data, 32, runtime.memcpyDeviceToHost, 0),
        (a.data.ptr, b.data.ptr, 32, runtime.memcpyDeviceToDevice, 99),
    ):
        with pytest.raises(runtime.CUDARuntimeError):
            runtime.memcpyAsync(dst, src, size, kind, queue)


STREAM, PINNED, ARRAY = cupy.cuda.Stream(non_blocking=True), pinned_array(4), cupy.zeros(4)


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda: cupy.empty(4), "Device memory was allocated"),
        (lambda: cupy.cuda.alloc_pinned_memory(4), "Pinned memory was allocated"),
        (lambda: cupy.get_default_memory_pool().free_all_blocks(), "The memory pool was emptied"),
        (STREAM.synchronize, "The host waited for a stream"),
        (STREAM.record().synchronize, "The host waited for an event"),
        (cupy.cuda.Device().synchronize, "The host waited for the device"),
        (lambda: ARRAY.get(STREAM), "copied to the host"),
        (lambda: ARRAY.get(STREAM, blocking=False), "copied to the host"),
        (lambda: ARRAY.set(PINNED), "with the host waiting"),
        (lambda: ARRAY.set(np.zeros(4), STREAM), "with the host waiting"),
    ],
)
def test_blocking_operations_are_rejected_where_they_are_forbidden(
    operation: Callable[[], object], message: str
) -> None:
    with pytest.raises(monitor.Misuse, match=f"{message}.* in a non-blocking section"), monitor.forbid_blocking():
        operation()
    operation()


def test_forbidden_free_is_raised_at_the_end_of_the_section() -> None:
    arrays = [cupy.zeros(4)]
    with pytest.raises(monitor.Misuse, match="freed in a non-blocking section"), monitor.forbid_blocking():
        arrays.clear()


def test_asynchronous_operations_and_events_are_allowed_in_non_blocking_sections() -> None:
    event = cupy.cuda.Event()
    with monitor.count_operations() as operations, monitor.forbid_blocking(allow_events=True):
        ARRAY.set(PINNED, STREAM)
        with STREAM:
            ARRAY.fill(3)
        event.record(STREAM)
        event.synchronize()
    assert operations == monitor.Counters(synchronizations=1)


def test_eager_queues_copy_a_buffer_before_it_is_filled() -> None:
    script = """
import cupy, numpy
host = numpy.frombuffer(cupy.cuda.alloc_pinned_memory(32), float, 4)
array, stream = cupy.zeros(4), cupy.cuda.Stream()
array.set(host, stream)
host[:] = 1
print(array.get(stream)[0])
"""
    for eager, expected in (("0", "1.0"), ("1", "0.0")):
        environment = fake_cupy_environment(NABLA_FAKE_CUPY_EAGER=eager)
        result = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        assert result.stdout.strip() == expected
