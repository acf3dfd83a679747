"""Threads that share large matrix products with the thread that trains.

BLAS has threads of its own, but these wait for each other by spinning, and while other processes use the cores,
the threads of one of the lowest priority do not run at the same time: a product then takes fifty times as long. Also,
the number of threads changes the last bits of a product.

Here a large product is split into parts by its shape alone. Each part is a product of BLAS on one thread, and is taken
by whichever thread is free: the thread that trains (the owner), or a helper. The bits do not depend on which thread
computes what, so helpers take part only while that is faster (`SharingPolicy`). A waiting thread sleeps after some
microseconds.

The state is an array of 64-bit words at a fixed address, which compiled code knows by the name of a symbol.
"""

import ctypes
import platform
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from nabla.engine.nn import blas
from nabla.engine.nn.jit import OPTIONS, jit_entry, jit_inline
from nabla.engine.typing import Matrix

MIN_SHARED_MULTIPLY_ADDS = 1_000_000
"""Multiply-adds from which on a product is shared."""

_SYMBOL = "nabla_matmul_threads"
_WORDS, _WORD_BYTES, _CACHE_LINE_BYTES = 64, 8, 64
# Words of the state; what different threads write is on different cache lines.
_PARTS, _IS_ACTIVE = 0, 1
_TICKET = 8  # number of the product · 2^16 + next part
_FINISHED = 16
_SLEEPING_HELPERS, _IS_OWNER_SLEEPING = 24, 25
_COLUMNS, _ROWS, _DEPTH, _SPLITS_ROWS = 32, 33, 34, 35
_A, _A_STEP, _A_WIDTH, _A_TRANSPOSE, _B, _B_STEP, _B_WIDTH, _B_TRANSPOSE, _C, _ITEM_BYTES = range(37, 47)
_OWNER_SEMAPHORE, _HELPER_SEMAPHORE = 48, 52
_DOUBLE_BYTES = 8
_PART_BITS = 16
_PART_MASK = 2**_PART_BITS - 1
# Rows or columns of a part are a multiple of this, so that vector instructions are full.
_PART_ALIGNMENT = 8
# Pauses, of some 15 to 50 ns, before a waiting thread sleeps. Helpers wait longer: the step's next product is near.
_OWNER_PAUSES, _HELPER_PAUSES = 1_000, 4_000
# Speedup from which on helpers take part: they occupy cores that other processes may need.
_MIN_SPEEDUP = 1.25
# Share of the mini-batches of a call that try the other choice, and the minimum number.
_TRIAL_SHARE, _MIN_TRIAL_BATCHES = 0.05, 2
# Time to the next trial: the first one, doubled by each trial that confirms the choice, up to the last one.
_FIRST_TRIAL_SECONDS, _LAST_TRIAL_SECONDS = 0.25, 16.0
# A trial follows at once if the time per row has grown by this factor.
_SLOWDOWN = 1.5
_PAUSE = "llvm.x86.sse2.pause"

_WORD: Any = ir.IntType(64)
_POINTER: Any = ir.PointerType(_WORD)
# Their pointers are declared as integers, which are passed alike.
_sem_wait: Any = types.ExternalFunction("sem_wait", types.int32(types.intp))
_sem_post: Any = types.ExternalFunction("sem_post", types.int32(types.intp))


def _allocate_state() -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Return zeros at the beginning of a cache line, with semaphores; they live as long as the process."""
    buffer = np.zeros(_WORDS + _CACHE_LINE_BYTES // _WORD_BYTES, np.int64)
    skipped = -buffer.ctypes.data % _CACHE_LINE_BYTES // _WORD_BYTES
    state = buffer[skipped : skipped + _WORDS]
    library = ctypes.CDLL(None)
    for word in (_OWNER_SEMAPHORE, _HELPER_SEMAPHORE):
        library.sem_init(ctypes.c_void_p(state.ctypes.data + word * _WORD_BYTES), 0, 0)
    return state


_state = _allocate_state()
llvmlite.binding.add_symbol(_SYMBOL, _state.ctypes.data)


def _intrinsic(function: Callable[..., Any]) -> Any:
    """Mark the generator of an instruction; Numba passes it the typing context first, which callers leave out."""
    return intrinsic(function)


@_intrinsic
def _address(typing_context: Any) -> Any:
    """Return the address of the state, a symbol, so that cached code finds it in every process."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        variable = builder.module.globals.get(_SYMBOL)
        if variable is None:
            variable = ir.GlobalVariable(builder.module, _WORD, _SYMBOL)
        return builder.ptrtoint(variable, _WORD)

    return types.intp(), generate


