"""Upgrade of a data directory with journal schema 2.

`data/data_dir_v2.tar.gz` is the directory, and `data/data_dir_v2.json` has the responses of the service that wrote it.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy

from tests.support.service import RunningService

DATA = Path(__file__).with_name("data")
EXPECTED: dict[str, Any] = json.loads((DATA / "data_dir_v2.json").read_text())
TOLERANCE = 1e-6  # of predictions on another processor; on the same one they have the same bits


@contextmanager
def upgrade(directory: Path) -> Iterator[RunningService]:
    with tarfile.open(DATA / "data_dir_v2.tar.gz") as archive:
        archive.extractall(directory, filter="data")
    with RunningService(directory) as service:
        service.wait_until_ready()
        yield service


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Run one service for the tests that only read."""
    with upgrade(tmp_path_factory.mktemp("upgraded") / "data") as service:
        yield service


@pytest.fixture
def own_upgraded(tmp_path: Path) -> Iterator[RunningService]:
    """Run a service for one test that changes its records."""
    with upgrade(tmp_path / "data") as service:
        yield service


def expected_part(record: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a record that are expected, with those of objects in it."""
    part: dict[str, Any] = {}
    for field, value in expected.items():
        actual = record[field]
        if isinstance(value, dict) and isinstance(actual, dict):
            actual = expected_part(actual, value)
        elif isinstance(value, list) and isinstance(actual, list) and len(value) == len(actual):
            pairs = zip(actual, value, strict=True)
            actual = [expected_part(item, other) if isinstance(other, dict) else item for item, other in pairs]
        part[field] = actual
    return part


@pytest.mark.parametrize("kind", ["networks", "datasets", "jobs", "batch_predictions"])
def test_records_are_all_there(upgraded: RunningService, kind: str) -> None:
    records = upgraded.get(f"/v1/{kind.replace('_', '-')}?limit=100")["data"]
    by_id = {record["id"]: record for record in records}
    assert set(by_id) == {expected["id"] for expected in EXPECTED[kind]}
    for expected in EXPECTED[kind]:
        assert expected_part(by_id[expected["id"]], expected) == expected


def test_versions_checkpoints_and_histories_are_all_there(upgraded: RunningService) -> None:
    for network, expected in EXPECTED["versions"].items():
        versions = upgraded.get(f"/v1/networks/{network}/versions?limit=100")["data"]
        assert [expected_part(*pair) for pair in zip(versions, expected, strict=True)] == expected
    for job, expected in EXPECTED["checkpoints"].items():
        assert upgraded.get(f"/v1/jobs/{job}/checkpoints")["data"] == expected
    for job, expected in EXPECTED["costs"].items():
        history = upgraded.get(f"/v1/jobs/{job}/history?limit=1000")["data"]
        assert [[epoch["cost"], epoch["validation_cost"]] for epoch in history] == expected


def test_files_of_batch_predictions_are_the_same(upgraded: RunningService) -> None:
    for batch, digest in EXPECTED["batch_files"].items():
        content = upgraded.http.get(f"/v1/batch-predictions/{batch}/file").content
        assert hashlib.sha256(content).hexdigest() == digest


def test_versions_predict_the_same(upgraded: RunningService) -> None:
    for asked in EXPECTED["predictions"]:
        body = {"inputs": asked["inputs"], "version": asked["answer"]["version"]}
        assert_same_predictions(upgraded.post(f"/v1/networks/{asked['network']}/predictions", body), asked["answer"])
    asked = EXPECTED["row_predictions"]  # with a missing value, and an unknown category that is ignored
    answer = upgraded.post(f"/v1/networks/{asked['network']}/predictions", {"rows": asked["rows"]})
    assert_same_predictions(answer, asked["answer"])


def assert_same_predictions(answer: dict[str, Any], expected: dict[str, Any]) -> None:
    assert (answer["version"], answer["labels"]) == (expected["version"], expected["labels"])
    for outputs, others in zip(answer["outputs"], expected["outputs"], strict=True):
        assert outputs == pytest.approx(others, rel=TOLERANCE)


def test_open_uploads_take_more_chunks_and_become_datasets(own_upgraded: RunningService) -> None:
    def send(method: str, path: str, content: bytes, kind: str) -> None:
        answer = own_upgraded.http.request(method, path, content=content, headers={"Content-Type": kind})
        assert answer.is_success, answer.text

    file, rows = (own_upgraded.get(f"/v1/datasets/open {kind}") for kind in ("file", "rows"))
    send("PUT", f"/v1/datasets/{file['id']}/chunks/2", b"2,yes\n,no\n", "application/octet-stream")
    send("POST", f"/v1/datasets/{rows['id']}/rows", b"x,y\n3,no\n", "text/csv")
    done = own_upgraded.post(f"/v1/datasets/{file['id']}/close")
    assert (done["rows"], done["classes"], done["columns"][0]["missing"]) == (4, ["no", "yes"], 1)
    assert done["columns"][0]["imputation"] == "mean"
    assert own_upgraded.post(f"/v1/datasets/{rows['id']}/close")["rows"] == 5


def test_paused_job_resumes_to_the_weights_of_an_uninterrupted_one(own_upgraded: RunningService) -> None:
    """On another processor both may have other bits; then the two are compared with each other."""
    paused, waiting = EXPECTED["paused"], EXPECTED["waiting"]
    again = train_again(own_upgraded)
    own_upgraded.post(f"/v1/jobs/{paused}/resume")
    done = own_upgraded.wait_for_job(paused)
    assert (done.state, done.epoch, done.attempts) == ("succeeded", 300, 2)
    resumed = weights_digest(own_upgraded, done.network_id, done.network_version)
    if again == EXPECTED["weights_sha256"]:
        assert resumed == again
    history = own_upgraded.get(f"/v1/jobs/{paused}/history?limit=1000")["data"]
    costs = [epoch["cost"] for epoch in history]
    uninterrupted = [cost for cost, _ in EXPECTED["costs"][EXPECTED["uninterrupted"]]]
    assert costs == pytest.approx(uninterrupted, rel=1e-3, abs=1e-7)
    after = own_upgraded.wait_for_job(waiting)
    assert (after.state, after.epoch) == ("succeeded", 5)


def train_again(service: RunningService) -> str:
    """Train the network of the uninterrupted job from its start, and return the digest of its weights."""
    job = service.get(f"/v1/jobs/{EXPECTED['uninterrupted']}")
    settings = ("network_id", "dataset_id", "epochs", "batch_size", "learning_rate", "optimizer", "seed", "validation")
    done = service.wait_for_job(service.post("/v1/jobs", {name: job[name] for name in settings})["id"])
    assert done.state == "succeeded"
    return weights_digest(service, done.network_id, done.network_version)


def weights_digest(service: RunningService, network: str, version: int | None) -> str:
    content = service.http.get(f"/v1/networks/{network}/versions/{version}/file").content
    arrays = safetensors.numpy.load(content)
    return hashlib.sha256(b"".join(sorted(array.tobytes() for array in arrays.values()))).hexdigest()


def test_everything_is_there_after_another_start(own_upgraded: RunningService) -> None:
    before = own_upgraded.get("/v1/networks?limit=100"), own_upgraded.get("/v1/jobs?limit=100")
    own_upgraded.kill()
    own_upgraded.start()
    own_upgraded.wait_until_ready()
    assert (own_upgraded.get("/v1/networks?limit=100"), own_upgraded.get("/v1/jobs?limit=100")) == before
    assert own_upgraded.log.read_text().count("upgrading the journal") == 1
