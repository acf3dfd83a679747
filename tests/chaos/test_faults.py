"""File operations of a running service fail with EIO for a while.

A request that got an error may or may not have been carried out, as a whole; what was acknowledged is there.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nabla.app.schemas.jobs import JobView
from tests.conftest import StartService
from tests.support import scenarios
from tests.support.batch_predictions import (
    download_predictions,
    list_batch_directories,
    start_batch_prediction,
    wait_for_batch_prediction,
)
from tests.support.scenarios import TrainingResult, create_2000_row_dataset, submit_long_job, training_result
from tests.support.service import TIMEOUT_SECONDS, RunningService

KINDS = ("networks", "datasets", "jobs")
NETWORK = {"name": "refused", "inputs": 2, "layers": [{"units": 1, "activation": "identity"}]}


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the library that makes file operations fail."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    source = Path(__file__).with_name("faults.cpp")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


class Faults:
    """Makes calls of a service fail that match a rule: see faults.cpp."""

    def __init__(self, rule: Path) -> None:
        self._rule = rule

    @contextmanager
    def on(self, rule: str) -> Iterator[None]:
        """Let matching calls fail while the block runs."""
        self._set(rule)
        yield
        self._rule.unlink()

    def once(self, rule: str) -> None:
        """Let the next matching call fail."""
        self._set(f"{rule} once")

    def _set(self, rule: str) -> None:
        new = self._rule.with_suffix(".new")
        new.write_text(rule)
        new.rename(self._rule)


Start = Callable[..., tuple[RunningService, Faults]]


@pytest.fixture
def start(start_service: StartService, library: Path, tmp_path: Path) -> Start:
    def start(**settings: str) -> tuple[RunningService, Faults]:
        rule = tmp_path / "rule"
        environment = {"LD_PRELOAD": str(library), "NABLA_FAULTS": str(rule)}
        return start_service(environment, **settings), Faults(rule)

    return start


def all_records(service: RunningService) -> dict[str, list[dict[str, Any]]]:
    """Return all records, without what changes while a job trains."""
    return {
        kind: [
            {name: record[name] for name in ("id", "name", "created_at")}
            for record in service.get(f"/v1/{kind}?limit=1000")["data"]
        ]
        for kind in KINDS
    }


def midway(service: RunningService) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Return a job that is training, and all records."""
    assert service.wait_for_job(scenarios.submit_job(service, epochs=1)["id"]).state == "succeeded"
    job = submit_long_job(service)
    service.wait_for_epoch(job["id"], 300)
    return job, all_records(service)


