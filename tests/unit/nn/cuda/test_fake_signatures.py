"""The installed CuPy has everything that the fake has: the same names, parameters and values of constants."""

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

from tests.fakes.load import load_fake_cupy

pytestmark = pytest.mark.skipif(find_spec("cupy") is None, reason="CuPy is not installed")
MODULES = ("", "cuda", *(f"cuda.{name}" for name in ("compiler", "device", "driver", "memory", "pinned_memory")))
MODULES += ("cuda.runtime", "cuda.stream")
CUBLAS = "cuda.cublas"
OPERATORS = ("__call__", "__len__", "__array__", "__enter__")
SIGNATURE = re.compile(r"\((?P<parameters>[^()]*(?:\([^()]*\)[^()]*)*)\)")
Parameters = list[tuple[str, bool, bool]]


def read_parameters(function: Any) -> Parameters:
    """Return (name, keyword-only, optional) of each parameter. Functions of Cython state them only in docstrings."""
    with suppress(ValueError):
        parameters = inspect.signature(function).parameters.values()
        if all(parameter.kind != inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            return inspect_parameters(function)
    return parse_docstring(function)


def parse_docstring(function: Any) -> Parameters:
    docstring = function.__doc__ or function.__init__.__doc__ or ""
    # The first signature may be a wrapper's; the last one is that of the function.
    signatures = [match["parameters"] for line in docstring.splitlines()[:3] if (match := SIGNATURE.search(line))]
    assert signatures, f"{function} does not document its parameters"
    parameters, keyword_only = [], False
    for parameter in signatures[-1].replace("\\", "").split(","):
        name, _, default = (text.strip() for text in parameter.partition("="))
        if name == "*":
            keyword_only = True
        elif name:
            parameters.append((name.split()[-1].lstrip("*"), keyword_only, bool(default)))
    return parameters


def inspect_parameters(function: Any) -> Parameters:
    return [
        (name, parameter.kind == inspect.Parameter.KEYWORD_ONLY, parameter.default is not inspect.Parameter.empty)
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
    ]


def public_objects(module: ModuleType) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """Yield name, object and names of members of each public object of a module, except modules."""
    for name in module.__all__:
        public_object = getattr(module, name)
        if isinstance(public_object, ModuleType):
            continue
        members = (
            tuple(member for member in vars(public_object) if not member.startswith("_") or member in OPERATORS)
            if isinstance(public_object, type)
            else ()
        )
        yield name, public_object, members


def exception_bases(class_: type) -> list[str]:
    return [base.__name__ for base in class_.__mro__[1:] if issubclass(base, Exception)]


def check_compatibility(fake: Any, real: Any, path: str) -> None:
    """Check that CuPy accepts every call that the fake accepts, and that the fake requires what CuPy requires."""
    if not callable(fake):
        assert isinstance(fake, property) or fake == real, path
        return
    real_parameters = [parameter for parameter in read_parameters(real) if parameter[0] != "self"]
    names = [name for name, _, _ in real_parameters]
    for index, (name, keyword_only, optional) in enumerate(inspect_parameters(fake)):
        assert name in names, f"{path} has no parameter {name}"
        _, really_keyword_only, really_optional = real_parameters[names.index(name)]
        assert keyword_only or (names[index] == name and not really_keyword_only), f"{path}: {name} is in another place"
        assert really_optional or not optional, f"{path} requires {name}"


def check_module(path: str) -> None:
    fake_module = import_module(f"{load_fake_cupy().__name__}.{path}".rstrip("."))
    real_module: Any = import_module("cupy")
    for name in filter(None, path.split(".")):
        real_module = getattr(real_module, name)
    for name, fake, members in public_objects(fake_module):
        object_path = f"cupy.{path}.{name}"
        real = getattr(real_module, name)
        if isinstance(fake, type):
            assert exception_bases(fake) == exception_bases(real), object_path
        # Users of CuPy do not construct its arrays, pointers and errors.
        if name not in ("ndarray", "PinnedMemoryPointer") and not issubclass(
            fake if isinstance(fake, type) else int, RuntimeError
        ):
            check_compatibility(fake, real, object_path)
        for member in members:
            check_compatibility(getattr(fake, member), getattr(real, member), f"{object_path}.{member}")


@pytest.mark.parametrize("path", MODULES)
def test_fake_is_compatible_with_cupy(path: str) -> None:
    check_module(path)


def test_fake_has_the_version_of_the_installed_cupy() -> None:
    assert load_fake_cupy().__version__ == import_module("cupy").__version__


@pytest.mark.skipif(shutil.which("nm") is None, reason="nm, which reads the symbols of a library, is not installed")
def test_fake_cublas_is_compatible_with_cupy(tmp_path: Path) -> None:
    """Compare with CuPy's wrapper, which can be imported if there is a cuBLAS library: here one of empty functions."""
    spec = find_spec("cupy_backends")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    wrapper = next(Path(spec.submodule_search_locations[0]).glob("cuda/libs/cublas.*.so"))
    symbols = subprocess.run(
        ["nm", "-D", "--undefined-only", wrapper], capture_output=True, text=True, check=True
    ).stdout
    names = sorted(set(re.findall(r"\bcublas\w+", symbols)))
    (library,) = set(re.findall(r"@(libcublas\.so\.\d+)", symbols))
    (tmp_path / "empty.c").write_text("".join(f"void {name}(void) {{}}\n" for name in names))
    (tmp_path / "versions").write_text(f"{library} {{ *; }};")
    for name in (library, library.replace("cublas", "cublasLt")):
        link_flags = (
            f"-Wl,-soname,{name}",
            f"-Wl,--version-script={tmp_path / 'versions'}",
            "-o",
            str(tmp_path / name),
        )
        subprocess.run(["g++", "-x", "c", "-shared", "-fPIC", str(tmp_path / "empty.c"), *link_flags], check=True)
    script = f"from {__name__} import check_module; check_module('{CUBLAS}')"
    python_path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": python_path}
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_incompatible_signatures_and_constants_are_detected() -> None:
    real = import_module("cupy")
    for fake in (lambda shape, kind=float: None, lambda dtype, shape: None, lambda shape=1, dtype=float: None):
        with pytest.raises(AssertionError):
            check_compatibility(fake, real.empty, "empty")
    with pytest.raises(AssertionError):
        check_compatibility(lambda a: None, real.cuda.runtime.memcpyAsync, "memcpyAsync")
    with pytest.raises(AssertionError):
        check_compatibility(7, real.cuda.runtime.CUDA_R_64F, "CUDA_R_64F")
