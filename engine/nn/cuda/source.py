"""The CUDA C++ of every kernel, put together from patterns and formulas."""

import functools
import re
from pathlib import Path

from engine.names import DtypeName
from engine.nn import optimizers, plan, random, steps
from engine.nn.compiling import formula_called
from engine.nn.cuda.transpile import Formulas
from engine.nn.kernel import KERNELS, Kernel

# Importing the steps has registered all that a step can call.
assert steps

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
_WORDS = ("arrays", "ways")
# What a GPU does in parallel where the CPU loops. Every pattern has the arguments of the kernels that are made of it,
# in their order, as a Call. It is right for any number of blocks and threads, as long as the threads of a block are a
# power of two of at least 32. Sums are taken in an order that depends on these numbers alone, so that the same run
# gives the same bits.
_PATTERNS = ("activations", "costs", "steps", "layers", "products", "penalties", "optimizers")
_NUMBERS: dict[DtypeName, str] = {"float32": "float", "float64": "double"}
_CONSTANTS = {
    "COST": plan.COST,
    "CORRECT": plan.CORRECT,
    "ERRORS": plan.ERRORS,
    "FIRST": plan.FIRST,
    "NEXT": plan.NEXT,
    "STEP": optimizers.STEP,
    "COEFFICIENTS": optimizers.COEFFICIENTS,
    "DROPOUT": random.DROPOUT,
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
    words, ways = (_text(name) for name in _WORDS)
    patterns = "namespace pattern {\n\n" + "\n".join(map(_text, _PATTERNS)) + "\n}  // namespace pattern\n"
    for name in re.findall(r"formula::(\w+)", patterns):
        formulas.add(formula_called(name))
    constants = [f"const int {name} = {value};" for name, value in _CONSTANTS.items()]
    head = "\n".join([f"typedef {_NUMBERS[dtype]} Number;", *constants, ""])
    return "\n".join([head, words, formulas.source, ways, patterns, *kernels, _steps_kernel()])


def _text(name: str) -> str:
    return (_KERNELS / f"{name}.cu").read_text()


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
