"""Loops over arrays that are compiled on a CPU with the step around them, and are kernels of their own on a GPU.

A step is written once. Compiled, it is one piece of machine code. Run by Python with recorded arrays, which stand for
memory of a GPU, every kernel that it calls is written down instead, to be launched.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numba.extending import overload

from engine.nn.compiling import OPTIONS, claim_name

_OPTIONS: Any = OPTIONS
Function = TypeVar("Function", bound=Callable[..., None])


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


def kernel(pattern: str, *formulas: Callable[..., Any]) -> Callable[[Function], Function]:
    """Mark a loop over arrays as a kernel. Its first argument is an array.

    Raises ValueError if there is another of its name.
    """

    def mark(function: Function) -> Function:
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
        return cast(Function, call)

    return mark
