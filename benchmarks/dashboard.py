"""Cost of open dashboard pages for the service, and for the job that they watch.

    python -m benchmarks.dashboard [--browsers]

A page that shows a job keeps one event stream open. None, one and fifty such readers are compared; with `--browsers`
they are pages in Chromium, which take up a small machine: then only the processor time of the service means something.
Rounds alternate; medians.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.service import measure_speed, start_wide_job
from tests.support.browser import launch_chromium
from tests.support.service import RunningService

ROUNDS = 3
SECONDS = 10.0
PAGES = (0, 1, 50)
EVENTS = "/v1/events?epochs=last"

OpenPages = Callable[[RunningService, str, int], AbstractContextManager[None]]


def cpu_seconds(service: RunningService) -> float:
    """Return the processor time of the service without its workers."""
    fields = Path(f"/proc/{service.process.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def open_streams(service: RunningService, job: str, count: int) -> Iterator[None]:
    """Read event streams in another process, with the priority of training, so that it does not go first."""
    if not count:
        yield
        return
    read = [sys.executable, "-m", "benchmarks.service", "read", service.url + EVENTS, str(count)]
    with subprocess.Popen(["nice", "-n", "19", *read], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # all are connected
        yield
        process.terminate()


@contextmanager
def open_browser_pages(service: RunningService, job: str, count: int) -> Iterator[None]:
    """Open pages, each in a context of its own: those of one context would share six connections."""
    with launch_chromium() as browser:
        for _ in range(count):
            page = browser.new_context().new_page()
            page.goto(f"{service.url}/#/jobs/{job}")
            page.locator("p.state .badge.running").wait_for()
        yield


def measure(service: RunningService, job: str) -> tuple[float, float]:
    """Return the fraction of a core that the service takes, and the epochs per second of the job."""
    started, used = time.perf_counter(), cpu_seconds(service)
    speed = measure_speed(service, job, SECONDS)
    return (cpu_seconds(service) - used) / (time.perf_counter() - started), speed


def main() -> None:
    """Compare the numbers of pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--browsers", action="store_true")
    open_pages: OpenPages = open_browser_pages if parser.parse_args().browsers else open_streams
    results: dict[int, list[tuple[float, float]]] = {count: [] for count in PAGES}
    with tempfile.TemporaryDirectory() as directory, RunningService(Path(directory) / "data") as service:
        job = start_wide_job(service)["id"]
        service.wait_for_epoch(job, 5)
        for _ in range(ROUNDS):
            for count in PAGES:
                with open_pages(service, job, count):
                    results[count].append(measure(service, job))
    table = Table("open pages", "service, % of a core", "epochs per second")
    shares = {count: statistics.median(share for share, _ in rounds) for count, rounds in results.items()}
    speeds = {count: statistics.median(speed for _, speed in rounds) for count, rounds in results.items()}
    for count in PAGES:
        table.add_row(str(count), f"{100 * shares[count]:.2f}", f"{speeds[count]:.1f}")
    console = Console(width=110)
    console.print(table)
    console.print(
        f"{PAGES[-1]} pages more than one: {100 * (shares[PAGES[-1]] - shares[1]):.2f} % of a core; "
        f"speed of the job, {PAGES[-1]} pages / none: {speeds[PAGES[-1]] / speeds[0]:.3f}"
    )


if __name__ == "__main__":
    main()
