"""Generates the CUDA C++ of all kernels from the templates in kernels/ and from formulas translated from Python.

A formula is thus written once, in Python. In C++ it is a template whose types the compiler infers, as Numba infers
them. Only what formulas use is supported: arithmetic, elements of vectors, conditions and calls of other formulas.
Anything else raises TypeError when the source is generated, before anything runs.
"""

import ast
import functools
import inspect
import math
import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from nabla.engine.literals import DtypeName
from nabla.engine.nn import layout, optimizers, rng, training_step, vector_math
from nabla.engine.nn.jit import KERNELS, Formula, Kernel, find_function, scalar

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
# Functions that have a C++ counterpart. CUDA's exponentials replace those written for the SIMD units of a CPU.
_NATIVE: dict[Any, str] = {
    scalar: "scalar",
    float: "double",
    int: "(long long)",
    abs: "::fabs",
    max: "max_of",
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
    """Collects the C++ functions of formulas and of the formulas that they call, in the order that C++ requires."""

    def __init__(self) -> None:
        self._sources: dict[str, str] = {}
        self._names: dict[Formula, str] = {}

    def add(self, formula: Formula) -> str:
        """Return the C++ name of a formula. Raises TypeError if it cannot be translated."""
        if formula not in self._names:
            name = formula.__name__.lstrip("_")
            if name in self._sources:
                raise TypeError(f"Two formulas are named {name}.")
            source = _CppTranslator(formula, self).translate(name)
            self._names[formula], self._sources[name] = name, source
        return f"formula::{self._names[formula]}"

    @property
    def source(self) -> str:
        """The functions as C++."""
        return "namespace formula {\n\n" + "\n".join(self._sources.values()) + "\n}  // namespace formula\n"


class _CppTranslator:
    """Translates one formula to C++."""

    def __init__(self, formula: Formula, formulas: Formulas) -> None:
        tree = ast.parse(textwrap.dedent(inspect.getsource(formula))).body[0]
        assert isinstance(tree, ast.FunctionDef)
        self._tree = tree
        self._formulas = formulas
        self._globals = inspect.getclosurevars(formula)
        self._locals = [argument.arg for argument in tree.args.args]

    def translate(self, name: str) -> str:
        """Return the function as C++."""
        types = [f"T{index}" for index in range(len(self._locals))]
        templates = ", ".join(f"class {type_}" for type_ in types)
        arguments = ", ".join(f"{type_} {argument}" for type_, argument in zip(types, self._locals, strict=True))
        body = [line for statement in self._tree.body for line in self._statement(statement)]
        lines = "\n".join(f"  {line}" for line in body)
        return f"template <{templates}>\nDEVICE auto {name}({arguments}) {{\n{lines}\n}}\n"

    def _unsupported(self, node: ast.AST) -> TypeError:
        return TypeError(f"{self._tree.name}: {ast.unparse(node)!r} cannot be translated to CUDA C++.")

    def _statement(self, node: ast.stmt) -> list[str]:
        match node:
            case ast.Expr(value=ast.Constant()):  # the docstring
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
        raise self._unsupported(node)

    def _assignment(self, target: ast.expr, value: ast.expr) -> str:
        expression = self._value(value)
        if isinstance(target, ast.Name) and target.id not in self._locals:
            self._locals.append(target.id)
            return f"auto {target.id} = {expression};"
        return f"{self._value(target)} = {expression};"

    def _operator(self, node: ast.AST) -> str:
        try:
            return _OPERATORS[type(node)]
        except KeyError:
            raise self._unsupported(self._tree) from None

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
                return f"divide({self._value(left)}, {self._value(right)})"
            case ast.BinOp(left=left, op=ast.Pow(), right=right):
                return f"::pow({self._value(left)}, {self._value(right)})"
            case ast.BinOp(left=left, op=operator, right=right):
                return f"({self._value(left)} {self._operator(operator)} {self._value(right)})"
            case ast.UnaryOp(op=operator, operand=operand):
                return f"({self._operator(operator)}{self._value(operand)})"
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                return f"({self._value(left)} {self._operator(operator)} {self._value(right)})"
            case ast.IfExp(test=test, body=body, orelse=alternative):
                return f"({self._value(test)} ? {self._value(body)} : {self._value(alternative)})"
            case ast.Call(func=function, args=arguments, keywords=[]):
                callee = self._global(function)
                if callee not in _NATIVE and not inspect.isfunction(callee):
                    raise self._unsupported(node)
                name = _NATIVE[callee] if callee in _NATIVE else self._formulas.add(callee)
                return f"{name}({', '.join(map(self._value, arguments))})"
        raise self._unsupported(node)

    def _global(self, node: ast.expr) -> Any:
        """Return the value of a name in the formula's scope."""
        match node:
            case ast.Name(id=name):
                for scope in (self._globals.nonlocals, self._globals.globals, self._globals.builtins):
                    if name in scope:
                        return scope[name]
            case ast.Attribute(value=ast.Name() as module, attr=name):
                return getattr(self._global(module), name)
        raise self._unsupported(node)


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
    raise TypeError(f"{value!r} cannot be written in CUDA C++.")


# Imported because it registers every kernel that a step can call.
assert training_step

_GPU_KERNELS = [kernel for kernel in KERNELS.values() if kernel.template is not None]
KERNEL_CODES = {kernel.name: code for code, kernel in enumerate(_GPU_KERNELS)}
"""The number by which a Call names its kernel."""
RUN_STEPS = "run_steps"
"""The kernel that runs whole steps in one block."""

# Sizes shared by kernels and launcher: the capacity of a Call, the largest number of blocks, and the number of threads
# that share a row or take adjacent columns.
MAX_ARRAYS, MAX_SCALARS = 6, 2
MAX_BLOCKS = 1024
WIDTH = 32
THREADS = 256
"""Threads per block of a kernel."""
STEP_THREADS = 512
"""Threads of the block that runs whole steps."""

_KERNELS = Path(__file__).with_name("kernels")
_HEADERS = ("types", "parallel_primitives")
# Parallel counterparts of the CPU's loops. A template takes the arguments of its kernels, in order, as a Call. It works
# for any number of blocks, and for any power of two of at least 32 threads per block. The order of summation depends
# only on these numbers, so that runs are bitwise reproducible.
_TEMPLATES = ("activations", "losses", "batching", "layers", "matmul", "regularization", "optimizers")
_NUMBER_TYPES: dict[DtypeName, str] = {"float32": "float", "float64": "double"}
_CONSTANTS = {
    "COST": layout.COST,
    "CORRECT": layout.CORRECT,
    "ERRORS": layout.ERRORS,
    "BATCH_START": layout.BATCH_START,
    "NEXT_START": layout.NEXT_START,
    "STEP": optimizers.STEP,
    "MAX_COEFFICIENTS": optimizers.MAX_COEFFICIENTS,
    "DROPOUT": rng.DROPOUT,
    "MAX_ARRAYS": MAX_ARRAYS,
    "MAX_SCALARS": MAX_SCALARS,
    "MAX_BLOCKS": MAX_BLOCKS,
    "WIDTH": WIDTH,
}


@functools.cache
def source(dtype: DtypeName) -> str:
    """Return the CUDA C++ of all kernels for a dtype."""
    formulas = Formulas()
    kernels = [_kernel_source(kernel, formulas) for kernel in _GPU_KERNELS]
    types, primitives = (_read_kernel_file(f"{name}.cuh") for name in _HEADERS)
    templates = (
        "namespace kernel_template {\n\n"
        + "\n".join(_read_kernel_file(f"{name}.cu") for name in _TEMPLATES)
        + "\n}  // namespace kernel_template\n"
    )
    for name in re.findall(r"formula::(\w+)", templates):
        formulas.add(find_function(name))
    constants = [f"const int {name} = {value};" for name, value in _CONSTANTS.items()]
    preamble = "\n".join([f"typedef {_NUMBER_TYPES[dtype]} Number;", *constants, ""])
    return "\n".join([preamble, types, formulas.source, primitives, templates, *kernels, _run_steps_source()])


def _read_kernel_file(name: str) -> str:
    return (_KERNELS / name).read_text()


def _kernel_source(kernel: Kernel, formulas: Formulas) -> str:
    """Return the C++ of a kernel, and of the function that the kernel for whole steps calls instead."""
    functions = [formulas.add(formula) for formula in kernel.formulas]
    functor_arguments = "".join(f", {kernel.name}_functor_{index}()" for index in range(len(functions)))
    functors = "".join(
        f"""
struct {kernel.name}_functor_{index} {{
  template <class... Arguments>
  DEVICE auto operator()(Arguments... arguments) const {{ return {name}(arguments...); }}
}};
"""
        for index, name in enumerate(functions)
    )
    return f"""{functors}
DEVICE void {kernel.name}_in_step(const Call& call, Scratch* scratch) {{
  kernel_template::{kernel.template}<Number>(call, scratch{functor_arguments});
}}

extern "C" __global__ void __launch_bounds__({THREADS}, 1)
{kernel.name}(const Call* calls, long long index, Scratch* scratch) {{
  kernel_template::{kernel.template}<Number>(calls[index], scratch{functor_arguments});
}}
"""


def _run_steps_source() -> str:
    cases = "\n".join(
        f"        case {code}: {name}_in_step(call, scratch); break;" for name, code in KERNEL_CODES.items()
    )
    return f"""
extern "C" __global__ void __launch_bounds__({STEP_THREADS}, 1)
{RUN_STEPS}(const Call* calls, long long count, long long steps, Scratch* scratch) {{
  for (long long step = 0; step < steps; ++step) {{
    for (long long index = 0; index < count; ++index) {{
      const Call& call = calls[index];
      switch (call.code) {{
{cases}
      }}
      __syncthreads();
    }}
  }}
}}
"""