def wait_until_not_ready(service: RunningService) -> str:
    """Wait until the service reports that it is not ready, and return why."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (answer := service.http.get("/health/ready")).status_code == 200:
        assert time.monotonic() < deadline
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/not-ready")
    return str(answer.json()["detail"])


@pytest.mark.parametrize("fault", ["sync journal.sqlite", "write journal.sqlite"])
def test_service_recovers_when_the_journal_can_be_written_again(
    start: Start, fault: str, uninterrupted: TrainingResult
) -> None:
    service, faults = start(checkpoint_interval="0.05")
    job, before = midway(service)
    with faults.on(fault):
        for _ in range(3):
            assert_refused(service, job)
        assert "The journal could not be" in wait_until_not_ready(service)
        assert_refused(service, job)
        assert all_records(service) == before
        assert service.get("/health/live") == {"status": "live"}
    service.wait_until_ready()
    assert_created_once(service, before)
    done = service.wait_for_job(job["id"])
    assert (done.state, done.error) == ("succeeded", None)
    assert training_result(service, job) == uninterrupted
    now = all_records(service)
    service.kill()
    service.start()
    assert all_records(service) == now
    assert training_result(service, job) == uninterrupted


def assert_refused(service: RunningService, job: dict[str, Any]) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "networks": NETWORK,
        "datasets": {"name": "refused", "inputs": [[0, 1]], "targets": [[1]]},
        "jobs": {
            "name": "refused",
            "network_id": job["network_id"],
            "dataset_id": job["dataset_id"],
            "epochs": 1,
            "batch_size": 500,
            "learning_rate": 0.1,
        },
    }
    for kind, body in bodies.items():
        headers = {"Idempotency-Key": f"refused {kind}"}
        answer = service.http.post(f"/v1/{kind}", json=body, headers=headers)
        assert answer.status_code == 503, answer.text
        assert answer.json()["type"] == "/problems/storage-failed"
        assert "in the log of the service" in answer.json()["detail"]


def assert_created_once(service: RunningService, before: dict[str, list[dict[str, Any]]]) -> None:
    """Repeat the refused requests with their keys: each is carried out once, whether it had been before or not."""
    for kind in KINDS:
        assert [record for record in all_records(service)[kind] if record["name"] != "refused"] == before[kind]
    body = {"name": "refused", "inputs": [[0, 1]], "targets": [[1]]}
    for kind, content in (("networks", NETWORK), ("datasets", body)):
        headers = {"Idempotency-Key": f"refused {kind}"}
        answer = service.http.post(f"/v1/{kind}", json=content, headers=headers)
        assert answer.status_code == 201, answer.text
        named = [record["id"] for record in all_records(service)[kind] if record["name"] == "refused"]
        assert named == [answer.json()["id"]]
    assert service.post("/v1/networks/refused/evaluations", {"dataset_id": "refused"})["rows"] == 1


def test_files_that_cannot_be_synced_are_refused_and_the_job_is_retried(
    start: Start, uninterrupted: TrainingResult
) -> None:
    service, faults = start(checkpoint_interval="0.05")
    job, before = midway(service)
    with faults.on(f"sync {service.data_dir}/"):
        assert service.post("/v1/networks", NETWORK, 503)["type"] == "/problems/storage-failed"
        assert wait_until_not_ready(service).endswith(".")
        assert all_records(service) == before
    service.wait_until_ready()
    done = service.wait_for_job(job["id"])
    assert (done.state, done.error) == ("succeeded", None)
    assert training_result(service, job) == uninterrupted
    assert all_records(service) == before
    assert not list(service.data_dir.glob("**/.unfinished*"))
    directories = {directory.name for directory in (service.data_dir / "networks").iterdir()}
    assert directories == {record["id"] for record in before["networks"]}


def test_transient_journal_failure_does_not_count_as_a_retry(start: Start) -> None:
    service, faults = start(checkpoint_interval="0.05")
    job = scenarios.submit_endless_job(service, dataset_id=create_2000_row_dataset(service)["id"])
    for attempt in range(2, 5):
        # Long after the last one, so that the next attempt to write comes before the worker is gone.
        service.wait_for_epoch(job["id"], 1000 * attempt)
        faults.once("sync journal.sqlite")
        events = service.follow(job["id"])
        assert any(isinstance(event, JobView) and event.attempts == attempt for event in events)
    assert service.get(f"/v1/jobs/{job['id']}")["retries"] == 0


def test_job_that_cannot_be_saved_is_paused_at_its_last_checkpoint(start: Start, uninterrupted: TrainingResult) -> None:
    # A job fails once it could not save several checkpoints, so these are far apart.
    service, faults = start(checkpoint_interval="60")
    job = submit_long_job(service, checkpoints={"epochs": 250, "keep": 2})
    service.wait_for_epoch(job["id"], 300)
    with faults.on(f"sync {service.data_dir}/networks"):
        assert service.post(f"/v1/jobs/{job['id']}/pause")["state"] == "paused"
    service.wait_until_ready()
    assert service.get(f"/v1/jobs/{job['id']}")["state"] == "paused"
    service.post(f"/v1/jobs/{job['id']}/resume")
    assert service.wait_for_job(job["id"]).state == "succeeded"
    assert training_result(service, job) == uninterrupted


def test_commit_counter_that_cannot_be_written_is_logged(start: Start) -> None:
    service, faults = start()
    with faults.on("write journal.commits"):
        dataset = create_2000_row_dataset(service)
    assert "journal.commits cannot be written" in service.log.read_text()
    service.kill()
    service.start()
    assert service.get(f"/v1/datasets/{dataset['id']}") == dataset


def test_batch_prediction_ends_when_its_end_can_be_journaled(start: Start) -> None:
    service, faults = start()
    network, dataset = scenarios.create_network(service)["id"], scenarios.create_dataset(service)["id"]
    download_predictions(service, start_batch_prediction(service, network, dataset))
    (process,) = service.batch_prediction_pids()
    os.kill(process, signal.SIGSTOP)
    batch = start_batch_prediction(service, network, dataset)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    with faults.on("sync journal.sqlite"):
        os.kill(process, signal.SIGCONT)
        while f"{batch}: The journal could not be written" not in service.log.read_text():
            assert time.monotonic() < deadline
        assert service.get(f"/v1/batch-predictions/{batch}")["state"] == "running"
        assert service.http.get(f"/v1/batch-predictions/{batch}/file").status_code == 409
        assert service.http.post(f"/v1/batch-predictions/{batch}/cancel").status_code == 503
    content = download_predictions(service, batch)
    service.kill()
    service.start()
    assert download_predictions(service, batch) == content


def test_batch_prediction_that_cannot_be_written_fails(start: Start) -> None:
    service, faults = start()
    network, dataset = scenarios.create_network(service)["id"], scenarios.create_dataset(service)["id"]
    with faults.on("write batches"):
        view = wait_for_batch_prediction(service, start_batch_prediction(service, network, dataset))
        assert view.error is not None
        assert (view.state, view.error.kind) == ("failed", "storage_failed")
        assert "Writing predictions.csv failed" in view.error.message
    assert list_batch_directories(service) == []
    download_predictions(service, start_batch_prediction(service, network, dataset))
