"""A real service for tests: its own process on a real port, over a folder of its own."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from nabla.app.client import Client, History
from nabla.app.schemas.jobs import EpochView, JobView
from nabla.app.server import listen

_NOT_HANDED_ON = ("NABLA_", "OPENBLAS_NUM_THREADS")
# Nothing here takes longer even on a busy machine; only a failing test waits for it.
PATIENCE = 120.0


class RunningService:
    """`nabla serve` on a free port of 127.0.0.1. The socket stays open across `kill` and `start`: the address stays."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None, **settings: str) -> None:
        """`environment`: variables besides those of the tests and of the settings."""
        self.folder = folder
        self.environment = {
            # As it is used: neither set up from outside, nor with the threads that suit a process of tests.
            **{name: value for name, value in os.environ.items() if not name.startswith(_NOT_HANDED_ON)},
            "NABLA_LOG_LEVEL": "warning",
            "PYTHONDONTWRITEBYTECODE": "",  # else every start compiles what does not change
            "NABLA_GPUS": "none",  # tests that are about GPUs ask for them
            **{f"NABLA_{name.upper()}": value for name, value in settings.items()},
            **(environment or {}),
        }
        self.socket = listen("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.http = httpx.Client(base_url=self.url, timeout=PATIENCE)
        self.log = folder.with_name(f"{folder.name}.log")
        self.process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        descriptor = self.socket.fileno()
        command = [
            sys.executable,
            "-m",
            "nabla.app.cli.main",
            "serve",
            "--fd",
            str(descriptor),
            "--data-dir",
            str(self.folder),
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, pass_fds=[descriptor], env=self.environment, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """kill -9, as a crash would."""
        self.process.kill()
        self.process.wait()
        self.http.close()
        self.http = httpx.Client(base_url=self.url, timeout=PATIENCE)

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def workers(self) -> list[int]:
        """The process ids of the service's workers."""
        return self._children("nabla.engine.workers.training_main")

    def readers(self) -> list[int]:
        """Those of the processes that read files."""
        return [
            process
            for role in ("ingest", "profile", "model-io", "arrow")
            for process in self._children(f"nabla.engine.workers.task_main\0{role}")
        ]

    def predictors(self) -> list[int]:
        """That of the process that predicts datasets, if there is one."""
        return self._children("nabla.engine.workers.task_main\0predict")

    def _children(self, module: str) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        assert children.exists()
        found = [int(pid) for thread in threads for pid in _text(thread / "children").split()]
        return [process for process in found if module in _text(Path(f"/proc/{process}/cmdline"))]

    def ready(self) -> None:
        """Wait until a worker is ready."""
        deadline = time.monotonic() + PATIENCE
        while self.http.get("/health/ready").status_code != 200:
            assert time.monotonic() < deadline, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)

    def post(self, path: str, body: Any = None, status: int | None = None) -> dict[str, Any]:
        answer = self.http.post(path, json=body)
        if status is None:
            assert answer.is_success, answer.text
        else:
            assert answer.status_code == status, answer.text
        return dict(answer.json())

    def get(self, path: str) -> dict[str, Any]:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def follow(self, job_id: str) -> Iterator[EpochView | JobView]:
        # Not patient: a service that is gone was killed on purpose.
        with Client(self.url, timeout=PATIENCE, patience=0) as client:
            yield from client.job(job_id).follow()

    def finished(self, job_id: str) -> JobView:
        """Wait for the job's last state."""
        *_, last = self.follow(job_id)
        assert isinstance(last, JobView)
        return last

    def trained(self, job_id: str, epochs: int) -> None:
        """Wait until the job has finished so many epochs."""
        for event in self.follow(job_id):
            if isinstance(event, EpochView) and event.epoch >= epochs:
                return
        raise AssertionError(f"the job ended before epoch {epochs}")

    def replaced(self, job_id: str, attempts: int) -> None:
        """Wait until the job has been started so often."""
        for event in self.follow(job_id):
            if isinstance(event, JobView) and event.state == "running" and event.attempts >= attempts:
                return
        raise AssertionError(f"the job ended before start {attempts}")

    def history(self, job_id: str) -> History:
        with Client(self.url, timeout=PATIENCE) as client:
            return client.job(job_id).history()

    def close(self) -> None:
        """End in order."""
        if self.process.poll() is None:
            self.terminate()
        self.http.close()
        self.socket.close()

    def abandon(self) -> None:
        """kill -9, and wait until all that it has started is gone as well."""
        if self.process.poll() is None:
            started = self.workers() + self.readers() + self.predictors()
            self.kill()
            assert_gone(started)
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def assert_gone(processes: list[int]) -> None:
    """Wait for processes that are not our children to end; the test's time limit ends the wait."""
    for process in processes:
        try:
            descriptor = os.pidfd_open(process)
        except ProcessLookupError:
            continue
        with os.fdopen(descriptor) as file:
            assert select.select([file], [], [], 10)[0], f"process {process} still runs"


def _text(file: Path) -> str:
    """What the kernel says of a process or a thread; nothing if it has ended."""
    try:
        return file.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
