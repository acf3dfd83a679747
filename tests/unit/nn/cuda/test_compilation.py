"""Every kernel that can be launched is compiled here for three kinds of GPU, without one."""

import re
from typing import Any

import pytest

from nabla.engine.literals import DtypeName
from nabla.engine.nn.cuda.codegen import MAKE_STEPS, source
from nabla.engine.nn.jit import KERNELS

nvrtc: Any = pytest.importorskip("cupy", reason="needs CuPy and NVRTC, which the test requirements have").cuda.nvrtc

# Turing, Hopper and Blackwell: the oldest that is supported, one between, and the newest.
COMPILED: tuple[tuple[int, DtypeName], ...] = ((75, "float32"), (90, "float64"), (120, "float32"))
_PROPERTIES = re.compile(
    r"Compiling entry function '(\w+)'.*?bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads.*?"
    r"Used (\d+) registers",
    re.DOTALL,
)


def log_of(text: str, architecture: int) -> str:
    program = nvrtc.createProgram(text, "kernels.cu", (), ())
    # As CuPy asks for it, and for a report.
    options = ("-std=c++17", "-ftz=true", "--device-as-default-execution-space", "--ptxas-options=-v")
    try:
        nvrtc.compileProgram(program, (f"-arch=sm_{architecture}", *options))
    except nvrtc.NVRTCError as problem:
        raise AssertionError(nvrtc.getProgramLog(program)) from problem
    log: str = nvrtc.getProgramLog(program)
    return log


@pytest.mark.parametrize(("architecture", "dtype"), COMPILED)
def test_all_kernels_compile_and_none_spills(architecture: int, dtype: DtypeName) -> None:
    log = log_of(source(dtype), architecture)
    found = {name: (int(stores), int(loads)) for name, stores, loads, _ in _PROPERTIES.findall(log)}
    assert found.keys() == {*KERNELS, MAKE_STEPS}
    assert {name for name, spilled in found.items() if spilled != (0, 0)} == set()
    # Neither does a function that kernels call.
    assert set(re.findall(r"(\d+) bytes spill", log)) == {"0"}


def test_a_kernel_that_spills_is_seen() -> None:
    held = "\n".join(f"double v{k} = x[{k}] * x[threadIdx.x];" for k in range(200))
    used = " + ".join(f"v{k} * v{199 - k}" for k in range(200))
    text = f"""extern "C" __global__ void __launch_bounds__(1024, 1) wide(double* x) {{
        {held} __syncthreads(); x[threadIdx.x] = {used}; }}"""
    assert set(re.findall(r"(\d+) bytes spill", log_of(text, 80))) != {"0"}


def test_a_kernel_that_is_wrong_is_seen() -> None:
    with pytest.raises(AssertionError, match="undefined"):
        log_of(source("float32").replace("return a / b;", "return a / c;"), 80)
