"""Fixtures with running services, and the compilation of the engine before parallel test runs."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import get_args

import pytest

from nabla.engine.literals import DtypeName
from tests.support import scenarios
from tests.support.scenarios import TrainingResult
from tests.support.service import RunningService

StartService = Callable[..., RunningService]


def pytest_configure(config: pytest.Config) -> None:
    """Compile the engine once before a parallel run, so that its processes do not all compile it at the same time.

    Each process has one core and one thread for matrix products: with more threads than cores they would wait for
    each other.
    """
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        compilers = [
            subprocess.Popen([sys.executable, "-m", "nabla.engine.training.precompile", dtype])
            for dtype in get_args(DtypeName)
        ]
        assert [process.wait() for process in compilers] == [0] * len(compilers)


# What a shell runs in the background ignores Ctrl-C, and so would the commands that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Return a service shared by all tests that leave it usable; it must stop in order after all of them."""
    running = RunningService(tmp_path_factory.mktemp("session") / "data")
    with running:
        running.wait_until_ready()
        yield running
    assert running.process.returncode == 0, running.log.read_text()


@pytest.fixture(scope="session")
def uninterrupted(service: RunningService) -> TrainingResult:
    """Return the result of an uninterrupted long job, which every long job matches: they have the same seeds."""
    job = scenarios.submit_long_job(service)
    assert service.wait_for_job(job["id"]).state == "succeeded"
    return scenarios.training_result(service, job)


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[StartService]:
    """Return a function that starts a service with these settings, and close its services after the test."""
    started: list[RunningService] = []

    def start(environment: Mapping[str, str] | None = None, **settings: str) -> RunningService:
        started.append(RunningService(tmp_path / f"data-{len(started)}", environment, **settings))
        return started[-1]

    yield start
    for running in started:
        running.force_close()
