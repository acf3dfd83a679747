"""What open pages of the dashboard cost the service, and the job that they watch.

Run `python -m benchmarks.open_pages [--browsers]`. A page that shows a job keeps one stream of events. One such
reader is compared with fifty, and with none; with `--browsers` they are pages in Chromium, which take a small machine
for themselves: then only the processor time of the service means something. Rounds alternate; medians.
"""

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

from benchmarks.service import wide
from tests.support.browser import chromium
from tests.support.service import RunningService

ROUNDS = 3
SECONDS = 10.0
PAGES = (0, 1, 50)
LIVE = "/v1/events?epochs=last"

Open = Callable[[RunningService, str, int], AbstractContextManager[None]]


def seconds_of_processor(service: RunningService) -> float:
    """Of the service, without its workers."""
    fields = Path(f"/proc/{service.process.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def readers(service: RunningService, job: str, count: int) -> Iterator[None]:
    """In another process, with the priority of training: they do not go before it."""
    if not count:
        yield
        return
    reading = [sys.executable, "-m", "benchmarks.service", "read", service.url + LIVE, str(count)]
    with subprocess.Popen(["nice", "-n", "19", *reading], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # all of them are connected
        yield
        process.terminate()


@contextmanager
def pages(service: RunningService, job: str, count: int) -> Iterator[None]:
    """Each in a context of its own: pages of one would share six connections."""
    with chromium() as browser:
        for _ in range(count):
            page = browser.new_context().new_page()
            page.goto(f"{service.url}/#/jobs/{job}")
            page.locator("p.state .badge.running").wait_for()
        yield


def measured(service: RunningService, job: str) -> tuple[float, float]:
    """Share of a core that the service takes, and epochs per second of the job."""
    started, used, epoch = time.perf_counter(), seconds_of_processor(service), service.get(f"/v1/jobs/{job}")["epoch"]
    time.sleep(SECONDS)
    passed = time.perf_counter() - started
    used = seconds_of_processor(service) - used
    return used / passed, (service.get(f"/v1/jobs/{job}")["epoch"] - epoch) / passed


def main(opened: Open) -> None:
    found: dict[int, list[tuple[float, float]]] = {count: [] for count in PAGES}
    with tempfile.TemporaryDirectory() as folder, RunningService(Path(folder) / "data") as service:
        job = wide(service)["id"]
        service.trained(job, 5)
        for _ in range(ROUNDS):
            for count in PAGES:
                with opened(service, job, count):
                    found[count].append(measured(service, job))
    table = Table("open pages", "service, % of a core", "epochs per second")
    shares = {count: statistics.median(share for share, _ in rounds) for count, rounds in found.items()}
    paces = {count: statistics.median(pace for _, pace in rounds) for count, rounds in found.items()}
    for count in PAGES:
        table.add_row(str(count), f"{100 * shares[count]:.2f}", f"{paces[count]:.1f}")
    console = Console(width=110)
    console.print(table)
    console.print(
        f"{PAGES[-1]} pages beyond one: {100 * (shares[PAGES[-1]] - shares[1]):.2f} % of a core; "
        f"pace of the job, {PAGES[-1]} / none: {paces[PAGES[-1]] / paces[0]:.3f}"
    )


if __name__ == "__main__":
    main(pages if "--browsers" in sys.argv[1:] else readers)
