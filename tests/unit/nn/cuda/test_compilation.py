"""Every kernel compiles with NVRTC for three GPU architectures. This needs no GPU."""

import re
from typing import Any

import pytest

from nabla.engine.literals import DtypeName
from nabla.engine.nn.cuda.codegen import KERNEL_CODES, RUN_STEPS, source

nvrtc: Any = pytest.importorskip("cupy", reason="needs CuPy and NVRTC, which the test requirements have").cuda.nvrtc

# Turing, Hopper and Blackwell: the oldest architecture supported, one in between and the newest.
TARGETS: tuple[tuple[int, DtypeName], ...] = ((75, "float32"), (90, "float64"), (120, "float32"))
_KERNEL_REPORT = re.compile(
    r"Compiling entry function '(\w+)'.*?bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads.*?"
    r"Used (\d+) registers",
    re.DOTALL,
)


def compile_log(code: str, architecture: int) -> str:
    program = nvrtc.createProgram(code, "kernels.cu", (), ())
    # The options that CuPy passes, and a report of the registers used.
    options = ("-std=c++17", "-ftz=true", "--device-as-default-execution-space", "--ptxas-options=-v")
    try:
        nvrtc.compileProgram(program, (f"-arch=sm_{architecture}", *options))
    except nvrtc.NVRTCError as error:
        raise AssertionError(nvrtc.getProgramLog(program)) from error
    log: str = nvrtc.getProgramLog(program)
    return log


@pytest.mark.parametrize(("architecture", "dtype"), TARGETS)
def test_kernels_compile_without_register_spills(architecture: int, dtype: DtypeName) -> None:
    log = compile_log(source(dtype), architecture)
    spills = {name: (int(stores), int(loads)) for name, stores, loads, _ in _KERNEL_REPORT.findall(log)}
    assert spills.keys() == {*KERNEL_CODES, RUN_STEPS}
    assert {name for name, spilled_bytes in spills.items() if spilled_bytes != (0, 0)} == set()
    # Nor do functions that kernels call.
    assert set(re.findall(r"(\d+) bytes spill", log)) == {"0"}


def test_register_spills_are_detected() -> None:
    loads = "\n".join(f"double v{k} = x[{k}] * x[threadIdx.x];" for k in range(200))
    total = " + ".join(f"v{k} * v{199 - k}" for k in range(200))
    code = f"""extern "C" __global__ void __launch_bounds__(1024, 1) wide(double* x) {{
        {loads} __syncthreads(); x[threadIdx.x] = {total}; }}"""
    assert set(re.findall(r"(\d+) bytes spill", compile_log(code, 80))) != {"0"}


def test_compile_errors_are_detected() -> None:
    with pytest.raises(AssertionError, match="undefined"):
        compile_log(source("float32").replace("return a / b;", "return a / c;"), 80)
