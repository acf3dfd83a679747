"""Formulas as CUDA C++: each stays written once, in Python, and a GPU runs the same.

A formula becomes a template whose types the C++ compiler infers, as Numba infers them. Only what formulas use is
understood: arithmetic on numbers, elements of vectors, conditions, and calls of other formulas. Anything else is
refused when the source is made, which is before anything runs.
"""

import ast
import inspect
import math
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.nn import elementary
from engine.nn.compiling import scalar

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
    elementary.exp: "::exp",
    elementary.expm1: "::expm1",
    elementary.tanh: "::tanh",
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
