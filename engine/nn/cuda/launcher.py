"""Recorded steps on a device: kernel by kernel, or many steps by one kernel."""

import itertools
from typing import Any, NamedTuple

import numpy as np

from nabla.engine.literals import Precision
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.cuda.codegen import MAKE_STEPS, STEP_THREADS, THREADS, source
from nabla.engine.nn.cuda.cublas import PRODUCTS, Products
from nabla.engine.nn.cuda.tracing import SCRATCH_BYTES, Call, Recorded, Recording

# Up to so many multiply-adds, one block makes a step sooner than the host can launch its kernels. An estimate: each
# needs two numbers, of which a block loads 32 per clock where it finds them side by side.
MOST_IN_ONE_BLOCK = 500_000
# A block makes so many steps at most before the host has a word again.
_STEPS_AT_ONCE = 1000


def multiply_adds(architecture: Architecture, rows: int) -> int:
    """Of the products of a step: three for each layer, but the first has no deltas to pass on."""
    weights = [inputs * units for inputs, units in architecture.shapes]
    return rows * (3 * sum(weights) - weights[0])


class Program(NamedTuple):
    """A recorded step on the device. `launches`: functions and their arguments, to make it kernel by kernel."""

    calls: Any
    length: int
    launches: tuple[tuple[Any, tuple[Any, ...]], ...]


class Launcher:
    """Makes steps of at most so many rows of networks of an architecture, on the current stream."""

    def __init__(
        self, cupy: Any, architecture: Architecture, rows: int, precision: Precision, in_one_block: bool | None
    ) -> None:
        """`in_one_block`: whether one kernel makes whole steps; by default small networks' are."""
        self._cupy = cupy
        self._module = cupy.RawModule(code=source(architecture.dtype), options=("-std=c++17",))
        self._products = Products(cupy, architecture.dtype, precision)
        self._make_steps = self._module.get_function(MAKE_STEPS)
        self._scratch = cupy.zeros(SCRATCH_BYTES, np.uint8)
        self._halved = precision == "half"
        sizes = sizes_of_operands(architecture, rows) if self._halved else (0, 0)
        self._halves = [cupy.zeros(size, np.uint16) for size in sizes]
        if in_one_block is None:
            in_one_block = multiply_adds(architecture, rows) <= MOST_IN_ONE_BLOCK
        self._in_one_block = in_one_block and precision == "full"

    def program(self, recording: Recording) -> Program:
        """Bring what was recorded to the device."""
        if self._halved:
            recording = self._with_halved_operands(recording)
        program = recording.program()
        calls = self._cupy.empty(program.nbytes, np.uint8)
        calls.set(program.view(np.uint8))
        launches = tuple(self._launch(call, calls, at) for at, call in enumerate(recording.calls))
        return Program(calls, len(program), launches)

    def run(self, program: Program, times: int) -> None:
        """Make the step so many times."""
        if self._in_one_block:
            for made in range(0, times, _STEPS_AT_ONCE):
                steps = min(_STEPS_AT_ONCE, times - made)
                self._make_steps((1,), (STEP_THREADS,), (program.calls, program.length, steps, self._scratch))
            return
        for _ in range(times):
            for launch, arguments in program.launches:
                launch(*arguments)

    def _launch(self, call: Call, calls: Any, at: int) -> tuple[Any, tuple[Any, ...]]:
        if call.kernel.name not in PRODUCTS:
            kernel = self._module.get_function(call.kernel.name)
            return kernel, ((call.blocks,), (THREADS,), (calls, at, self._scratch))
        operands, scale = (call.arrays[0], call.arrays[1]), 1.0
        if self._halved:
            operands = self._half_of(operands[0], 0), self._half_of(operands[1], 1)
            scale = _scale(call, 0)
        return self._products.make, (self._products.arguments(call, operands, scale),)

    def _half_of(self, operand: Recorded, place: int) -> Recorded:
        """Where an operand lies when it is rounded."""
        room = self._halves[place]
        return Recording().array(room)[0 : operand.size].reshape(*operand.shape)

    def _with_halved_operands(self, recording: Recording) -> Recording:
        """The same calls, and before each product those that round its operands."""
        extended = Recording()
        for call in recording.calls:
            if call.kernel.name in PRODUCTS:
                for place, operand in enumerate(call.arrays[:2]):
                    half = self._half_of(operand, place)
                    extended.record("round_to_half", (operand, half, _scale(call, place)))
            extended.calls.append(call)
        return extended


def _scale(call: Call, place: int) -> float:
    """Deltas have the factor 1/m, which would take small ones below what 16 bits can hold: a power of two makes up for
    it."""
    is_delta = place == 0 and call.kernel.name != "multiply_by_transpose"
    return float(2 ** (call.arrays[0].shape[0] - 1).bit_length()) if is_delta else 1.0


def sizes_of_operands(architecture: Architecture, rows: int) -> tuple[int, int]:
    """The largest first and second operands of a product: those with rows of the mini-batch, and of any kind."""
    of_rows = rows * max(itertools.chain.from_iterable(architecture.shapes))
    of_weights = max(inputs * units for inputs, units in architecture.shapes)
    return of_rows, max(of_rows, of_weights)
