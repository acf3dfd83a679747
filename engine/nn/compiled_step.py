"""Steps on a CPU: a list of calls of kernels, each of which is compiled by itself.

A kernel is compiled when a step first calls it, in about 0.2 s, and cached on disk. One function with all activations,
costs and optimizers would take minutes, because LLVM optimizes a function again in each of its callers. A call takes
some nanoseconds: kernel and arguments are found by their addresses.

A kernel's bits depend neither on the step that it is called from nor on whether it comes from the cache.
"""

import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np import arrayobj
from numba.np.numpy_support import carray

from nabla.engine.nn.jit import Kernel, compile_native, jit_entry
from nabla.engine.nn.tracing import Call, StepTrace

# Arguments are 64-bit words: an array is its address and sizes, a float its bits.
_WORDS: Any = types.CPointer(types.int64)  # type: ignore[no-untyped-call]  # Numba declares no type for it
_SIGNATURE = types.void(_WORDS)
_WORD: Any = ir.IntType(64)
_FUNCTION: Any = ir.FunctionType(ir.VoidType(), [_WORD.as_pointer()]).as_pointer()

# Numba ships no type annotations for these.
_make_array: Any = arrayobj.make_array
_populate_array: Any = arrayobj.populate_array
_carray: Any = carray  # which takes an address, in compiled code


class CompiledStep:
    """A traced step, ready to be run."""

    def __init__(self, trace: StepTrace) -> None:
        """Compile or load the kernels that are not loaded yet."""
        encoded = [_encode_arguments(call) for call in trace.calls]
        self._owners = trace.owners  # keeps their memory
        self._run_calls = _load_run_calls()
        self._words = np.array([word for words in encoded for word in words], np.int64)
        offsets = np.cumsum([0, *map(len, encoded)])[: len(encoded)]
        self._calls = np.empty((len(encoded), 2), np.int64)
        self._calls[:, 0] = [load_kernel(call) for call in trace.calls]
        self._calls[:, 1] = self._words.ctypes.data + offsets * self._words.itemsize
        self._address = self._calls.ctypes.data

    def run(self, times: int = 1) -> None:
        """Run the step, without the GIL."""
        self._run_calls(self._address, len(self._calls), times)


def run_compiled(step: Callable[..., None], *arguments: Any) -> None:
    """Compile and run a step once; NumPy arrays among the arguments, also in tuples, are what it works on."""
    trace = StepTrace()
    step(*trace.arrays(arguments))
    CompiledStep(trace).run()


def _encode_arguments(call: Call) -> list[int]:
    arrays, integers, floats = iter(call.arrays), iter(call.integers), iter(call.floats)
    words: list[int] = []
    for type_ in call.kernel.argument_types:
        if type_ is None:
            array = next(arrays)
            words += [array.pointer, *array.shape]
        elif type_ is int:
            words.append(next(integers))
        else:
            words.append(np.float64(next(floats)).view(np.int64).item())
    return words


ArrayTypes = tuple[tuple[str, int], ...]
"""dtype and number of dimensions of each array of a call."""

_kernels: dict[tuple[str, ArrayTypes], Any] = {}
_lock = threading.Lock()
_listeners: list[Callable[[], None]] = []


def add_compilation_listener(listener: Callable[[], None]) -> None:
    """Call `listener` after each kernel that this process has compiled, not loaded."""
    _listeners.append(listener)


def load_kernel(call: Call) -> int:
    """Return the address of the kernel of a call, compiled for the types of its arrays, here or by another process."""
    array_types = tuple((array.dtype.str, len(array.shape)) for array in call.arrays)
    key = call.kernel.name, array_types
    compiled = _kernels.get(key)
    if compiled is None:
        with _lock:
            compiled = _kernels.get(key) or _compile(call.kernel, array_types)
            _kernels[key] = compiled
        if not compiled.cache_hits:
            for listener in _listeners:
                listener()
    address: int = compiled.address
    return address


def _compile(kernel: Kernel, array_types: ArrayTypes) -> Any:
    """Compile the function that takes a kernel's arguments from words and runs its loop.

    It is generated as text, with a name of its own, because Numba's cache knows functions by name and code.
    """
    namespace: dict[str, Any] = {"__name__": __name__, "loop": kernel.loop}
    remaining, offset = iter(array_types), 0
    for index, type_ in enumerate(kernel.argument_types):
        if type_ is None:
            dtype, dimensions = next(remaining)
            namespace[f"argument_{index}"] = _array_argument(np.dtype(dtype), dimensions, offset)
            offset += 1 + dimensions
        else:
            namespace[f"argument_{index}"] = _scalar_argument(type_, offset)
            offset += 1
    name = "_".join([kernel.name, *(f"{dtype[1:]}x{dimensions}" for dtype, dimensions in array_types)])
    arguments = ", ".join(f"argument_{index}(words)" for index in range(len(kernel.argument_types)))
    source = f"def {name}(words):\n    loop({arguments})\n"
    exec(compile(source, __file__, "exec"), namespace)
    return compile_native(namespace[name], _SIGNATURE)


def _load_word(builder: Any, words: Any, index: int) -> Any:
    return builder.load(builder.gep(words, [_WORD(index)]))


def _array_argument(dtype: np.dtype[Any], dimensions: int, offset: int) -> Any:
    """Return a function that makes an array of the words from `offset` on: its address and sizes."""
    array_type = types.Array(numba.from_dtype(dtype), dimensions, "C")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = _make_array(array_type)(context, builder)
        data = builder.inttoptr(_load_word(builder, arguments[0], offset), array.data.type)
        sizes = [_load_word(builder, arguments[0], offset + 1 + axis) for axis in range(dimensions)]
        itemsize = _WORD(dtype.itemsize)
        strides = [itemsize]
        for size in sizes[:0:-1]:
            strides.insert(0, builder.mul(strides[0], size))
        _populate_array(array, data, sizes, strides, itemsize, meminfo=None)
        return array._getvalue()

    return intrinsic(lambda typing_context, words: (array_type(_WORDS), generate))


def _scalar_argument(type_: type[int] | type[float], offset: int) -> Any:
    """Return a function that returns the word at `offset` as a number."""
    number_type = types.int64 if type_ is int else types.float64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = _load_word(builder, arguments[0], offset)
        return word if type_ is int else builder.bitcast(word, context.get_value_type(number_type))

    return intrinsic(lambda typing_context, words: (number_type(_WORDS), generate))


def _generate_call(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    function, words = arguments
    builder.call(builder.inttoptr(function, _FUNCTION), [builder.inttoptr(words, _WORD.as_pointer())])
    return context.get_dummy_value()


_call: Any = intrinsic(lambda typing_context, function, words: (types.void(types.intp, types.intp), _generate_call))


def _run_calls(address: int, count: int, times: int) -> None:
    """Run calls one after the other, as often as told.

    Args:
        address: Address of the calls, each the address of a function and that of its arguments.
        count: Number of calls.
        times: How often to run them.
    """
    calls = _carray(address, (count, 2), np.int64)
    for _ in range(times):
        for index in range(count):
            _call(calls[index, 0], calls[index, 1])


_load_run_calls = jit_entry(_run_calls, types.void(types.voidptr, types.intp, types.intp))