def _pointer(builder: Any, address: Any, index: Any) -> Any:
    offset = builder.mul(index, ir.Constant(_WORD, _WORD_BYTES))
    return builder.inttoptr(builder.add(address, offset), _POINTER)


@_intrinsic
def _load(typing_context: Any, address: Any, index: Any) -> Any:
    """Return a word of the state, atomically."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_pointer(builder, *arguments), "seq_cst", _WORD_BYTES, typ=_WORD)

    return types.intp(types.intp, types.intp), generate


@_intrinsic
def _exchange(typing_context: Any, address: Any, index: Any, value: Any) -> Any:
    """Set a word of the state, and return its previous value, atomically."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *word, value = arguments
        return builder.atomic_rmw("xchg", _pointer(builder, *word), value, "seq_cst")

    return types.intp(types.intp, types.intp, types.intp), generate


@_intrinsic
def _fetch_add(typing_context: Any, address: Any, index: Any, value: Any) -> Any:
    """Add to a word of the state, and return its previous value, atomically."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *word, value = arguments
        return builder.atomic_rmw("add", _pointer(builder, *word), value, "seq_cst")

    return types.intp(types.intp, types.intp, types.intp), generate


@_intrinsic
def _compare_exchange(typing_context: Any, address: Any, index: Any, expected: Any, value: Any) -> Any:
    """Set a word of the state if it has the expected value, atomically; return whether it had."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *word, expected, value = arguments
        outcome = builder.cmpxchg(_pointer(builder, *word), expected, value, "seq_cst")
        return builder.extract_value(outcome, 1)

    return types.boolean(types.intp, types.intp, types.intp, types.intp), generate


