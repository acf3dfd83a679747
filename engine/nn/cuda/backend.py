"""The steps of a run on a GPU.

Everything that they work on is in the device's memory, made once. A step is recorded once, and nothing in it depends on
a number that the host would have to wait for. The host looks at the device when an epoch's sums are wanted, and when
the run is to be saved; in between it only takes care not to be too far ahead, so that the run can be paused.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nabla.engine.literals import Precision
from nabla.engine.nn.array_views import Vector
from nabla.engine.nn.backend import Setup, Totals
from nabla.engine.nn.compiled_layout import COST, Buffers, Rows
from nabla.engine.nn.cuda.data_transfer import CHUNK_BYTES, Resident, Source, Streamed, bytes_of
from nabla.engine.nn.cuda.launcher import Launcher, Program
from nabla.engine.nn.cuda.tracing import Recording
from nabla.engine.nn.regularization import penalize
from nabla.engine.nn.training_step import Examples, Optimization, evaluate_step, train_step

# Of the memory that is free when the buffers are made, data may take this share.
_SHARE_FOR_DATA = 0.8


class Kind(NamedTuple):
    """What a recorded step is right for. `place`: where its rows are."""

    rows: int
    place: int
    trains: bool
    measures_gradient: bool = False
    l1: float = 0.0
    l2: float = 0.0


class CudaStepper:
    """Steps by kernels of our own and products by cuBLAS; small networks by one kernel for many steps."""

    def __init__(
        self,
        setup: Setup,
        *,
        cupy: Any,
        precision: Precision = "full",
        most_bytes_of_data: int | None = None,
        in_one_block: bool | None = None,
    ) -> None:
        """Data that would take more than `most_bytes_of_data` on the device is sent in chunks; by default that is most
        of what is free. `in_one_block`: whether one kernel makes whole steps; by default small networks' are.

        Raises cupy's OutOfMemoryError, a MemoryError.
        """
        self._cupy = cupy
        self._network, self._plan, self._optimization = setup.network, setup.plan, setup.optimization
        self._rows_at_once = rows_at_once = setup.rows_at_once
        architecture = setup.network.architecture
        self.stream = cupy.cuda.Stream(non_blocking=True)
        with self.stream:
            self._launcher = Launcher(cupy, architecture, rows_at_once, precision, in_one_block)
            self._state = [cupy.empty(array.shape, array.dtype) for array in self._host_state]
            self._gradient = cupy.zeros(architecture.parameters, architecture.dtype)
            sizes = architecture.sizes_of_buffers(rows_at_once)
            self._buffers: Any = Buffers(rows_at_once, *(cupy.zeros(size, dtype) for size, dtype in sizes))
            self._settings = cupy.zeros(setup.optimization.settings.shape, np.float64)
            self._rates = cupy.zeros(setup.optimization.rates.shape, np.float64)
            self._penalties = cupy.zeros(self._buffers.totals.shape, np.float64)
            if most_bytes_of_data is None:
                most_bytes_of_data = int(cupy.cuda.runtime.memGetInfo()[0] * _SHARE_FOR_DATA)
            self._room = most_bytes_of_data
            self._training = self._bring(*setup.training)
            self._validation = self._bring(*setup.validation, self._training) if setup.validation else None
            self.push()
            self.stream.synchronize()
        self._programs: dict[Kind, Program] = {}
        self._next = -1
        self._where = np.zeros(2, np.int64)
        self._made = [cupy.cuda.Event(block=True, disable_timing=True) for _ in range(2)]

    @property
    def _host_state(self) -> list[npt.NDArray[Any]]:
        network, optimization = self._network, self._optimization
        return [network.parameters, network.statistics, optimization.moments, optimization.memory]

    def _bring(self, examples: Examples, rows: Rows, other: Source | None = None) -> Source:
        """All of it to the device, if there is room, or room for two chunks. `other` may be of the same dataset."""
        same = isinstance(other, Resident) and other.host.x is examples.x
        wanted = 8 * len(rows) if same else bytes_of(examples, len(rows))
        if wanted <= self._room:
            self._room -= wanted
            return Resident(self._cupy, examples, rows, other if isinstance(other, Resident) and same else None)
        self._room -= 8 * len(rows)
        bytes_of_step = self._rows_at_once * max(1, bytes_of(examples, 0) // len(examples.x))
        steps = max(1, min(CHUNK_BYTES, self._room // 4) // bytes_of_step)
        chunk = min(steps, -(-len(rows) // self._rows_at_once)) * self._rows_at_once
        self._room -= 2 * chunk * (bytes_of_step // self._rows_at_once)
        return Streamed(self._cupy, examples, rows, chunk)

    def begin_epoch(self, order: Rows, optimization: Optimization) -> None:
        self._optimization = optimization
        with self.stream:
            self._training.begin(order)
            if self._settings.size:
                self._settings.set(optimization.settings)
            self._rates.set(optimization.rates)
            for kind in self._kinds(self._training, trains=True):
                self._prepare(kind, self._training)
            if self._validation is not None:
                for kind in self._kinds(self._validation, trains=False):
                    self._prepare(kind, self._validation)
            # What was sent came from memory that may now be written again.
            self.stream.synchronize()

    def _kinds(self, source: Source, *, trains: bool) -> set[Kind]:
        """Of all steps on these rows: whole ones, and the last."""
        last = (source.rows - 1) // self._rows_at_once * self._rows_at_once
        return {
            self._kind(source, first, place, trains=trains)
            for place in range(len(source.places))
            for first in (0, last)
        }

    def _kind(self, source: Source, first: int, place: int, *, trains: bool) -> Kind:
        """Of the step that begins with this row of the order."""
        left = source.rows - first
        rows = min(left, self._rows_at_once)
        if not trains:
            return Kind(rows, place, trains=False)
        return Kind(rows, place, True, left <= self._rows_at_once, self._optimization.l1, self._optimization.l2)

    def _prepare(self, kind: Kind, source: Source) -> None:
        if kind not in self._programs:
            self._programs[kind] = self._launcher.program(self._record(kind, source))

    def _record(self, kind: Kind, source: Source) -> Recording:
        recording = Recording()

        def recorded(array: Any) -> Any:
            return recording.array(array)

        parameters, statistics, moments, memory = map(recorded, self._state)
        buffers = Buffers(self._rows_at_once, *map(recorded, self._buffers[1:]))
        place = source.places[kind.place]
        examples, order = Examples(*map(recorded, place.examples)), recorded(place.order)
        if not kind.trains:
            evaluate_step(parameters, statistics, self._plan, buffers, examples, order, kind.rows)
            return recording
        train_step(
            parameters,
            statistics,
            recorded(self._gradient),
            self._optimization._replace(
                settings=recorded(self._settings), moments=moments, memory=memory, rates=recorded(self._rates)
            ),
            self._plan,
            buffers,
            examples,
            order,
            kind.rows,
            kind.measures_gradient,
        )
        return recording

    def train(self, first: int, last: int) -> None:
        self._run(self._training, first, last, trains=True)

    def evaluate(self, first: int, last: int) -> None:
        assert self._validation is not None
        self._run(self._validation, first, last, trains=False)

    def _run(self, source: Source, first: int, last: int, *, trains: bool) -> None:
        batch = self._rows_at_once
        with self.stream:
            self._go_to(first)
            for start, end, place in source.chunks(first, last):
                # The last step of all may be another one than those before it.
                alike = (end - start) // batch if end < source.rows else (end - start - 1) // batch
                if alike:
                    self._launcher.run(self._programs[self._kind(source, start, place, trains=trains)], alike)
                if start + alike * batch < end:
                    kind = self._kind(source, start + alike * batch, place, trains=trains)
                    self._launcher.run(self._programs[kind], 1)
                source.done(place)
        self._next = last

    def _go_to(self, first: int) -> None:
        """The device knows where it is; it is told only where a pass begins, or a run goes on in the middle of one."""
        if first == 0:
            self._buffers.place.fill(0)
        elif first != self._next:
            self._where = np.array([first, first], np.int64)  # kept until it has been read
            self._buffers.place.set(self._where)

    def keep_pace(self) -> None:
        self._made.reverse()
        with self.stream:
            self._made[0].record(self.stream)
        self._made[1].synchronize()

    def read_totals(self) -> Totals:
        totals: Totals = self._buffers.totals.get(stream=self.stream)
        return totals

    def write_totals(self, totals: npt.ArrayLike) -> None:
        wanted = np.zeros(self._buffers.totals.shape)
        wanted[:] = totals
        with self.stream:
            if wanted.any():
                self._buffers.totals.set(wanted)
                self.stream.synchronize()
            else:
                self._buffers.totals.fill(0)

    def cost_so_far(self) -> None:
        """It would have to be waited for."""

    def gradient(self) -> Vector:
        gradient: Vector = self._gradient.get(stream=self.stream)
        return gradient

    def penalty(self) -> float:
        recording = Recording()
        parameters, gradient, totals = map(recording.array, (self._state[0], self._gradient, self._penalties))
        l1, l2 = self._optimization.l1, self._optimization.l2
        penalize(parameters, gradient, self._plan.layers, totals, l1, l2, 1)  # type: ignore[arg-type]  # recorded
        with self.stream:
            self._penalties.fill(0)
            self._launcher.run(self._launcher.program(recording), 1)
        return float(self._penalties.get(stream=self.stream)[COST])

    def fetch(self) -> None:
        for host, device in zip(self._host_state, self._state, strict=True):
            if host.size:
                device.get(stream=self.stream, out=host)

    def push(self) -> None:
        with self.stream:
            for host, device in zip(self._host_state, self._state, strict=True):
                if host.size:
                    device.set(host)
