"""Services shared by tests."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.running import RunningService

StartService = Callable[..., RunningService]


def pytest_configure(config: pytest.Config) -> None:
    """Before several processes run tests the engine is compiled by one, and not by each of them at the same time."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        program = "from engine.training.device import compile_training; compile_training()"
        subprocess.run([sys.executable, "-c", program], check=True)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One service for all tests that leave it as usable as they found it."""
    with RunningService(tmp_path_factory.mktemp("shared") / "data") as running:
        running.ready()
        yield running


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[StartService]:
    """Starts services of the test's own: start_service(cpu_slots="2")."""
    started: list[RunningService] = []

    def start(**settings: str) -> RunningService:
        started.append(RunningService(tmp_path / f"data-{len(started)}", None, **settings))
        return started[-1]

    yield start
    for running in started:
        running.close()
