"""Whatever the stand-in offers, the installed CuPy has: by name, with those parameters, and constants of that value."""

import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.fakes.load import standin

pytestmark = pytest.mark.skipif(find_spec("cupy") is None, reason="CuPy is not installed")
MODULES = ("", "cuda", *(f"cuda.{name}" for name in ("compiler", "device", "driver", "memory", "pinned_memory")))
MODULES += ("cuda.runtime", "cuda.stream")
CUBLAS = "cuda.cublas"
OPERATORS = ("__call__", "__len__", "__array__", "__enter__")
SYNTAX = re.compile(r"\((?P<parameters>[^()]*(?:\([^()]*\)[^()]*)*)\)")
Parameters = list[tuple[str, bool, bool]]


def parameters_of(thing: Any) -> Parameters:
    """Names, whether they go by name only, and whether they may be left out; Cython says them in words alone."""
    with suppress(ValueError):
        parameters = inspect.signature(thing).parameters.values()
        if all(one.kind != inspect.Parameter.VAR_KEYWORD for one in parameters):
            return listed(thing)
    return documented(thing)


def documented(thing: Any) -> Parameters:
    text = thing.__doc__ or thing.__init__.__doc__ or ""
    # Where the first signature is that of the wrapper, the second says more.
    found = [match["parameters"] for line in text.splitlines()[:3] if (match := SYNTAX.search(line))]
    assert found, f"{thing} says nothing of its parameters"
    parameters, by_name = [], False
    for part in found[-1].replace("\\", "").split(","):
        name, _, default = (piece.strip() for piece in part.partition("="))
        if name == "*":
            by_name = True
        elif name:
            parameters.append((name.split()[-1].lstrip("*"), by_name, bool(default)))
    return parameters


def listed(thing: Any) -> Parameters:
    return [
        (name, one.kind == inspect.Parameter.KEYWORD_ONLY, one.default is not inspect.Parameter.empty)
        for name, one in inspect.signature(thing).parameters.items()
        if name != "self"
    ]


def things(module: ModuleType) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """Each name that a module of the stand-in offers, and of a class its methods and properties."""
    for name in module.__all__:
        thing = getattr(module, name)
        if isinstance(thing, ModuleType):
            continue
        members = (
            tuple(one for one in vars(thing) if not one.startswith("_") or one in OPERATORS)
            if isinstance(thing, type)
            else ()
        )
        yield name, thing, members


def compare(mine: Any, real: Any, where: str) -> None:
    """A call that the stand-in accepts, CuPy accepts; what must be given to CuPy, the stand-in demands."""
    if not callable(mine):
        assert isinstance(mine, property) or mine == real, where
        return
    theirs = [one for one in parameters_of(real) if one[0] != "self"]
    names = [name for name, _, _ in theirs]
    for at, (name, by_name, optional) in enumerate(listed(mine)):
        assert name in names, f"{where} has no parameter {name}"
        _, only_by_name, may_be_left_out = theirs[names.index(name)]
        assert by_name or (names[at] == name and not only_by_name), f"{where} has {name} elsewhere"
        assert may_be_left_out or not optional, f"{where} demands {name}"


def differences(path: str) -> None:
    mine = import_module(f"{standin().__name__}.{path}".rstrip("."))
    real: Any = import_module("cupy")
    for part in filter(None, path.split(".")):
        real = getattr(real, part)
    for name, thing, members in things(mine):
        if name == "accounts":
            continue
        where = f"cupy.{path}.{name}"
        theirs = getattr(real, name)
        if isinstance(thing, type):
            assert [base.__name__ for base in thing.__mro__[1:] if issubclass(base, Exception)] == [
                base.__name__ for base in theirs.__mro__[1:] if issubclass(base, Exception)
            ], where
        # CuPy's own classes of arrays and kernels are not made by their users.
        if name not in ("ndarray", "PinnedMemoryPointer") and not issubclass(
            thing if isinstance(thing, type) else int, RuntimeError
        ):
            compare(thing, theirs, where)
        for member in members:
            compare(getattr(thing, member), getattr(theirs, member), f"{where}.{member}")


@pytest.mark.parametrize("path", MODULES)
def test_what_the_stand_in_offers_is_in_cupy(path: str) -> None:
    differences(path)


def test_the_version_is_that_of_the_installed_cupy() -> None:
    assert standin().__version__ == import_module("cupy").__version__


@pytest.mark.skipif(shutil.which("nm") is None, reason="nm, which reads the names in a library, is not installed")
def test_cublas_too(tmp_path: Path) -> None:
    """CuPy's module needs the library to be there: one of its name, in which nothing does anything, is enough."""
    spec = find_spec("cupy_backends")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    wrapper = next(Path(spec.submodule_search_locations[0]).glob("cuda/libs/cublas.*.so"))
    needed = subprocess.run(
        ["nm", "-D", "--undefined-only", wrapper], capture_output=True, text=True, check=True
    ).stdout
    names = sorted(set(re.findall(r"\bcublas\w+", needed)))
    (library,) = set(re.findall(r"@(libcublas\.so\.\d+)", needed))
    (tmp_path / "empty.c").write_text("".join(f"void {name}(void) {{}}\n" for name in names))
    (tmp_path / "versions").write_text(f"{library} {{ *; }};")
    for name in (library, library.replace("cublas", "cublasLt")):
        linking = (f"-Wl,-soname,{name}", f"-Wl,--version-script={tmp_path / 'versions'}", "-o", str(tmp_path / name))
        subprocess.run(["g++", "-x", "c", "-shared", "-fPIC", str(tmp_path / "empty.c"), *linking], check=True)
    script = f"from {__name__} import differences; differences('{CUBLAS}')"
    settings = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", script], env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_difference_is_found() -> None:
    """The comparison itself, on what differs."""
    real = import_module("cupy")
    for wrong in (lambda shape, kind=float: None, lambda dtype, shape: None, lambda shape=1, dtype=float: None):
        with pytest.raises(AssertionError):
            compare(wrong, real.empty, "empty")
    with pytest.raises(AssertionError):
        compare(lambda a: None, real.cuda.runtime.memcpyAsync, "memcpyAsync")
    with pytest.raises(AssertionError):
        compare(7, real.cuda.runtime.CUDA_R_64F, "CUDA_R_64F")
