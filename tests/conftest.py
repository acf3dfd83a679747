"""Services shared by tests."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from nabla.engine.literals import DtypeName
from tests.support import scenarios
from tests.support.scenarios import Result
from tests.support.service import RunningService

StartService = Callable[..., RunningService]


def pytest_configure(config: pytest.Config) -> None:
    """Before several processes run tests the engine is compiled, once, and not by each of them at the same time.

    They have a core each, and their matrix products a thread each: more threads than cores would wait for one another.
    """
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        compiling = [
            subprocess.Popen([sys.executable, "-m", "tests.support.precompile", dtype]) for dtype in get_args(DtypeName)
        ]
        assert [process.wait() for process in compiling] == [0] * len(compiling)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One service for all tests that leave it as usable as they found it. It ends in order, whatever was done to it."""
    running = RunningService(tmp_path_factory.mktemp("shared") / "data")
    with running:
        running.ready()
        yield running
    assert running.process.returncode == 0, running.log.read_text()


@pytest.fixture(scope="session")
def undisturbed(service: RunningService) -> Result:
    """What a `long` job leaves behind where nothing happens to it. It begins with a seed: so do all that are like it,
    in whatever service."""
    job = scenarios.long(service)
    assert service.finished(job["id"]).state == "succeeded"
    return scenarios.result(service, job)


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[StartService]:
    """Starts services of the test's own: start_service(cpu_slots="2")."""
    started: list[RunningService] = []

    def start(**settings: str) -> RunningService:
        started.append(RunningService(tmp_path / f"data-{len(started)}", None, **settings))
        return started[-1]

    yield start
    for running in started:
        running.abandon()
