"""Compilation with Numba: decorators for formulas, entry points and device kernels, and the compilation cache.

A function marked `jit_inline` stays an ordinary Python function, so that tests and the GPU's code generator can use
it, and is compiled into its callers. A `jit_entry` is called from Python: it is compiled once, cached on disk, and runs
without the GIL. A `device_kernel` is a loop over arrays, compiled into the surrounding step on a CPU, and a kernel of
its own on a GPU. A training step is thus written once: compiled, it is one piece of machine code; run by Python with
traced arrays, which stand for GPU memory, it records the kernel calls.
"""

import functools
import hashlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numba.core import config
from numba.extending import overload, register_jitable

Formula = Callable[..., Any]
Function = TypeVar("Function", bound=Callable[..., object])
KernelFunction = TypeVar("KernelFunction", bound=Callable[..., None])

# Division by zero gives infinity, as in NumPy. The fast-math flags that assume no NaN and no infinity are left out:
# divergence must be detected.
_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}
OPTIONS: Any = {"error_model": "numpy", "fastmath": _FASTMATH}  # Any: Numba expects a TypedDict


def _hash_sources() -> str:
    """Hash every module of this package.

    Numba checks only the entry point's own file for changes; a changed formula in another module would go unnoticed.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_directory() -> str:
    """Return a directory beside the package, or "" if that is read-only: Numba then uses the user's cache directory."""
    directory = Path(__file__).parent / "__pycache__" / f"compiled-{_hash_sources()}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return ""
    return str(directory)


# Unless the user has chosen a directory with NUMBA_CACHE_DIR.
if not config.CACHE_DIR:  # type: ignore[attr-defined]  # Numba creates these names at import
    config.CACHE_DIR = _cache_directory()  # type: ignore[attr-defined]  # as above


# Numba identifies a function by module, name, argument types and a counter that restarts in every process: two
# functions of one name, cached by different processes, could be confused.
_registered_functions: dict[str, Callable[..., Any]] = {}


def with_name(name: str) -> Callable[[Function], Function]:
    """Give a function that is built once per formula a name of its own."""

    def rename(function: Function) -> Function:
        function.__name__ = function.__qualname__ = name
        return function

    return rename


def register_name(function: Callable[..., object]) -> None:
    """Reserve a compiled function's name. Raises ValueError if it is taken."""
    name = f"{function.__module__}.{function.__qualname__}"
    if name in _registered_functions:
        raise ValueError(f"A compiled function named {name} exists already.")
    _registered_functions[name] = function


def find_function(name: str) -> Callable[..., Any]:
    """Return the compiled function of this name in any module. Raises LookupError unless there is exactly one."""
    matches = [function for path, function in _registered_functions.items() if path.rpartition(".")[2] == name]
    if len(matches) != 1:
        raise LookupError(f"There are {len(matches)} compiled functions named {name}.")
    return matches[0]


def jit_inline(function: Function) -> Function:
    """Mark a function that is compiled into its callers; called from Python it runs uncompiled.

    Raises ValueError if its name is taken.
    """
    register_name(function)
    registered: Function = register_jitable(**OPTIONS)(function)
    return registered


def jit_force_inline(function: Function) -> Function:
    """Mark a function that is always inlined.

    Passing the arrays of a step to a function takes a fifth of a small network's time.
    """
    register_name(function)
    registered: Function = register_jitable(forceinline=True, **OPTIONS)(function)
    return registered


def jit_strict(function: Function) -> Function:
    """Mark a function whose operations must not be reordered, because it compensates rounding errors."""
    register_name(function)
    registered: Function = register_jitable(error_model="numpy", fastmath={"contract"})(function)
    return registered


def jit_entry(function: Function) -> Function:
    """Compile a function that Python calls. It runs without the GIL, and is cached on disk per argument types."""
    compiled: Any = numba.njit(nogil=True, cache=True, **OPTIONS)(function)
    return cast(Function, compiled)


def scalar(value: float, like: float) -> float:
    """Return the constant `value` in the type of `like`, without which compiled code would widen float32 to float64."""
    return type(like)(value)


@overload(scalar)
def _scalar(value: float, like: Any) -> Callable[[float, Any], float]:
    number_type = like  # at compile time, arguments are types

    def convert(value: float, like: Any) -> float:
        converted: float = number_type(value)
        return converted

    return convert


def build_switch(name: str, formulas: Sequence[Formula]) -> Formula:
    """Build a function `name(index, …)` that calls `formulas[index](…)`.

    Compiled code cannot hold a table of functions of different types, so the function compares its first argument with
    every index. It is generated as text so that there is one function to compile; nested functions would be one per
    formula, at 0.3 s each. Indices come from `switch_index`, so none is out of range.
    """
    namespace: dict[str, Any] = {f"formula_{index}": function for index, function in enumerate(formulas)}
    branches = [f"    if index == {index}: return formula_{index}(*arguments)" for index in range(len(formulas) - 1)]
    namespace["__name__"] = __name__
    source = [f"def {name}(index, *arguments):", *branches, f"    return formula_{len(formulas) - 1}(*arguments)"]
    exec("\n".join(source), namespace)
    switch: Formula = namespace[name]
    return jit_force_inline(switch)


def switch_index(name: str, table: dict[Any, Any]) -> int:
    """Return the index of `name` in a table passed to `build_switch`."""
    return list(table).index(name)


class Kernel(NamedTuple):
    """A loop over arrays that is a kernel of its own on a GPU.

    Attributes:
        name: Name of the function and of the GPU kernel.
        template: Name of the C++ template in cuda/kernels that is the kernel's GPU implementation.
        formulas: Functions that the template is instantiated with.
        argument_types: int, float, or None for an array, for each argument.
        function: The loop itself on NumPy arrays; on traced arrays, records the call.
    """

    name: str
    template: str
    formulas: tuple[Callable[..., Any], ...]
    argument_types: tuple[type[int] | type[float] | None, ...]
    function: Callable[..., None]


KERNELS: dict[str, Kernel] = {}
"""All kernels by name. A GPU runs nothing else but cuBLAS's matrix products."""


def _scalar_type(argument: inspect.Parameter) -> type[int] | type[float] | None:
    return argument.annotation if argument.annotation in (int, float) else None


def device_kernel(template: str, *formulas: Callable[..., Any]) -> Callable[[KernelFunction], KernelFunction]:
    """Mark a loop over arrays as a kernel. Its first argument is an array.

    Args:
        template: Name of the C++ template in cuda/kernels.
        formulas: Functions that the template is instantiated with.

    Raises:
        ValueError: The name is taken.
    """

    def mark(function: KernelFunction) -> KernelFunction:
        register_name(function)
        name = function.__name__.lstrip("_")
        if name in KERNELS:
            raise ValueError(f"A kernel named {name} exists already.")

        @functools.wraps(function)
        def dispatch(*arguments: Any) -> None:
            if isinstance(arguments[0], np.ndarray):
                function(*arguments)
            else:
                arguments[0].record(name, arguments)

        argument_types = tuple(map(_scalar_type, inspect.signature(function).parameters.values()))
        KERNELS[name] = Kernel(name, template, formulas, argument_types, dispatch)
        overload(dispatch, jit_options=OPTIONS, strict=False)(lambda *arguments: function)
        return cast(KernelFunction, dispatch)

    return mark
