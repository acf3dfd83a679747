"""Compilation with Numba: decorators for formulas, kernels and entry points, and the compilation cache.

A function marked `jit_inline` stays an ordinary Python function, so that tests and the GPU's code generator can use
it, and is compiled into its callers. A `device_kernel` is a loop over arrays, which a CPU and a GPU each compile by
itself. A training step is written once, in Python: run with traced arrays, which stand for memory, it records its
calls of kernels, and a device then runs these without Python.
"""

import functools
import hashlib
import inspect
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import llvmlite.binding
import numba
import numpy as np
from numba.core import config
from numba.core.caching import CacheImpl, _CacheLocator
from numba.extending import overload, register_jitable

Formula = Callable[..., Any]
Function = TypeVar("Function", bound=Callable[..., object])
KernelFunction = TypeVar("KernelFunction", bound=Callable[..., None])

# Division by zero gives infinity, as in NumPy. The fast-math flags that assume no NaN and no infinity are left out:
# divergence must be detected.
_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}
OPTIONS: Any = {"error_model": "numpy", "fastmath": _FASTMATH}  # Any: Numba expects a TypedDict

# The levels of x86-64, the higher one first, and the features that tell them. Code for the processor at hand is at most
# 6 % faster than code for its level, which all processors of the level can load from one cache, with the same bits.
LEVELS = {
    "x86-64-v4": ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
    "x86-64-v3": ("avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"),
}


def _choose_processor() -> str | None:
    """Return the level of this processor; None if it has none, as those of other architectures."""
    if platform.machine() != "x86_64":
        return None
    features = llvmlite.binding.get_host_cpu_features()
    return next((level for level, needed in LEVELS.items() if all(map(features.get, needed))), None)


def _hash_sources() -> str:
    """Hash every module of this package.

    Numba checks only the file of the function itself for changes; a changed formula in another one would go unnoticed.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _find_cache() -> Path | None:
    """Return the directory for compiled code: beside this package, or the user's. None if neither can be used.

    NUMBA_CACHE_DIR names another one. It may be read-only if it was filled before, as in a container image.
    """
    chosen: str = config.CACHE_DIR  # type: ignore[attr-defined]  # Numba creates these names at import
    parents = [Path(chosen)] if chosen else [Path(__file__).parent / "__pycache__"]
    with suppress(RuntimeError):  # a user without a home directory
        parents += [] if chosen else [Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")]
    for parent in parents:
        directory = parent / f"nabla-{_hash_sources()}"
        with suppress(OSError):
            directory.mkdir(parents=True, exist_ok=True)
            if chosen or os.access(directory, os.W_OK):
                return directory
    return None


class CacheLocator(_CacheLocator):
    """Tells Numba to keep all compiled code in one directory, whose name says for which sources."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @classmethod
    def from_function(cls, py_func: Callable[..., object], py_file: str) -> "CacheLocator | None":
        """Return a locator for a function of this package, None for any other."""
        del py_file
        return cls(CACHE) if CACHE and py_func.__module__.startswith(f"{__package__}.") else None

    def get_cache_path(self) -> str:
        """Return the directory."""
        return str(self._directory)

    def get_source_stamp(self) -> str:
        """Return the version of the sources. File times would differ from one installation to the next."""
        return self._directory.name

    def get_disambiguator(self) -> str:
        """Return the same for all functions, whose names are unique."""
        return "1"


# Before anything is compiled. What the user has set stays.
if config.CPU_NAME is None and (level := _choose_processor()) is not None:  # type: ignore[attr-defined]  # as above
    config.CPU_NAME, config.CPU_FEATURES = level, ""  # type: ignore[attr-defined]  # as above
CACHE = _find_cache()
# Numba's own locators, for other packages; the list has no public name.
_LOCATORS = [f"{__name__}.{CacheLocator.__name__}", *(locator.__name__ for locator in CacheImpl._locator_classes)]
if not config.CACHE_LOCATOR_CLASSES:  # type: ignore[attr-defined]  # as above
    config.CACHE_LOCATOR_CLASSES = ",".join(_LOCATORS)  # type: ignore[attr-defined]  # as above


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


def jit_strict(function: Function) -> Function:
    """Mark a function whose operations must not be reordered, because it compensates rounding errors."""
    register_name(function)
    registered: Function = register_jitable(error_model="numpy", fastmath={"contract"})(function)
    return registered


def compile_native(function: Callable[..., object], signature: Any) -> Any:
    """Compile a function for C types, or load it from the cache. Returns Numba's CFunc."""
    if CACHE is not None:
        with suppress(OSError):  # the cache cannot be written
            return numba.cfunc(signature, cache=True, **OPTIONS)(function)
    return numba.cfunc(signature, **OPTIONS)(function)


_loaders: list[Callable[[], Any]] = []


def jit_entry(function: Callable[..., object], signature: Any) -> Callable[[], Any]:
    """Return a loader of a function that Python calls.

    Its first call compiles the function for C types, or loads it from the cache. The compiled function runs without the
    GIL.
    """
    register_name(function)
    loader = functools.cache(lambda: compile_native(function, signature).ctypes)
    _loaders.append(loader)
    return loader


def compile_entries() -> None:
    """Compile the functions that Python calls."""
    for loader in _loaders:
        loader()


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


class Kernel(NamedTuple):
    """A loop over arrays: the unit that is compiled, and called by a step.

    Attributes:
        name: Name of the function and of the GPU kernel.
        template: Name of the C++ template in cuda/kernels that is the kernel's GPU implementation; None if only a CPU
            runs it.
        formulas: Functions that the template is instantiated with.
        argument_types: int, float, or None for an array, for each argument.
        loop: The loop itself on NumPy arrays.
    """

    name: str
    template: str | None
    formulas: tuple[Formula, ...]
    argument_types: tuple[type[int] | type[float] | None, ...]
    loop: Callable[..., None]


KERNELS: dict[str, Kernel] = {}
"""All kernels by name. A step runs nothing else, but for a GPU's matrix products, which are cuBLAS's."""


def _scalar_type(argument: inspect.Parameter) -> type[int] | type[float] | None:
    return argument.annotation if argument.annotation in (int, float) else None


def device_kernel(template: str | None, *formulas: Formula) -> Callable[[KernelFunction], KernelFunction]:
    """Mark a loop over arrays as a kernel. Called with traced arrays it records the call, with NumPy's it runs.

    Its first argument is an array.

    Args:
        template: Name of the C++ template in cuda/kernels; None if only a CPU runs the kernel.
        formulas: Functions that the template is instantiated with.

    Raises:
        ValueError: The name is taken.
    """

    def mark(function: KernelFunction) -> KernelFunction:
        loop = jit_inline(function)
        name = function.__name__.lstrip("_")
        if name in KERNELS:
            raise ValueError(f"A kernel named {name} exists already.")
        argument_types = tuple(map(_scalar_type, inspect.signature(function).parameters.values()))
        KERNELS[name] = Kernel(name, template, formulas, argument_types, loop)

        @functools.wraps(function)
        def dispatch(*arguments: Any) -> None:
            if isinstance(arguments[0], np.ndarray):
                loop(*arguments)
            else:
                arguments[0].record(name, arguments)

        return cast(KernelFunction, dispatch)

    return mark
