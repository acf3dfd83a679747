"""How the mathematics becomes machine code.

A `formula` stays an ordinary Python function (so tests and other devices can run it as it stands) and is
compiled together with whatever calls it. An `entry` is what Python calls: compiled once, kept on disk,
and run without the interpreter's lock.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
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
