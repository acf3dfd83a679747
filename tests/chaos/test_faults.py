"""A disk that does not do what it is told, for a while: calls of a running service on its files end with EIO. What was
answered with an error may or may not have happened, as a whole; what was acknowledged is there."""

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
from tests.support.batch_predictions import begun, ended, file_of, left
from tests.support.scenarios import Result, long, many_rows, result
from tests.support.service import PATIENCE, RunningService

KINDS = ("networks", "datasets", "jobs")
NETWORK = {"name": "refused", "inputs": 2, "layers": [{"units": 1, "activation": "identity"}]}


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Goes between a service and its files."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    source = Path(__file__).with_name("faults.cpp")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


class Faults:
    def __init__(self, rule: Path) -> None:
        self._rule = rule

    @contextmanager
    def on(self, rule: str) -> Iterator[None]:
        """Meanwhile calls fail that go by the rule: see faults.cpp."""
        self._set(rule)
        yield
        self._rule.unlink()

    def once(self, rule: str) -> None:
        """The next call that goes by the rule fails."""
        self._set(f"{rule} once")

    def _set(self, rule: str) -> None:
        new = self._rule.with_suffix(".new")
        new.write_text(rule)
        new.rename(self._rule)


Start = Callable[..., tuple[RunningService, Faults]]


