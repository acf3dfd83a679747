"""Compiles CUDA C++ for the host, once per source, options and compiler, into a cache shared by processes."""

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
_MAX_SHARED_BYTES = 48 << 10
_FLAGS = (
    *("-O1", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-strict-aliasing"),
    *("-w", "-U_FORTIFY_SOURCE", "-fno-stack-protector"),
)
# Options without a counterpart in the host's compiler.
_IGNORED = re.compile(r"--?(fmad|arch|gpu-architecture|use_fast_math|lineinfo|generate-line-info|restrict|dopt)\b.*")
_KERNEL = re.compile(
    r'extern\s+"C"\s+__global__\s+((?:void\b|__launch_bounds__\s*\((?:[^()]|\([^()]*\))*\)|\s)+)(\w+)\s*\('
)
_BOUNDS = re.compile(r"__launch_bounds__\s*\(((?:[^(),]|\([^()]*\))*)")


@cache
def find_compiler() -> tuple[str, str]:
    """Return the path of the C++ compiler and its version."""
    path = shutil.which(os.environ.get("CXX", "g++"))
    if path is None:
        raise FileNotFoundError("The fake CuPy needs a C++ compiler: install g++, or name a compiler in CXX.")
    version = subprocess.run([path, "--version"], check=True, capture_output=True, text=True).stdout
    return path, version


def compile_library(code: str, options: tuple[str, ...]) -> ctypes.CDLL:
    """Compile a source to a library with each kernel's signature, its launch bound and a function that calls it."""
    flags = _translate_options(code, options)
    support = b"".join(path.read_bytes() for path in sorted(_INCLUDE.iterdir()))
    key = (code, *_FLAGS, *flags, *find_compiler(), support.decode())
    path = _CACHE / (hashlib.sha256("\0".join(key).encode()).hexdigest() + ".so")
    if not path.exists():
        _build(code, options, flags, path)
    library = ctypes.CDLL(str(path))
    library.nabla_shared_bytes.restype = ctypes.c_longlong
    # The use of each kernel is unknown, but if the total is too large for all of them, one uses too much.
    if library.nabla_shared_bytes() > _MAX_SHARED_BYTES * library.nabla_kernels():
        message = f"A kernel uses too much shared data: {library.nabla_shared_bytes()} bytes in all."
        raise CompileException(message, code, "kernels.cu", options)
    return library


def _translate_options(code: str, options: tuple[str, ...]) -> list[str]:
    """Return NVRTC's options as flags of the host's compiler."""
    flags, standard = [], "-std=c++17"
    for option in options:
        if re.fullmatch(r"--?std=c\+\+(11|14|17|20)", option):
            # The code around the source needs C++17.
            standard = f"-{option.lstrip('-')}" if option.endswith("20") else standard
        elif re.match(r"-D\w", option):
            flags.append(option)
        elif not _IGNORED.fullmatch(option):
            raise CompileException(f"The fake does not support the option {option}.", code, "kernels.cu", options)
    return [standard, *flags]


def _build(code: str, options: tuple[str, ...], flags: Sequence[str], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        directory = Path(name)
        cuda_source, host_source = directory / "kernels.cu", directory / "kernels.cpp"
        library = directory / "kernels.so"
        cuda_source.write_text(code)

        def run_compiler(*arguments: str) -> str:
            result = subprocess.run(
                [find_compiler()[0], *flags, *arguments], capture_output=True, text=True, cwd=directory, check=False
            )
            if result.returncode:
                raise CompileException(result.stderr, code, "kernels.cu", options)
            return result.stdout

        # Like NVRTC, without the host's headers: only those beside this file.
        preprocessed = run_compiler("-E", "-nostdinc", f"-I{_INCLUDE}", "-x", "c++", cuda_source.name)
        host_source.write_text(_wrap_source(preprocessed))
        threads = str(_INCLUDE / "threads.cpp")
        run_compiler(*_FLAGS, "-shared", f"-I{_INCLUDE}", host_source.name, threads, "-o", library.name)
        library.replace(path)


def _wrap_source(text: str) -> str:
    """Put a source into an anonymous namespace, away from names of the host's libraries, and export its kernels."""
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
