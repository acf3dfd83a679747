"""Training speed beside busy programs on the same cores: with all cores, as a share of the speed with one.

    python -m benchmarks.neighbours [--rounds 7] [--neighbours 0 1 2] [--workload 2 …]

A neighbour is a process of normal priority that computes all the time; training has the lowest priority, as in a worker
of the service. Both ways to train have one process each, and train an epoch in turn.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from benchmarks.support.peers import NEIGHBOURED
from benchmarks.support.stats import relative_spread
from benchmarks.support.workloads import WORKLOADS
from benchmarks.training import PeerProcess, compare

# One with products that are just large enough to be shared, and one with large ones.
_WORKLOADS = (4, 3)


@contextmanager
def busy_neighbours(count: int) -> Iterator[None]:
    """Run processes that compute all the time."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    """Compare both ways to train, without and beside neighbours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--neighbours", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workload", type=int, nargs="+", default=_WORKLOADS, choices=range(len(WORKLOADS)))
    options = parser.parse_args()
    peers = [PeerProcess(name) for name in NEIGHBOURED]
    table = Table("rows/s", "neighbours", *NEIGHBOURED, "ratio", title="Medians; ratio of all cores to one")
    for number in options.workload:
        workload = WORKLOADS[number]
        for count in options.neighbours:
            with busy_neighbours(count):
                seconds = compare(peers, number, options.rounds)
            rates = {name: [workload.batch / step * 1e6 for step in steps] for name, steps in seconds.items()}
            ratios = [both / one for both, one in zip(*rates.values(), strict=True)]
            cells = [f"{statistics.median(rate):,.0f} ±{relative_spread(rate):.0%}" for rate in rates.values()]
            table.add_row(workload.name, str(count), *cells, f"{statistics.median(ratios):.2f}")
    for peer in peers:
        peer.close()
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
