"""Ingest of a file larger than the memory limit of its process, without blocking other requests."""

from collections.abc import Iterator
from pathlib import Path

from nabla.app.client import Client
from tests.conftest import StartService
from tests.support.service import TIMEOUT_SECONDS

TASK_MEMORY_LIMIT = 2**28
ROWS = 2**14
BLOCK = b"".join(
    b"%d.%d,%d.%d,%d.%d,%s\n" % (row, row + 1, row % 97, row, row % 89, row, b"yes" if row % 3 else b"no")
    for row in range(10**7, 10**7 + ROWS)
)
BYTES = 360 * 10**6
BLOCKS = BYTES // len(BLOCK)


def generate_csv() -> Iterator[bytes]:
    """Generate the file while it is sent."""
    yield b"a,b,c,pays\n"
    for _ in range(BLOCKS):
        yield BLOCK


def test_large_file_is_ingested_in_blocks(start_service: StartService) -> None:
    service = start_service(task_memory_limit=str(TASK_MEMORY_LIMIT))
    with Client(service.url, timeout=TIMEOUT_SECONDS) as client:
        client.create_dataset(rows=[{"a": 1, "pays": "yes"}, {"a": 2, "pays": "no"}], label="pays")
        [pid] = service.task_pids()
        before = peak_memory(pid)
        opened = client.open_dataset("rows", label="pays")
        path = f"/v1/datasets/{opened.id}"
        response = service.http.post(f"{path}/rows", content=generate_csv(), headers={"Content-Type": "text/csv"})
        assert response.status_code == 201, response.text
        states = [opened.refresh().state]
        closed = opened.close(wait=False).view
        assert service.http.get("/health/live").status_code == 200
        states += [closed.state, opened.refresh().state, opened.wait().state]
        assert states == ["receiving", "reading", "reading", "ready"]
        assert opened.wait().view.rows == BLOCKS * ROWS
        assert service.task_pids() == [pid]
        assert peak_memory(pid) - before < closed.bytes // 2


def peak_memory(pid: int) -> int:
    """Return the peak resident memory of a process in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
