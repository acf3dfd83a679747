"""The CUDA C++ of every kernel, put together from patterns and formulas."""

import ast
import functools
import inspect
import math
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nabla.engine.literals import DtypeName
from nabla.engine.nn import compiled_layout, optimizers, rng, training_step, vector_math
from nabla.engine.nn.jit import KERNELS, Kernel, formula_called, scalar

Formula = Callable[..., Any]

_OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.FloorDiv: "/",
    ast.BitXor: "^",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.USub: "-",
    ast.Not: "!",
}
# What C++ has of its own. The device's exponential functions take the place of ours, which are made for a CPU's lanes.
_NATIVE: dict[Any, str] = {
    scalar: "scalar",
    float: "double",
    int: "(long long)",
    abs: "::fabs",
    max: "larger",
    math.sqrt: "::sqrt",
    np.sqrt: "::sqrt",
    math.log: "::log",
    math.log1p: "::log1p",
    math.erf: "::erf",
    math.sin: "::sin",
    math.cos: "::cos",
    vector_math.exp: "::exp",
    vector_math.expm1: "::expm1",
    vector_math.tanh: "::tanh",
    np.uint64: "(unsigned long long)",
}


class Formulas:
    """The C++ functions of formulas, and of the formulas that they call, in the order in which C++ needs them."""

    def __init__(self) -> None:
        self._sources: dict[str, str] = {}
        self._names: dict[Formula, str] = {}

    def add(self, formula: Formula) -> str:
        """The name of the formula's function in C++. Raises TypeError for what cannot be said there."""
        if formula not in self._names:
            name = formula.__name__.lstrip("_")
            if name in self._sources:
                raise TypeError(f"Two formulas are called {name}.")
            source = _Translation(formula, self).function(name)
            self._names[formula], self._sources[name] = name, source
        return f"formula::{self._names[formula]}"

    @property
    def source(self) -> str:
        return "namespace formula {\n\n" + "\n".join(self._sources.values()) + "\n}  // namespace formula\n"


class _Translation:
    """Of one formula."""

    def __init__(self, formula: Formula, formulas: Formulas) -> None:
        tree = ast.parse(textwrap.dedent(inspect.getsource(formula))).body[0]
        assert isinstance(tree, ast.FunctionDef)
        self._tree = tree
        self._formulas = formulas
        self._globals = inspect.getclosurevars(formula)
        self._locals = [argument.arg for argument in tree.args.args]

    def function(self, name: str) -> str:
        types = [f"T{place}" for place in range(len(self._locals))]
        templates = ", ".join(f"class {kind}" for kind in types)
        arguments = ", ".join(f"{kind} {argument}" for kind, argument in zip(types, self._locals, strict=True))
        body = [line for statement in self._tree.body for line in self._statement(statement)]
        lines = "\n".join(f"  {line}" for line in body)
        return f"template <{templates}>\nDEVICE auto {name}({arguments}) {{\n{lines}\n}}\n"

    def _refuse(self, node: ast.AST) -> TypeError:
        return TypeError(f"{self._tree.name}: {ast.unparse(node)!r} cannot be said in CUDA C++ here.")

    def _statement(self, node: ast.stmt) -> list[str]:
        match node:
            case ast.Expr(value=ast.Constant()):  # what documents it
                return []
            case ast.Expr(value=ast.Call() as call):
                return [f"{self._value(call)};"]
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                return [self._assignment(*pair) for pair in zip(targets, values, strict=True)]
            case ast.Assign(targets=[target], value=value):
                return [self._assignment(target, value)]
            case ast.AugAssign(target=target, op=operator, value=value):
                return [f"{self._value(target)} {self._operator(operator)}= {self._value(value)};"]
            case ast.Return(value=ast.Tuple(elts=values)):
                return [f"return tuple_of({', '.join(map(self._value, values))});"]
            case ast.Return(value=ast.expr() as value):
                return [f"return {self._value(value)};"]
            case ast.If(test=test, body=body, orelse=[]):
                inner = [f"  {line}" for statement in body for line in self._statement(statement)]
                return [f"if ({self._value(test)}) {{", *inner, "}"]
        raise self._refuse(node)

    def _assignment(self, target: ast.expr, value: ast.expr) -> str:
        worth = self._value(value)
        if isinstance(target, ast.Name) and target.id not in self._locals:
            self._locals.append(target.id)
            return f"auto {target.id} = {worth};"
        return f"{self._value(target)} = {worth};"

    def _operator(self, node: ast.AST) -> str:
        try:
            return _OPERATORS[type(node)]
        except KeyError:
            raise self._refuse(self._tree) from None

    def _value(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=value):
                return _literal(value)
            case ast.Name(id=name):
                return name if name in self._locals else _literal(self._global(node))
            case ast.Attribute(value=ast.Name(id=name), attr="size") if name in self._locals:
                return f"{name}.size"
            case ast.Attribute():
                return _literal(self._global(node))
            case ast.Subscript(value=ast.Name(id=name), slice=index) if name in self._locals:
                return f"{name}[{self._value(index)}]"
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return f"over({self._value(left)}, {self._value(right)})"
            case ast.BinOp(left=left, op=ast.Pow(), right=right):
                return f"::pow({self._value(left)}, {self._value(right)})"
            case ast.BinOp(left=left, op=operator, right=right):
                return f"({self._value(left)} {self._operator(operator)} {self._value(right)})"
            case ast.UnaryOp(op=operator, operand=operand):
                return f"({self._operator(operator)}{self._value(operand)})"
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                return f"({self._value(left)} {self._operator(operator)} {self._value(right)})"
            case ast.IfExp(test=test, body=body, orelse=otherwise):
                return f"({self._value(test)} ? {self._value(body)} : {self._value(otherwise)})"
            case ast.Call(func=function, args=arguments, keywords=[]):
                called = self._global(function)
                if called not in _NATIVE and not inspect.isfunction(called):
                    raise self._refuse(node)
                name = _NATIVE[called] if called in _NATIVE else self._formulas.add(called)
                return f"{name}({', '.join(map(self._value, arguments))})"
        raise self._refuse(node)

    def _global(self, node: ast.expr) -> Any:
        """What a name means where the formula stands."""
        match node:
            case ast.Name(id=name):
                for names in (self._globals.nonlocals, self._globals.globals, self._globals.builtins):
                    if name in names:
                        return names[name]
            case ast.Attribute(value=ast.Name() as module, attr=name):
                return getattr(self._global(module), name)
        raise self._refuse(node)


