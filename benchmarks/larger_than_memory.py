"""How fast a run is whose data are four times as large as the memory that it may use.

    python -m benchmarks.larger_than_memory [--folder FOLDER]

A process in a memory control group of its own trains 1024-4096-4096-256 with mini-batches of 1024 and adam on data in
FOLDER, which has to be on a disk and have room for 5 GiB. Before each round nothing of the data is in memory. In turn
another process trains on as much of the data as stays in memory. Needs the right to make control groups.
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

from benchmarks.control_group import needed
from nabla.engine.data.loading import OpenDataset
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.devices import Cpu, compile_training
from nabla.engine.training.shuffling import block_for
from nabla.engine.training.trainer import Trainer

ROUNDS, STEPS, BATCH = 3, 12, 1024
LIMIT = 1280 * 2**20
INPUTS, OUTPUTS = 1024, 256
BYTES_OF_ROW = 4 * (INPUTS + OUTPUTS)
ROWS = 4 * LIMIT // BYTES_OF_ROW
ROWS_IN_MEMORY = 2**15
# Beside parameters, moments and buffers there is so much of the limit left for data.
BYTES_HELD = LIMIT // 4
KINDS = ("in memory", "in blocks", "in single rows")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"))
    with ExitStack() as stack:
        group = needed(stack)
        group.limit(LIMIT)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=parser.parse_args().folder)))
        write(folder)
        print(f"{ROWS} rows, {ROWS * BYTES_OF_ROW / 2**30:.1f} GiB; limit {LIMIT / 2**30:.2f} GiB", flush=True)
        rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(ROUNDS):
            for kind in KINDS:
                forget(folder)
                rates[kind].append(measured(folder, kind, None if kind == "in memory" else group.folder))
                print(f"{kind}: {rates[kind][-1]:.0f} rows per second", flush=True)
        known = statistics.median(rates["in memory"])
        for kind in KINDS:
            rate = statistics.median(rates[kind])
            print(f"{kind}: {rate:.0f} rows per second, {rate / known:.0%}")


def write(folder: Path) -> None:
    """Rows of chance; every part of the file is another one."""
    generator = np.random.default_rng(1)
    at_once = 2**14
    shapes = {"x": (ROWS, INPUTS), "y": (ROWS, OUTPUTS)}
    for name, shape in shapes.items():
        with (folder / f"{name}.npy").open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for first in range(0, ROWS, at_once):
                rows = min(at_once, ROWS - first)
                if name == "x":
                    part = generator.random((rows, INPUTS), np.float32)
                else:
                    part = np.eye(OUTPUTS, dtype=np.float32)[generator.integers(0, OUTPUTS, rows)]
                file.write(part.tobytes())
            file.flush()
            os.fsync(file.fileno())


def forget(folder: Path) -> None:
    """Nothing of the files is in memory afterwards; else it would be there on another process's account."""
    for file in folder.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def measured(folder: Path, kind: str, group: Path | None) -> float:
    command = [sys.executable, "-c", _RUN, str(folder), kind, str(group or "")]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


_RUN = """
import os, sys
folder, kind, group = sys.argv[1:]
if group:
    with open(group + "/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))
from benchmarks.larger_than_memory import rate
print(rate(folder, kind))
"""


def rate(folder: str, kind: str) -> float:
    """Rows per second over STEPS mini-batches, after the first few."""
    x, y = (np.asarray(np.load(Path(folder) / f"{name}.npy", mmap_mode="r")) for name in "xy")
    if kind == "in memory":
        x, y = (np.array(array[:ROWS_IN_MEMORY]) for array in (x, y))
    compile_training()
    layers = (Layer(4096, "relu"), Layer(4096, "relu"), Layer(OUTPUTS, "softmax"))
    architecture = Architecture(INPUTS, layers, "categorical_cross_entropy")
    block = block_for(len(x), BYTES_OF_ROW, BYTES_HELD) if kind == "in blocks" else None
    spec = TrainingSpec(1, BATCH, 1e-3, "adam", shuffle_block=block)
    stepper = Cpu(len(os.sched_getaffinity(0))).stepper_for(architecture, spec, len(x))
    trainer = Trainer(Network(architecture), OpenDataset(x, y), spec, make_stepper=stepper)
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
