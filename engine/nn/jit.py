"""How the mathematics becomes machine code.

A `formula` stays an ordinary Python function (so tests and other devices can run it as it stands) and is
compiled together with whatever calls it. An `entry` is what Python calls: compiled once, kept on disk,
and run without the interpreter's lock.
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

Function = TypeVar("Function", bound=Callable[..., object])

# Divisions by zero give infinities as in NumPy. Of the fast-math flags those that assume the absence of NaN and
# infinity are left out: a diverging cost must be seen.
_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}
OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": _FASTMATH}


def _fingerprint_of_sources() -> str:
    """A hash of every file of this package.

    Numba looks only at the file of the compiled entry to see whether its cache is stale; a change in a formula
    of another file would go unseen.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_folder() -> str:
    """Beside the package where that can be written, else empty: Numba then takes the user's cache folder."""
    folder = Path(__file__).parent / "__pycache__" / f"compiled-{_fingerprint_of_sources()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return ""
    return str(folder)


# Only where the user has not chosen a folder with NUMBA_CACHE_DIR.
if not config.CACHE_DIR:  # type: ignore[attr-defined]  # Numba makes these names when it is imported
    config.CACHE_DIR = _cache_folder()  # type: ignore[attr-defined]  # as above


# Compiled code calls a function by its module, its name, the types of its arguments, and a number that Numba counts
# anew in every process. Two functions of one name, cached by different processes, can so be taken for each other.
_functions: dict[str, Callable[..., Any]] = {}


def named(name: str) -> Callable[[Function], Function]:
    """Give a function that is made several times over, for different formulas, a name of its own."""

    def rename(function: Function) -> Function:
        function.__name__ = function.__qualname__ = name
        return function

    return rename


def claim_name(function: Callable[..., object]) -> None:
    """Raises ValueError if there is another compiled function of its name."""
    name = f"{function.__module__}.{function.__qualname__}"
    if name in _functions:
        raise ValueError(f"There is a formula called {name} already.")
    _functions[name] = function


def formula_called(name: str) -> Callable[..., Any]:
    """The formula of this name, whatever module it stands in. Raises LookupError if there is none, or more than one."""
    found = [function for full, function in _functions.items() if full.rpartition(".")[2] == name]
    if len(found) != 1:
        raise LookupError(f"There are {len(found)} formulas called {name}.")
    return found[0]


def formula(function: Function) -> Function:
    """Mark a function that compiled code may call; called from Python it runs as it is written.

    Raises ValueError if there is another of its name.
    """
    claim_name(function)
    registered: Function = register_jitable(**OPTIONS)(function)
    return registered


def inlined_formula(function: Function) -> Function:
    """A formula whose code is put where it is called: handing on the dozens of words that a step's arrays are costs a
    small network a fifth of its time."""
    claim_name(function)
    registered: Function = register_jitable(forceinline=True, **OPTIONS)(function)
    return registered


def exact_formula(function: Function) -> Function:
    """A formula whose operations must be done in the order in which they are written: what compensates a rounding
    error would be simplified away."""
    claim_name(function)
    registered: Function = register_jitable(error_model="numpy", fastmath={"contract"})(function)
    return registered


def entry(function: Function) -> Function:
    """Compile a function that Python calls. Machine code is cached on disk per argument types."""
    compiled: Any = numba.njit(nogil=True, cache=True, **OPTIONS)(function)
    return cast(Function, compiled)


def scalar(value: float, like: float) -> float:
    """The constant `value` in the type of `like`: compiled code would widen float32 to float64 otherwise."""
    return type(like)(value)


@overload(scalar)
def _scalar(value: float, like: Any) -> Callable[[float, Any], float]:
    kind = like  # when compiled, the arguments stand for their types

    def convert(value: float, like: Any) -> float:
        converted: float = kind(value)
        return converted

    return convert


Formula = Callable[..., Any]


def by_code(name: str, formulas: Sequence[Formula]) -> Formula:
    """A function called `name`, of (code, …), that calls `formulas[code](…)`.

    Codes come from `code_of`, so none is out of range.
    """
    names: dict[str, Any] = {f"formula_{code}": function for code, function in enumerate(formulas)}
    branches = [f"    if code == {code}: return formula_{code}(*arguments)" for code in range(len(formulas) - 1)]
    names["__name__"] = __name__
    source = [f"def {name}(code, *arguments):", *branches, f"    return formula_{len(formulas) - 1}(*arguments)"]
    exec("\n".join(source), names)
    choose: Formula = names[name]
    return inlined_formula(choose)


def code_of(name: str, table: dict[Any, Any]) -> int:
    """The number of `name` in a table given to `by_code`."""
    return list(table).index(name)


_OPTIONS: Any = OPTIONS
KernelFunction = TypeVar("KernelFunction", bound=Callable[..., None])


class Kernel(NamedTuple):
    """`pattern`: the function in cuda/kernels that does on a GPU what the loop does here; `formulas` go into it.
    `kinds`: for each argument int, float, or None where it is an array. `function` is what a step calls."""

    name: str
    pattern: str
    formulas: tuple[Callable[..., Any], ...]
    kinds: tuple[type[int] | type[float] | None, ...]
    function: Callable[..., None]


KERNELS: dict[str, Kernel] = {}
"""All kernels by name. On a GPU nothing else is ever launched, besides products of matrices."""


def _kind(argument: inspect.Parameter) -> type[int] | type[float] | None:
    return argument.annotation if argument.annotation in (int, float) else None


def kernel(pattern: str, *formulas: Callable[..., Any]) -> Callable[[KernelFunction], KernelFunction]:
    """Mark a loop over arrays as a kernel. Its first argument is an array.

    Raises ValueError if there is another of its name.
    """

    def mark(function: KernelFunction) -> KernelFunction:
        claim_name(function)
        name = function.__name__.lstrip("_")
        if name in KERNELS:
            raise ValueError(f"There is a kernel called {name} already.")

        @functools.wraps(function)
        def call(*arguments: Any) -> None:
            if isinstance(arguments[0], np.ndarray):
                function(*arguments)
            else:
                arguments[0].record(name, arguments)

        kinds = tuple(map(_kind, inspect.signature(function).parameters.values()))
        KERNELS[name] = Kernel(name, pattern, formulas, kinds, call)
        overload(call, jit_options=_OPTIONS, strict=False)(lambda *arguments: function)
        return cast(KernelFunction, call)

    return mark
