"""Training speed beside JAX, PyTorch and scikit-learn, and above the matrix products alone.

    python -m benchmarks.training [--rounds 7] [--workload 0 …]

Each contestant has one process for the whole benchmark. They train an epoch in turn, so that what else the machine does
meets all alike; the table has the median of the rounds, with the share by which the middle half of them spreads.
OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE, where set, are unset for all alike.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

from benchmarks.contestants import CONTESTANTS
from benchmarks.workloads import WORKLOADS, Workload

# BLAS threads go on turning for a tenth of a second after their last product, at the cost of whoever comes next.
_REST = 0.3

_MODULES = {"nabla": "nabla", "gemm": "numba", "jax": "jax", "pytorch": "torch", "scikit-learn": "sklearn"}


class Contestant:
    """A process that trains an epoch when it is asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        without = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contestants", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if name not in without},
        )

    def epoch(self, workload: int) -> float:
        """Seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(workload, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def compare(contestants: list[Contestant], number: int, rounds: int) -> dict[str, list[float]]:
    """Microseconds per step, for each contestant in each round."""
    steps = WORKLOADS[number].steps
    seconds: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    for contestant in contestants:
        contestant.epoch(number)  # to prepare
    for _ in range(rounds):
        for contestant in contestants:
            time.sleep(_REST)
            seconds[contestant.name].append(contestant.epoch(number) / steps * 1e6)
    return seconds


def row(workload: Workload, microseconds: dict[str, list[float]], names: list[str]) -> list[str]:
    """Ours with its spread, then for each other its time and ours divided by it, round by round."""
    ours = microseconds["nabla"]
    cells = [workload.name, f"{statistics.median(ours):,.1f} ±{spread(ours):.0%}"]
    for name in names:
        ratios = [mine / theirs for mine, theirs in zip(ours, microseconds[name], strict=True)]
        cells.append(f"{statistics.median(microseconds[name]):,.1f}  [b]{statistics.median(ratios):.2f}[/b]")
    return cells


def spread(values: list[float]) -> float:
    """Half the distance between the quartiles, as a share of the median."""
    low, middle, high = statistics.quantiles(values, n=4)
    return (high - low) / 2 / middle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workload", type=int, action="append", choices=range(len(WORKLOADS)))
    options = parser.parse_args()
    names = [name for name in CONTESTANTS if importlib.util.find_spec(_MODULES[name])]
    contestants = [Contestant(name) for name in names]
    others = [name for name in names if name != "nabla"]
    table = Table("µs per step", "nabla", *others, title="Median; bold: our time divided by theirs")
    for number in options.workload or range(len(WORKLOADS)):
        table.add_row(*row(WORKLOADS[number], compare(contestants, number, options.rounds), others))
    for contestant in contestants:
        contestant.end()
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
