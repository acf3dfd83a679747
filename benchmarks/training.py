"""Training speed compared with JAX, PyTorch and scikit-learn, and with the matrix products alone.

    python -m benchmarks.training [--rounds 7] [--workload 0 …]

Each peer has one process for the whole benchmark. The peers train an epoch in turn, so that other load of the machine
affects all alike. The table has medians of the rounds, with half the interquartile range as a fraction of the median.
OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE are unset for all.
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

from benchmarks.support.peers import PEERS
from benchmarks.support.stats import relative_spread
from benchmarks.support.workloads import WORKLOADS, Workload

# Idle BLAS threads spin for a tenth of a second after their last product, at the cost of the next process.
_PAUSE_SECONDS = 0.3

_MODULES = {"nabla": "nabla", "gemm": "numba", "jax": "jax", "pytorch": "torch", "scikit-learn": "sklearn"}
_UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


class PeerProcess:
    """A process that trains an epoch on request."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.support.peers", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={variable: value for variable, value in os.environ.items() if variable not in _UNSET},
        )

    def train_epoch(self, workload: int) -> float:
        """Train an epoch of a workload; return its seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(workload, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def compare(peers: list[PeerProcess], number: int, rounds: int) -> dict[str, list[float]]:
    """Return the microseconds per step of each peer in each round."""
    steps = WORKLOADS[number].steps
    microseconds: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for peer in peers:
        peer.train_epoch(number)  # prepares
    for _ in range(rounds):
        for peer in peers:
            time.sleep(_PAUSE_SECONDS)
            microseconds[peer.name].append(peer.train_epoch(number) / steps * 1e6)
    return microseconds


def row(workload: Workload, microseconds: dict[str, list[float]], names: list[str]) -> list[str]:
    """Return a row: our time and its spread, then the time of each peer and the median ratio of ours to it."""
    ours = microseconds["nabla"]
    cells = [workload.name, f"{statistics.median(ours):,.1f} ±{relative_spread(ours):.0%}"]
    for name in names:
        ratios = [our_time / peer_time for our_time, peer_time in zip(ours, microseconds[name], strict=True)]
        cells.append(f"{statistics.median(microseconds[name]):,.1f}  [b]{statistics.median(ratios):.2f}[/b]")
    return cells


def main() -> None:
    """Compare the peers that are installed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workload", type=int, action="append", choices=range(len(WORKLOADS)))
    options = parser.parse_args()
    names = [name for name in PEERS if importlib.util.find_spec(_MODULES[name])]
    peers = [PeerProcess(name) for name in names]
    others = [name for name in names if name != "nabla"]
    table = Table("µs per step", "nabla", *others, title="Median; bold: our time divided by theirs")
    for number in options.workload or range(len(WORKLOADS)):
        table.add_row(*row(WORKLOADS[number], compare(peers, number, options.rounds), others))
    for peer in peers:
        peer.close()
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
