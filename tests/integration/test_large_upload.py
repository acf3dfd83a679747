"""A file that is larger than what reading it takes, and what goes on meanwhile."""

from collections.abc import Iterator
from pathlib import Path

from nabla.app.client import Client
from tests.conftest import StartService
from tests.support.service import PATIENCE

TASK_MEMORY_LIMIT = 2**28
ROWS = 2**14
BLOCK = b"".join(
    b"%d.%d,%d.%d,%d.%d,%s\n" % (row, row + 1, row % 97, row, row % 89, row, b"yes" if row % 3 else b"no")
    for row in range(10**7, 10**7 + ROWS)
)
BYTES = 360 * 10**6
BLOCKS = BYTES // len(BLOCK)


def csv() -> Iterator[bytes]:
    """Made while it is sent."""
    yield b"a,b,c,pays\n"
    for _ in range(BLOCKS):
        yield BLOCK


def test_a_file_is_never_in_memory_as_a_whole(start_service: StartService) -> None:
    service = start_service(task_memory_limit=str(TASK_MEMORY_LIMIT))
    with Client(service.url, timeout=PATIENCE) as client:
        client.create_dataset(rows=[{"a": 1, "pays": "yes"}, {"a": 2, "pays": "no"}], label="pays")
        [reader] = service.readers()
        before = peak(reader)
        opened = client.open_dataset("rows", label="pays")
        path = f"/v1/datasets/{opened.id}"
        sent = service.http.post(f"{path}/rows", content=csv(), headers={"Content-Type": "text/csv"})
        assert sent.status_code == 201, sent.text
        states = [opened.refresh().state]
        taken = opened.close(wait=False).view
        assert service.http.get("/health/live").status_code == 200
        states += [taken.state, opened.refresh().state, opened.ready().state]
        assert states == ["receiving", "reading", "reading", "ready"]
        assert opened.ready().view.rows == BLOCKS * ROWS
        assert service.readers() == [reader]
        assert peak(reader) - before < taken.bytes // 2


def peak(process: int) -> int:
    """Bytes of memory that it has had at most."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