@_intrinsic
def _pause(typing_context: Any) -> Any:
    """Let the other thread of the core work for some nanoseconds."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if platform.machine() == "x86_64":
            instruction = builder.module.globals.get(_PAUSE)
            if instruction is None:
                type_: Any = ir.FunctionType(ir.VoidType(), [])
                instruction = ir.Function(builder.module, type_, _PAUSE)
            builder.call(instruction, [])
        return context.get_dummy_value()

    return types.void(), generate


def multiply(a: Matrix, b: Matrix, out: Matrix) -> None:
    """Compute out (m, n) = a (m, k) b (k, n), in compiled code with helpers if it is large. out is C-contiguous."""
    np.dot(a, b, out)


@overload(multiply, jit_options=OPTIONS, strict=False)
def _compile_multiply(a: Any, b: Any, out: Any) -> Callable[[Any, Any, Any], None]:
    a_transpose = blas.TRANSPOSED if a.layout == "F" else blas.PLAIN
    b_transpose = blas.TRANSPOSED if b.layout == "F" else blas.PLAIN
    gemm = blas.sgemm if a.dtype == types.float32 else blas.dgemm
    number_type = a.dtype

    def implement(a: Matrix, b: Matrix, out: Matrix) -> None:
        state = _address()
        m, k = a.shape
        n = b.shape[1]
        a_width, b_width = (m if a_transpose == blas.TRANSPOSED else k), (k if b_transpose == blas.TRANSPOSED else n)
        if _load(state, _PARTS) < 2 or m * k * n < MIN_SHARED_MULTIPLY_ADDS:
            gemm(
                blas.ROW_MAJOR,
                a_transpose,
                b_transpose,
                m,
                n,
                k,
                number_type(1),
                a.ctypes.data,
                a_width,
                b.ctypes.data,
                b_width,
                number_type(0),
                out.ctypes.data,
                n,
            )
            return
        item = out.itemsize
        _exchange(state, _ROWS, m)
        _exchange(state, _COLUMNS, n)
        _exchange(state, _DEPTH, k)
        _exchange(state, _SPLITS_ROWS, 1 if m >= n else 0)
        _exchange(state, _A, a.ctypes.data)
        _exchange(state, _A_TRANSPOSE, a_transpose)
        _exchange(state, _A_WIDTH, a_width)
        _exchange(state, _A_STEP, item if a_transpose == blas.TRANSPOSED else k * item)
        _exchange(state, _B, b.ctypes.data)
        _exchange(state, _B_TRANSPOSE, b_transpose)
        _exchange(state, _B_WIDTH, b_width)
        _exchange(state, _B_STEP, k * item if b_transpose == blas.TRANSPOSED else item)
        _exchange(state, _C, out.ctypes.data)
        _exchange(state, _ITEM_BYTES, item)
        _share_product(state)

    return implement


@jit_inline
def _share_product(state: int) -> None:
    """Compute the product in the state; return when all parts are finished."""
    parts = _load(state, _PARTS)
    if not _load(state, _IS_ACTIVE):
        for part in range(parts):
            _multiply_part(state, part)
        return
    _exchange(state, _FINISHED, 0)
    _exchange(state, _TICKET, ((_load(state, _TICKET) >> _PART_BITS) + 1) << _PART_BITS)
    for _ in range(_exchange(state, _SLEEPING_HELPERS, 0)):
        _sem_post(state + _HELPER_SEMAPHORE * _WORD_BYTES)
    while _take_part(state):
        pass
    pauses = 0
    while _load(state, _FINISHED) < parts:
        pauses += 1
        if pauses < _OWNER_PAUSES:
            _pause()
            continue
        _exchange(state, _IS_OWNER_SLEEPING, 1)
        # A helper that finishes the last part from here on takes the flag, and posts.
        if _load(state, _FINISHED) < parts or not _exchange(state, _IS_OWNER_SLEEPING, 0):
            _sem_wait(state + _OWNER_SEMAPHORE * _WORD_BYTES)
            _exchange(state, _IS_OWNER_SLEEPING, 0)


@jit_inline
def _take_part(state: int) -> bool:
    """Compute the next part of the product, if there is one left."""
    ticket = _load(state, _TICKET)
    part = ticket & _PART_MASK
    if part >= _load(state, _PARTS):
        return False
    if _compare_exchange(state, _TICKET, ticket, ticket + 1):
        _multiply_part(state, part)
        if _fetch_add(state, _FINISHED, 1) + 1 == _load(state, _PARTS) and _exchange(state, _IS_OWNER_SLEEPING, 0):
            _sem_post(state + _OWNER_SEMAPHORE * _WORD_BYTES)
    return True


@jit_inline
def _multiply_part(state: int, part: int) -> None:
    """Compute some rows or columns of the product in the state."""
    m, n, splits_rows = _load(state, _ROWS), _load(state, _COLUMNS), _load(state, _SPLITS_ROWS)
    total = m if splits_rows else n
    parts = _load(state, _PARTS)
    size = (total + parts * _PART_ALIGNMENT - 1) // (parts * _PART_ALIGNMENT) * _PART_ALIGNMENT
    first = part * size
    size = min(size, total - first)
    if size <= 0:
        return
    a, b, c, width = _load(state, _A), _load(state, _B), _load(state, _C), n
    if splits_rows:
        m = size
        a += first * _load(state, _A_STEP)
        c += first * n * _load(state, _ITEM_BYTES)
    else:
        n = size
        b += first * _load(state, _B_STEP)
        c += first * _load(state, _ITEM_BYTES)
    a_transpose, b_transpose, k = _load(state, _A_TRANSPOSE), _load(state, _B_TRANSPOSE), _load(state, _DEPTH)
    a_width, b_width = _load(state, _A_WIDTH), _load(state, _B_WIDTH)
    if _load(state, _ITEM_BYTES) == _DOUBLE_BYTES:
        blas.dgemm(blas.ROW_MAJOR, a_transpose, b_transpose, m, n, k, 1.0, a, a_width, b, b_width, 0.0, c, width)
    else:
        one, zero = np.float32(1.0), np.float32(0.0)
        blas.sgemm(blas.ROW_MAJOR, a_transpose, b_transpose, m, n, k, one, a, a_width, b, b_width, zero, c, width)


def _run_helper() -> None:
    """Take parts of products as long as the process lives."""
    state = _address()
    pauses = 0
    while True:
        if _take_part(state):
            pauses = 0
        elif pauses < _HELPER_PAUSES:
            pauses += 1
            _pause()
        else:
            pauses = 0
            _fetch_add(state, _SLEEPING_HELPERS, 1)
            # A product that was published before is seen here; for one published from here on there is a post.
            if _load(state, _TICKET) & _PART_MASK >= _load(state, _PARTS):
                _sem_wait(state + _HELPER_SEMAPHORE * _WORD_BYTES)


_load_run_helper = jit_entry(_run_helper, types.void())


class MatmulThreads:
    """The helpers of the thread that trains. Helpers and state belong to the process; all instances share them."""

    _helpers: ClassVar[list[threading.Thread]] = []

    def __init__(self, threads: int) -> None:
        """Split large products into `threads` parts; the helpers start with the first product that they may share."""
        _state[_PARTS] = threads if threads > 1 else 0
        _state[_TICKET] = _PART_MASK
        self._threads = threads

    @property
    def is_active(self) -> bool:
        """Whether helpers take part."""
        return bool(_state[_IS_ACTIVE])

    def set_active(self, is_active: bool) -> None:
        """Let helpers take part in the next products, or not. Only between products."""
        if is_active:
            for number in range(len(self._helpers) + 1, self._threads):
                helper = threading.Thread(target=_load_run_helper(), name=f"matmul-helper-{number}", daemon=True)
                helper.start()
                self._helpers.append(helper)
        _state[_IS_ACTIVE] = int(is_active)


class SharingPolicy:
    """Chooses whether helpers take part, by measuring both; the weights are the same to the last bit."""

    def __init__(self, threads: MatmulThreads) -> None:
        """Begin without helpers, and with a trial."""
        self._threads = threads
        self._shares = False
        self._seconds_per_row = {False: 0.0, True: 0.0}
        self._interval = _FIRST_TRIAL_SECONDS
        self._next_trial = 0.0
        self._is_trial_next = False

    def train(self, first: int, last: int, batch_rows: int, train: Callable[[int, int], None]) -> None:
        """Train on the rows from `first` to `last`.

        Args:
            first: The first row, of the first mini-batch.
            last: The row after the last one.
            batch_rows: Rows of a mini-batch.
            train: Trains on rows, which begin with a mini-batch.
        """
        batches = (last - first) // batch_rows
        trial_batches = max(_MIN_TRIAL_BATCHES, int(batches * _TRIAL_SHARE))
        started_at = time.monotonic()
        if started_at < self._next_trial:
            self._measure(self._shares, first, last, train)
            return
        if batches >= 2 * trial_batches:
            middle = first + trial_batches * batch_rows
            self._measure(not self._shares, first, middle, train)
            trial_seconds = time.monotonic() - started_at
            self._measure(self._shares, middle, last, train)
        elif not self._is_trial_next:  # a call that is too short to be divided: the next one tries the other choice
            self._measure(self._shares, first, last, train)
            self._is_trial_next = True
            return
        else:
            self._measure(not self._shares, first, last, train)
            trial_seconds = time.monotonic() - started_at
            self._is_trial_next = False
        self._choose(trial_seconds)

    def _choose(self, trial_seconds: float) -> None:
        """Choose what was faster, and the time of the next trial, so that trials take a small share of it."""
        speedup = self._seconds_per_row[False] / self._seconds_per_row[True]
        if (speedup >= _MIN_SPEEDUP) == self._shares:
            self._interval = min(2 * self._interval, _LAST_TRIAL_SECONDS)
        else:
            self._shares = not self._shares
            self._interval = _FIRST_TRIAL_SECONDS
        self._next_trial = time.monotonic() + max(self._interval, trial_seconds / _TRIAL_SHARE)

    def _measure(self, shares: bool, first: int, last: int, train: Callable[[int, int], None]) -> None:
        self._threads.set_active(shares)
        started_at = time.perf_counter()
        train(first, last)
        seconds_per_row = (time.perf_counter() - started_at) / (last - first)
        if shares == self._shares and seconds_per_row > _SLOWDOWN * self._seconds_per_row[shares] > 0:
            self._next_trial = 0.0
        self._seconds_per_row[shares] = seconds_per_row