@pytest.fixture
def start(start_service: StartService, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    def start(**settings: str) -> tuple[RunningService, Faults]:
        rule = tmp_path / "rule"
        with monkeypatch.context() as patch:
            patch.setenv("LD_PRELOAD", str(library))
            return start_service(faults=str(rule), **settings), Faults(rule)

    return start


def everything(service: RunningService) -> dict[str, list[dict[str, Any]]]:
    """Without what changes while a job trains."""
    return {
        kind: [
            {name: record[name] for name in ("id", "name", "created_at")}
            for record in service.get(f"/v1/{kind}?limit=1000")["data"]
        ]
        for kind in KINDS
    }


def midway(service: RunningService) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """A job in the middle, and everything else."""
    assert service.finished(scenarios.job(service, epochs=1)["id"]).state == "succeeded"
    job = long(service)
    service.trained(job["id"], 300)
    return job, everything(service)


def not_ready(service: RunningService) -> str:
    """Wait until the service says that it is not; why."""
    deadline = time.monotonic() + PATIENCE
    while (answer := service.http.get("/health/ready")).status_code == 200:
        assert time.monotonic() < deadline
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/not-ready")
    return str(answer.json()["detail"])


@pytest.mark.parametrize("fault", ["sync journal.sqlite", "write journal.sqlite"])
def test_a_journal_that_cannot_be_written_is_gone_on_with_when_it_can(
    start: Start, fault: str, undisturbed: Result
) -> None:
    service, faults = start(checkpoint_seconds="0.05")
    job, before = midway(service)
    with faults.on(fault):
        for _ in range(3):
            refuse(service, job)
        assert "The journal could not be" in not_ready(service)
        refuse(service, job)
        assert everything(service) == before
        assert service.get("/health/live") == {"status": "live"}
    service.ready()
    made_once(service, before)
    done = service.finished(job["id"])
    assert (done.state, done.error) == ("succeeded", None)
    assert result(service, job) == undisturbed
    now = everything(service)
    service.kill()
    service.start()
    assert everything(service) == now
    assert result(service, job) == undisturbed


def refuse(service: RunningService, job: dict[str, Any]) -> None:
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
        assert "The log of the service has the details" in answer.json()["detail"]


def made_once(service: RunningService, before: dict[str, list[dict[str, Any]]]) -> None:
    """A request that was refused is repeated with its key: then it has happened once, whether it had before or not."""
    for kind in KINDS:
        assert [record for record in everything(service)[kind] if record["name"] != "refused"] == before[kind]
    body = {"name": "refused", "inputs": [[0, 1]], "targets": [[1]]}
    for kind, content in (("networks", NETWORK), ("datasets", body)):
        headers = {"Idempotency-Key": f"refused {kind}"}
        answer = service.http.post(f"/v1/{kind}", json=content, headers=headers)
        assert answer.status_code == 201, answer.text
        named = [record["id"] for record in everything(service)[kind] if record["name"] == "refused"]
        assert named == [answer.json()["id"]]
    assert service.post("/v1/networks/refused/evaluations", {"dataset_id": "refused"})["rows"] == 1


def test_files_that_cannot_be_synced_are_refused_and_a_run_is_tried_again(start: Start, undisturbed: Result) -> None:
    service, faults = start(checkpoint_seconds="0.05")
    job, before = midway(service)
    with faults.on(f"sync {service.folder}/"):
        assert service.post("/v1/networks", NETWORK, 503)["type"] == "/problems/storage-failed"
        assert not_ready(service).endswith(".")
        assert everything(service) == before
    service.ready()
    done = service.finished(job["id"])
    assert (done.state, done.error) == ("succeeded", None)
    assert result(service, job) == undisturbed
    assert everything(service) == before
    assert not list(service.folder.glob("**/.unfinished*"))
    folders = {folder.name for folder in (service.folder / "networks").iterdir()}
    assert folders == {record["id"] for record in before["networks"]}


def test_what_cannot_be_recorded_for_a_moment_is_no_failure_of_a_job(start: Start) -> None:
    service, faults = start(checkpoint_seconds="0.05")
    job = scenarios.endless(service, dataset_id=many_rows(service)["id"])
    for attempt in range(2, 5):
        # Long after the last one: then the next try to write comes at once, before the worker is gone.
        service.trained(job["id"], 1000 * attempt)
        faults.once("sync journal.sqlite")
        events = service.follow(job["id"])
        assert any(isinstance(event, JobView) and event.attempts == attempt for event in events)
    assert service.get(f"/v1/jobs/{job['id']}")["retries"] == 0


def test_a_job_that_cannot_be_saved_is_paused_at_its_last_checkpoint(start: Start, undisturbed: Result) -> None:
    service, faults = start(checkpoint_seconds="0.05")
    job, _ = midway(service)
    with faults.on(f"sync {service.folder}/networks"):
        assert service.post(f"/v1/jobs/{job['id']}/pause")["state"] == "paused"
    service.ready()
    assert service.get(f"/v1/jobs/{job['id']}")["state"] == "paused"
    service.post(f"/v1/jobs/{job['id']}/resume")
    assert service.finished(job["id"]).state == "succeeded"
    assert result(service, job) == undisturbed


def test_a_witness_that_cannot_be_written_is_logged(start: Start) -> None:
    service, faults = start()
    with faults.on("write journal.commits"):
        made = many_rows(service)
    assert "journal.commits cannot be written" in service.log.read_text()
    service.kill()
    service.start()
    assert service.get(f"/v1/datasets/{made['id']}") == made


def test_a_batch_prediction_ends_when_that_can_be_recorded(start: Start) -> None:
    service, faults = start()
    network, dataset = scenarios.network(service)["id"], scenarios.dataset(service)["id"]
    file_of(service, begun(service, network, dataset))
    (process,) = service.predictors()
    os.kill(process, signal.SIGSTOP)
    batch = begun(service, network, dataset)
    deadline = time.monotonic() + PATIENCE
    with faults.on("sync journal.sqlite"):
        os.kill(process, signal.SIGCONT)
        while f"{batch}: The journal could not be written" not in service.log.read_text():
            assert time.monotonic() < deadline
        assert service.get(f"/v1/batch-predictions/{batch}")["state"] == "running"
        assert service.http.get(f"/v1/batch-predictions/{batch}/file").status_code == 409
        assert service.http.post(f"/v1/batch-predictions/{batch}/cancel").status_code == 503
    content = file_of(service, batch)
    service.kill()
    service.start()
    assert file_of(service, batch) == content


def test_a_batch_prediction_that_cannot_be_written_says_so(start: Start) -> None:
    service, faults = start()
    network, dataset = scenarios.network(service)["id"], scenarios.dataset(service)["id"]
    with faults.on("write batches"):
        view = ended(service, begun(service, network, dataset))
        assert view.error is not None
        assert (view.state, view.error.kind) == ("failed", "storage_failed")
        assert "Writing predictions.csv failed" in view.error.message
    assert left(service) == []
    file_of(service, begun(service, network, dataset))
