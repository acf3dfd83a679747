"""Services shared by tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.running import RunningService

StartService = Callable[..., RunningService]


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
        started.append(RunningService(tmp_path / f"data-{len(started)}", **settings))
        return started[-1]

    yield start
    for running in started:
        running.close()