def _literal(value: Any) -> str:
    if isinstance(value, np.uint64):
        return f"{int(value):#x}ull"
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return f"{value}ll"
        case float() if math.isfinite(value):
            return repr(value)
    raise TypeError(f"{value!r} cannot be written in CUDA C++ here.")


# Importing the steps has registered all that a step can call.
assert training_step

CODES = {name: code for code, name in enumerate(KERNELS)}
"""The number of each kernel in a Call."""
MAKE_STEPS = "make_steps"
"""The kernel that makes whole steps in one block."""

# Sizes that kernels and those who launch them agree on: what a Call has room for, the most blocks of a kernel, and how
# many threads share a row or stand for columns beside each other.
MOST_ARRAYS, MOST_NUMBERS = 6, 2
MOST_BLOCKS = 1024
WIDTH = 32
THREADS = 256
"""Of a block of a kernel."""
STEP_THREADS = 512
"""Of the one block that makes whole steps."""

_KERNELS = Path(__file__).with_name("kernels")
_HEADERS = ("types", "parallel_primitives")
# What a GPU does in parallel where the CPU loops. Every pattern has the arguments of the kernels that are made of it,
# in their order, as a Call. It is right for any number of blocks and threads, as long as the threads of a block are a
# power of two of at least 32. Sums are taken in an order that depends on these numbers alone, so that the same run
# gives the same bits.
_PATTERNS = ("activations", "losses", "batching", "layers", "matmul", "regularization", "optimizers")
_NUMBERS: dict[DtypeName, str] = {"float32": "float", "float64": "double"}
_CONSTANTS = {
    "COST": compiled_layout.COST,
    "CORRECT": compiled_layout.CORRECT,
    "ERRORS": compiled_layout.ERRORS,
    "FIRST": compiled_layout.FIRST,
    "NEXT": compiled_layout.NEXT,
    "STEP": optimizers.STEP,
    "COEFFICIENTS": optimizers.COEFFICIENTS,
    "DROPOUT": rng.DROPOUT,
    "MOST_ARRAYS": MOST_ARRAYS,
    "MOST_NUMBERS": MOST_NUMBERS,
    "MOST_BLOCKS": MOST_BLOCKS,
    "WIDTH": WIDTH,
}


@functools.cache
def source(dtype: DtypeName) -> str:
    """All kernels for networks of this type."""
    formulas = Formulas()
    kernels = [_functions_of(kernel, formulas) for kernel in KERNELS.values()]
    types, primitives = (_text(f"{name}.cuh") for name in _HEADERS)
    patterns = (
        "namespace pattern {\n\n" + "\n".join(_text(f"{name}.cu") for name in _PATTERNS) + "\n}  // namespace pattern\n"
    )
    for name in re.findall(r"formula::(\w+)", patterns):
        formulas.add(formula_called(name))
    constants = [f"const int {name} = {value};" for name, value in _CONSTANTS.items()]
    head = "\n".join([f"typedef {_NUMBERS[dtype]} Number;", *constants, ""])
    return "\n".join([head, types, formulas.source, primitives, patterns, *kernels, _steps_kernel()])


def _text(name: str) -> str:
    return (_KERNELS / name).read_text()


def _functions_of(kernel: Kernel, formulas: Formulas) -> str:
    """A kernel of its own, and what the kernel for whole steps calls."""
    used = [formulas.add(formula) for formula in kernel.formulas]
    inside = "".join(f", {kernel.name}_uses_{place}()" for place in range(len(used)))
    functors = "".join(
        f"""
struct {kernel.name}_uses_{place} {{
  template <class... X>
  DEVICE auto operator()(X... x) const {{ return {name}(x...); }}
}};
"""
        for place, name in enumerate(used)
    )
    return f"""{functors}
DEVICE void {kernel.name}_in_step(const Call& call, Scratch* scratch) {{
  pattern::{kernel.pattern}<Number>(call, scratch{inside});
}}

extern "C" __global__ void __launch_bounds__({THREADS}, 1)
{kernel.name}(const Call* program, long long at, Scratch* scratch) {{
  pattern::{kernel.pattern}<Number>(program[at], scratch{inside});
}}
"""


def _steps_kernel() -> str:
    cases = "\n".join(f"        case {code}: {name}_in_step(call, scratch); break;" for name, code in CODES.items())
    return f"""
extern "C" __global__ void __launch_bounds__({STEP_THREADS}, 1)
{MAKE_STEPS}(const Call* program, long long calls, long long steps, Scratch* scratch) {{
  for (long long step = 0; step < steps; ++step) {{
    for (long long at = 0; at < calls; ++at) {{
      const Call& call = program[at];
      switch (call.code) {{
{cases}
      }}
      __syncthreads();
    }}
  }}
}}
"""
