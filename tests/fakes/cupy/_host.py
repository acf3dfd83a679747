"""CUDA C++ compiled for the host, once per source, options and compiler, into a folder that processes share."""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from .cuda.compiler import CompileException

_INCLUDE = Path(__file__).parent / "include"
_CACHE = Path(__file__).parent / "__pycache__" / "kernels"
_SHARED_MOST = 48 << 10
_FLAGS = (
    *("-O1", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-strict-aliasing"),
    *("-w", "-U_FORTIFY_SOURCE", "-fno-stack-protector"),
)
# They choose what the host's compiler has no choice in.
_IGNORED = re.compile(r"--?(fmad|arch|gpu-architecture|use_fast_math|lineinfo|generate-line-info|restrict|dopt)\b.*")
_KERNEL = re.compile(
    r'extern\s+"C"\s+__global__\s+((?:void\b|__launch_bounds__\s*\((?:[^()]|\([^()]*\))*\)|\s)+)(\w+)\s*\('
)
_BOUNDS = re.compile(r"__launch_bounds__\s*\(((?:[^(),]|\([^()]*\))*)")


@cache
def compiler() -> tuple[str, str]:
    """The C++ compiler and its version."""
    found = shutil.which(os.environ.get("CXX", "g++"))
    if found is None:
        raise FileNotFoundError("The stand-in for CuPy needs a C++ compiler: install g++, or name one in CXX.")
    version = subprocess.run([found, "--version"], check=True, capture_output=True, text=True).stdout
    return found, version


def library(code: str, options: tuple[str, ...]) -> ctypes.CDLL:
    """The source as a library with, for each kernel, its signature, its bound and a function that calls it."""
    flags = _translated(code, options)
    support = b"".join(path.read_bytes() for path in sorted(_INCLUDE.iterdir()))
    parts = (code, *_FLAGS, *flags, *compiler(), support.decode())
    path = _CACHE / (hashlib.sha256("\0".join(parts).encode()).hexdigest() + ".so")
    if not path.exists():
        _build(code, options, flags, path)
    found = ctypes.CDLL(str(path))
    found.nabla_shared_bytes.restype = ctypes.c_longlong
    # Which kernel uses what is not known here, only that one of them must use too much.
    if found.nabla_shared_bytes() > _SHARED_MOST * found.nabla_kernels():
        message = f"A kernel uses too much shared data: {found.nabla_shared_bytes()} bytes in all."
        raise CompileException(message, code, "kernels.cu", options)
    return found


def _translated(code: str, options: tuple[str, ...]) -> list[str]:
    flags, standard = [], "-std=c++17"
    for option in options:
        if re.fullmatch(r"--?std=c\+\+(11|14|17|20)", option):
            # The code that surrounds the source needs C++17.
            standard = f"-{option.lstrip('-')}" if option.endswith("20") else standard
        elif re.match(r"-D\w", option):
            flags.append(option)
        elif not _IGNORED.fullmatch(option):
            raise CompileException(f"The stand-in does not know the option {option}.", code, "kernels.cu", options)
    return [standard, *flags]


def _build(code: str, options: tuple[str, ...], flags: Sequence[str], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        folder = Path(name)
        source, whole, built = folder / "kernels.cu", folder / "kernels.cpp", folder / "kernels.so"
        source.write_text(code)

        def ran(*arguments: str) -> str:
            done = subprocess.run(
                [compiler()[0], *flags, *arguments], capture_output=True, text=True, cwd=folder, check=False
            )
            if done.returncode:
                raise CompileException(done.stderr, code, "kernels.cu", options)
            return done.stdout

        # As NVRTC, without the headers of the host: only those that lie beside this file.
        text = ran("-E", "-nostdinc", f"-I{_INCLUDE}", "-x", "c++", source.name)
        whole.write_text(_surrounded(text))
        ran(*_FLAGS, "-shared", f"-I{_INCLUDE}", whole.name, str(_INCLUDE / "threads.cpp"), "-o", built.name)
        built.replace(path)


def _surrounded(text: str) -> str:
    """All in a namespace without a name, so that no name of the source meets one of the host's libraries."""
    exported = 'extern "C" __attribute__((visibility("default")))'
    kernels = _KERNEL.findall(text)
    entries = [f"{exported} int nabla_kernels() {{ return {len(kernels)}; }}\n"]
    for attributes, name in kernels:
        bounds = _BOUNDS.search(attributes)
        entries.append(
            f"{exported} const int* nabla_signature_{name}() {{ return Entry<{name}>::signature(); }}\n"
            f"{exported} void nabla_enter_{name}(void** arguments) {{ Entry<{name}>::enter(arguments); }}\n"
            f"{exported} int nabla_bound_{name}() {{ return {bounds[1] if bounds else 1024}; }}\n"
        )
    return '#include "cuda_on_host.h"\nnamespace {\n' + text + "\n}\n" + "".join(entries)
