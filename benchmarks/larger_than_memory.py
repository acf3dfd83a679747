"""Training speed on data four times as large as the memory of the process.

    python -m benchmarks.larger_than_memory [--directory DIRECTORY]

A process in a memory control group trains 1024-4096-4096-256 with mini-batches of 1024 and adam on data in DIRECTORY,
which must be on a disk and have room for 5 GiB. Before each round the data are dropped from the page cache. In turn
another process trains on the part of the data that fits into memory. Needs the right to create control groups.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.support.cgroup import require_control_group
from nabla.engine.data.loading import OpenDataset
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.devices import CpuDevice
from nabla.engine.training.shuffling import choose_shuffle_block
from nabla.engine.training.trainer import Trainer

ROUNDS, STEPS, BATCH = 3, 12, 1024
MEMORY_LIMIT = 1280 * 2**20
INPUTS, OUTPUTS = 1024, 256
BYTES_PER_ROW = 4 * (INPUTS + OUTPUTS)
ROWS = 4 * MEMORY_LIMIT // BYTES_PER_ROW
_ROWS_IN_MEMORY = 2**15
_CHUNK_ROWS = 2**14
# Part of the limit; the rest is for parameters, moments and buffers.
_DATA_BYTES = MEMORY_LIMIT // 4
MODES = ("in memory", "in blocks", "in single rows")


def main() -> None:
    """Compare shuffling in memory, in blocks and row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"))
    options = parser.parse_args()
    with ExitStack() as stack:
        group = require_control_group(stack)
        group.set_limit(MEMORY_LIMIT)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.directory)))
        write_arrays(directory)
        print(f"{ROWS} rows, {ROWS * BYTES_PER_ROW / 2**30:.1f} GiB; limit {MEMORY_LIMIT / 2**30:.2f} GiB", flush=True)
        rates: dict[str, list[float]] = {mode: [] for mode in MODES}
        for _ in range(ROUNDS):
            for mode in MODES:
                drop_page_cache(directory)
                rates[mode].append(_measure(directory, mode, None if mode == "in memory" else group.directory))
                print(f"{mode}: {rates[mode][-1]:.0f} rows per second", flush=True)
        reference = statistics.median(rates["in memory"])
        for mode in MODES:
            rate = statistics.median(rates[mode])
            print(f"{mode}: {rate:.0f} rows per second, {rate / reference:.0%}")


def write_arrays(directory: Path) -> None:
    """Write random rows to x.npy and y.npy, synced; no part of a file repeats."""
    generator = np.random.default_rng(1)
    for name, columns in (("x", INPUTS), ("y", OUTPUTS)):
        with (directory / f"{name}.npy").open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (ROWS, columns)}
            np.lib.format.write_array_header_1_0(file, header)
            for first in range(0, ROWS, _CHUNK_ROWS):
                rows = min(_CHUNK_ROWS, ROWS - first)
                if name == "x":
                    chunk = generator.random((rows, INPUTS), np.float32)
                else:
                    chunk = np.eye(OUTPUTS, dtype=np.float32)[generator.integers(0, OUTPUTS, rows)]
                file.write(chunk.tobytes())
            file.flush()
            os.fsync(file.fileno())


def drop_page_cache(directory: Path) -> None:
    """Drop files from the page cache; otherwise it would be charged to another process's group."""
    for file in directory.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _measure(directory: Path, mode: str, group: Path | None) -> float:
    command = [sys.executable, "-c", _CHILD, str(directory), mode, str(group or "")]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


_CHILD = """
import os, sys
directory, mode, group = sys.argv[1:]
if group:
    with open(group + "/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))
from benchmarks.larger_than_memory import train
print(train(directory, mode))
"""


def train(directory: str, mode: str) -> float:
    """Return rows per second over STEPS mini-batches, after the first few."""
    x, y = (np.asarray(np.load(Path(directory) / f"{name}.npy", mmap_mode="r")) for name in "xy")
    if mode == "in memory":
        x, y = (np.array(array[:_ROWS_IN_MEMORY]) for array in (x, y))
    layers = (Layer(4096, "relu"), Layer(4096, "relu"), Layer(OUTPUTS, "softmax"))
    architecture = Architecture(INPUTS, layers, "categorical_cross_entropy")
    block = choose_shuffle_block(len(x), BYTES_PER_ROW, _DATA_BYTES) if mode == "in blocks" else None
    spec = TrainingSpec(1, BATCH, 1e-3, "adam", shuffle_block=block)
    stepper = CpuDevice(len(os.sched_getaffinity(0))).backend_for(architecture, spec, len(x))
    trainer = Trainer(Network(architecture), OpenDataset(x, y), spec, make_backend=stepper)
    first, started = 0, 0.0
    for _ in trainer.run():
        row = trainer.position.row
        if not first:
            first, started = row, time.perf_counter()
        elif row - first >= STEPS * BATCH:
            break
    return (row - first) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
