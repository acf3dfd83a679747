"""A service for tests: its own process on a real port, with its own data directory."""

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
from nabla.app.settings import Settings

# Settings from outside, and the thread limit that suits test processes: the service runs as in production.
_EXCLUDED_VARIABLES = ("NABLA_", "OPENBLAS_NUM_THREADS")
# Ample even on a busy machine: only a failing test waits this long.
TIMEOUT_SECONDS = 120.0
# The server closes idle connections after 5 s, which is httpx's default as well: a request may then be sent on a
# connection that is just being closed, and fails with a connection reset.
_KEEPALIVE_SECONDS = 2.0


class RunningService:
    """`nabla serve` on a free port of 127.0.0.1. The socket stays open across `kill` and `start`: the address stays."""

    def __init__(self, data_dir: Path, environment: Mapping[str, str] | None = None, **settings: str) -> None:
        """Start a service.

        Args:
            data_dir: Its data directory; the log is written next to it.
            environment: Variables besides those of the tests and of the settings.
            settings: Values of settings by their names in lower case, without NABLA_.
        """
        if unknown := settings.keys() - Settings.model_fields:
            raise TypeError(f"no such settings: {', '.join(sorted(unknown))}")  # the service would ignore them
        self.data_dir = data_dir
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(_EXCLUDED_VARIABLES)},
            "NABLA_LOG_LEVEL": "warning",
            "PYTHONDONTWRITEBYTECODE": "",  # with bytecode files, later starts need not compile the source again
            "NABLA_GPUS": "none",  # tests that need GPUs override this
            **{f"NABLA_{name.upper()}": value for name, value in settings.items()},
            **(environment or {}),
        }
        self.socket = listen("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.http = self._open_http()
        self.log = data_dir.with_name(f"{data_dir.name}.log")
        self.process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        """Start the process, on the data of an earlier one if there was one."""
        descriptor = str(self.socket.fileno())
        command = [sys.executable, "-m", "nabla.app.cli.main", "serve", "--fd", descriptor]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--data-dir", str(self.data_dir)],
                pass_fds=[self.socket.fileno()],
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """Kill the process with SIGKILL, as a crash would."""
        self.process.kill()
        self.process.wait()
        self.reconnect()

    def terminate(self) -> int:
        """Stop the process with SIGTERM and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(TIMEOUT_SECONDS)

    def reconnect(self) -> None:
        """Replace the HTTP client, whose connections lead to an earlier process."""
        self.http.close()
        self.http = self._open_http()

    def _open_http(self) -> httpx.Client:
        limits = httpx.Limits(keepalive_expiry=_KEEPALIVE_SECONDS)
        return httpx.Client(base_url=self.url, timeout=TIMEOUT_SECONDS, limits=limits)

    def worker_pids(self) -> list[int]:
        """Return the process ids of the workers, which train."""
        return self._child_pids("nabla.engine.workers.training_main")

    def task_pids(self) -> list[int]:
        """Return the process ids of the task processes for ingest, profiles, model files and Arrow."""
        return [
            pid
            for role in ("ingest", "profile", "model-io", "arrow")
            for pid in self._child_pids(f"nabla.engine.workers.task_main\0{role}")
        ]

    def batch_prediction_pids(self) -> list[int]:
        """Return the process id of the task process for batch predictions, if it is running."""
        return self._child_pids("nabla.engine.workers.task_main\0predict")

    def _child_pids(self, command: str) -> list[int]:
        threads = Path(f"/proc/{self.process.pid}/task")
        assert (threads / str(self.process.pid) / "children").exists()
        pids = [int(pid) for thread in threads.iterdir() for pid in _read_proc(thread / "children").split()]
        return [pid for pid in pids if command in _read_proc(Path(f"/proc/{pid}/cmdline"))]

    def wait_until_ready(self) -> None:
        """Wait until a worker is ready."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self.http.get("/health/ready").status_code != 200:
            assert time.monotonic() < deadline, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)

    def post(self, path: str, body: Any = None, status: int | None = None) -> dict[str, Any]:
        """Send a POST request that gets this status, or any of success, and return the JSON of the response."""
        response = self.http.post(path, json=body)
        if status is None:
            assert response.is_success, response.text
        else:
            assert response.status_code == status, response.text
        return dict(response.json())

    def get(self, path: str) -> dict[str, Any]:
        """Send a GET request that succeeds, and return the JSON of the response."""
        response = self.http.get(path)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def follow(self, job_id: str) -> Iterator[EpochView | JobView]:
        """Iterate over the events of a job until it is finished."""
        # Without retries: a service that does not respond was killed by the test.
        with Client(self.url, timeout=TIMEOUT_SECONDS, retry_timeout=0) as client:
            yield from client.get_job(job_id).follow()

    def wait_for_job(self, job_id: str) -> JobView:
        """Wait until the job is finished, and return it."""
        *_, job = self.follow(job_id)
        assert isinstance(job, JobView)
        return job

    def wait_for_epoch(self, job_id: str, epoch: int) -> None:
        """Wait until the job has finished this epoch."""
        for event in self.follow(job_id):
            if isinstance(event, EpochView) and event.epoch >= epoch:
                return
        raise AssertionError(f"the job ended before epoch {epoch}")

    def wait_for_attempt(self, job_id: str, attempt: int) -> None:
        """Wait until the job runs for the `attempt`-th time."""
        for event in self.follow(job_id):
            if isinstance(event, JobView) and event.state == "running" and event.attempts >= attempt:
                return
        raise AssertionError(f"the job ended before attempt {attempt}")

    def history(self, job_id: str) -> History:
        """Return the history of a job."""
        with Client(self.url, timeout=TIMEOUT_SECONDS) as client:
            return client.get_job(job_id).history()

    def close(self) -> None:
        """Stop the service in order, and close its socket."""
        if self.process.poll() is None:
            self.terminate()
        self.http.close()
        self.socket.close()

    def force_close(self) -> None:
        """Kill the service, wait until its child processes have exited, and close its socket."""
        if self.process.poll() is None:
            children = self.worker_pids() + self.task_pids() + self.batch_prediction_pids()
            self.kill()
            assert_exited(children)
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def assert_exited(pids: list[int]) -> None:
    """Wait until processes that are not our children have exited; fail if one of them still runs after 10 s."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        with os.fdopen(descriptor) as file:
            assert select.select([file], [], [], 10)[0], f"process {pid} still runs"


def _read_proc(file: Path) -> str:
    """Return the content of a file in /proc, "" if its process or thread has ended."""
    try:
        return file.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
