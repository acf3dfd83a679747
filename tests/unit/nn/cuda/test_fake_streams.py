"""The stand-in's streams and accounts: nothing runs before somebody waits, and waiting is counted."""

import itertools
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from tests.fakes.load import environment, standin

cupy = standin()
accounts, runtime = cupy.accounts, cupy.cuda.runtime
pytestmark = pytest.mark.usefixtures("late")


def pinned(count: int) -> npt.NDArray[np.float64]:
    return np.frombuffer(cupy.cuda.alloc_pinned_memory(8 * count), np.float64, count)


def test_pinned_memory_overwritten_before_its_copy_was_waited_for_spoils_the_copy() -> None:
    stream, there, here = cupy.cuda.Stream(non_blocking=True), cupy.zeros(4), pinned(4)
    cupy.cuda.Device().synchronize()
    here[:] = 1
    there.set(here, stream)
    here[:] = 2
    np.testing.assert_array_equal(there.get(stream), [2] * 4)
    here[:] = 3
    there.set(here, stream)
    stream.record().synchronize()
    here[:] = 4
    np.testing.assert_array_equal(there.get(stream), [3] * 4)


def test_memory_that_is_not_pinned_is_read_at_once() -> None:
    stream, there, here = cupy.cuda.Stream(), cupy.zeros(4), np.ones(4)
    there.set(here, stream)
    here[:] = 2
    np.testing.assert_array_equal(there.get(stream), [1] * 4)


def test_a_result_that_was_not_waited_for_is_not_there() -> None:
    there, out = cupy.zeros(4), np.full(4, -1.0)
    there.get(out=out, blocking=False)
    np.testing.assert_array_equal(out, [-1] * 4)
    cupy.cuda.get_current_stream().synchronize()
    np.testing.assert_array_equal(out, [0] * 4)


def test_a_stream_goes_on_after_an_event_of_another() -> None:
    first, second, there = cupy.cuda.Stream(False, True), cupy.cuda.Stream(False, True), cupy.zeros(4)
    cupy.cuda.Device().synchronize()
    with first:
        there.fill(1)
    early = there.get(second)
    np.testing.assert_array_equal(early, [0] * 4)  # nothing orders the streams
    event = first.record()
    second.wait_event(event)
    np.testing.assert_array_equal(there.get(second), [1] * 4)
    assert event.done


def test_the_null_stream_and_the_blocking_ones_take_turns() -> None:
    stream, there = cupy.cuda.Stream(), cupy.empty(4)
    with stream:
        there.fill(1)
    np.testing.assert_array_equal(there.get(), [1] * 4)
    there.fill(2)
    np.testing.assert_array_equal(there.get(stream), [2] * 4)


def test_whoever_asks_whether_an_event_is_done_sees_it_done_at_last() -> None:
    there = cupy.empty(4)
    for value in range(5):
        there.fill(value)
    event = cupy.cuda.Event()
    event.record()
    asked = list(itertools.takewhile(lambda done: not done, (event.done for _ in range(100))))
    assert 0 < len(asked) < 10


def test_copies_by_address() -> None:
    a, b, here, stream = cupy.zeros(4), cupy.zeros(4), pinned(4), cupy.cuda.get_current_stream()
    here[:] = 5
    runtime.memcpyAsync(a.data.ptr, here.ctypes.data, 32, runtime.memcpyHostToDevice, stream.ptr)
    runtime.memcpyAsync(b.data.ptr, a.data.ptr, 32, runtime.memcpyDeviceToDevice, stream.ptr)
    runtime.memsetAsync(a.data.ptr, 0, 16, stream.ptr)
    np.testing.assert_array_equal(a.get(), [0, 0, 5, 5])
    here[:] = 0
    runtime.memcpyAsync(here.ctypes.data, b.data.ptr, 32, runtime.memcpyDeviceToHost, stream.ptr)
    np.testing.assert_array_equal(here, [0] * 4)
    runtime.deviceSynchronize()
    np.testing.assert_array_equal(here, [5] * 4)
    for dst, src, size, kind, queue in (
        (a.data.ptr, here.ctypes.data, 33, runtime.memcpyHostToDevice, 0),
        (a.data.ptr, here.ctypes.data, 32, runtime.memcpyDeviceToDevice, 0),
        (here.ctypes.data, here.ctypes.data, 32, runtime.memcpyDeviceToHost, 0),
        (a.data.ptr, b.data.ptr, 32, runtime.memcpyDeviceToDevice, 99),
    ):
        with pytest.raises(runtime.CUDARuntimeError):
            runtime.memcpyAsync(dst, src, size, kind, queue)


STREAM, HERE, THERE = cupy.cuda.Stream(non_blocking=True), pinned(4), cupy.zeros(4)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (lambda: cupy.empty(4), "Device memory was allocated"),
        (lambda: cupy.cuda.alloc_pinned_memory(4), "Pinned memory was allocated"),
        (lambda: cupy.get_default_memory_pool().free_all_blocks(), "The memory pool was emptied"),
        (STREAM.synchronize, "A stream was waited for"),
        (STREAM.record().synchronize, "An event was waited for"),
        (cupy.cuda.Device().synchronize, "The device was waited for"),
        (lambda: THERE.get(STREAM), "copied to the host"),
        (lambda: THERE.get(STREAM, blocking=False), "copied to the host"),
        (lambda: THERE.set(HERE), "while the host waited"),
        (lambda: THERE.set(np.zeros(4), STREAM), "while the host waited"),
    ],
)
def test_what_stops_a_gpu_is_refused_inside_an_epoch(wrong: Callable[[], object], what: str) -> None:
    with pytest.raises(accounts.Refused, match=f"{what}.* inside an epoch"), accounts.inside_an_epoch():
        wrong()
    wrong()


def test_a_free_inside_an_epoch_is_refused_where_the_epoch_ends() -> None:
    arrays = [cupy.zeros(4)]
    with pytest.raises(accounts.Refused, match="freed inside an epoch"), accounts.inside_an_epoch():
        arrays.clear()


def test_what_does_not_stop_a_gpu_may_happen_inside_an_epoch() -> None:
    event = cupy.cuda.Event()
    with accounts.counting() as counted, accounts.inside_an_epoch(events=True):
        THERE.set(HERE, STREAM)
        with STREAM:
            THERE.fill(3)
        event.record(STREAM)
        event.synchronize()
    assert counted == accounts.Counters(synchronizations=1)


def test_a_buffer_filled_after_its_copy_was_asked_for_is_seen_where_operations_run_at_once() -> None:
    script = """
import cupy, numpy
here = numpy.frombuffer(cupy.cuda.alloc_pinned_memory(32), float, 4)
there, stream = cupy.zeros(4), cupy.cuda.Stream()
there.set(here, stream)
here[:] = 1
print(there.get(stream)[0])
"""
    for early, seen in (("0", "1.0"), ("1", "0.0")):
        settings = environment(NABLA_STANDIN_EARLY=early)
        done = subprocess.run([sys.executable, "-c", script], env=settings, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == seen
