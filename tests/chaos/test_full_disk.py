"""A full disk: requests to create something are refused, and training continues when there is space, to the same bits.

The tests need the right to mount a tmpfs.
"""

import errno
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support import scenarios
from tests.support.batch_predictions import (
    download_predictions,
    list_batch_directories,
    start_batch_prediction,
    wait_for_batch_prediction,
)
from tests.support.datasets import post_dataset, to_npy
from tests.support.scenarios import TrainingResult, create_2000_row_dataset, submit_long_job, training_result
from tests.support.service import TIMEOUT_SECONDS, RunningService

DISK_BYTES = 24 * 2**20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a small disk."""
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(mount_point)]
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as problem:
        reason = problem.stderr.strip() if isinstance(problem, subprocess.CalledProcessError) else str(problem)
        pytest.skip(f"no disk can be mounted here: {reason}")
    yield mount_point
    subprocess.run(["umount", "--lazy", str(mount_point)], check=True)


def try_write(descriptor: int, size: int) -> bool:
    """Write zeros; return whether there was space for any."""
    try:
        return os.write(descriptor, bytes(size)) > 0
    except OSError as problem:
        if problem.errno != errno.ENOSPC:
            raise
        return False


class Filler:
    """A file that takes all the space there is."""

    def __init__(self, disk: Path) -> None:
        self._path = disk / "filler"

    def fill(self) -> None:
        """Take all the space that is free, to the last page."""
        with self._path.open("ab", buffering=0) as file:
            for size in (2**20, 4096):
                while try_write(file.fileno(), size):
                    pass

    def leave(self, free_bytes: int) -> None:
        """Take all the space but so many bytes."""
        self.fill()
        os.truncate(self._path, self._path.stat().st_size - free_bytes)

    def remove(self) -> None:
        """Free the space."""
        self._path.unlink()


def create_until_refused(service: RunningService, filler: Filler, path: str, body: dict[str, Any]) -> list[str]:
    """Create until there is no space left, and return the ids. A first one may fit into free pages of the journal."""
    created: list[str] = []
    for _ in range(900):
        filler.fill()
        answer = service.http.post(path, json=body)
        if not answer.is_success:
            assert_storage_full(answer)
            return created
        created.append(answer.json()["id"])
    raise AssertionError("the disk does not get full")


def assert_storage_full(answer: httpx.Response) -> None:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (507, "/problems/storage-full"), problem
    assert problem["detail"].endswith("on the disk of the data directory. Nothing was stored.")


def all_ids(service: RunningService, kind: str) -> set[str]:
    page = service.get(f"/v1/{kind}?limit=1000")
    assert not page["has_more"]
    return {record["id"] for record in page["data"]}


def test_service_refuses_on_a_full_disk_and_recovers_when_there_is_space(
    disk: Path, uninterrupted: TrainingResult
) -> None:
    with RunningService(disk, checkpoint_interval="0.05") as service:
        assert service.wait_for_job(scenarios.submit_job(service, epochs=1)["id"]).state == "succeeded"
        job = submit_long_job(service)
        service.wait_for_epoch(job["id"], 300)
        filler = Filler(disk)
        assert_refused(service, filler, job)
        assert service.process.poll() is None
        filler.remove()
        service.wait_until_ready()
        done = service.wait_for_job(job["id"])
        assert (done.state, done.error) == ("succeeded", None)
        assert done.attempts <= 3
        for other in all_ids(service, "jobs"):  # those that were accepted before the disk was full
            service.wait_for_job(other)
        service.http.patch(f"/v1/networks/{job['network_id']}", json={"version": done.network_version})
        assert training_result(service, job) == uninterrupted
        assert service.wait_for_job(scenarios.submit_job(service)["id"]).state == "succeeded"
        assert not list(disk.glob("**/.unfinished*"))
        for kind in ("networks", "datasets"):
            assert {directory.name for directory in (disk / kind).iterdir()} == all_ids(service, kind)


def assert_refused(service: RunningService, filler: Filler, job: dict[str, Any]) -> None:
    ids_by_kind = {kind: all_ids(service, kind) for kind in ("networks", "datasets", "jobs")}
    before = service.post(f"/v1/networks/{job['network_id']}/predictions", {"inputs": scenarios.XOR_INPUTS})
    bodies: dict[str, dict[str, Any]] = {
        "networks": {"inputs": 2, "layers": [{"units": 1, "activation": "identity"}]},
        "datasets": {"inputs": [[0, 1]], "targets": [[1]]},
        "jobs": {**{name: job[name] for name in ("network_id", "dataset_id")}, "epochs": 1, "batch_size": 500},
    }
    bodies["jobs"]["learning_rate"] = 0.1
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (ready := service.http.get("/health/ready")).status_code == 200:
        filler.fill()
        assert time.monotonic() < deadline, service.log.read_text()
    assert ready.json()["type"] == "/problems/not-ready"
    assert "There is no space left for" in ready.json()["detail"]
    for kind, body in bodies.items():
        created = create_until_refused(service, filler, f"/v1/{kind}", body)
        ids_by_kind[kind] |= set(created)
    for kind, ids in ids_by_kind.items():
        assert all_ids(service, kind) == ids
    for id in ids_by_kind["jobs"]:
        if service.get(f"/v1/jobs/{id}")["state"] == "queued" and id != job["id"]:
            cancel(service, id)
    again = service.post(f"/v1/networks/{job['network_id']}/predictions", {"inputs": scenarios.XOR_INPUTS})
    assert again == before
    assert service.get("/health/live") == {"status": "live"}


def cancel(service: RunningService, id: str) -> None:
    """Cancel a job, unless there is no space for that."""
    answer = service.http.post(f"/v1/jobs/{id}/cancel")
    if not answer.is_success:
        assert_storage_full(answer)
        assert service.get(f"/v1/jobs/{id}")["state"] == "queued"


def test_dataset_that_does_not_fit_leaves_nothing_behind(disk: Path) -> None:
    with RunningService(disk) as service:
        dataset = create_2000_row_dataset(service)
        free = os.statvfs(disk).f_bavail
        filler = Filler(disk)
        filler.fill()
        answer = service.http.post("/v1/datasets", json={"inputs": [[0.1] * 100] * 5000, "targets": [[0.2]] * 5000})
        assert_storage_full(answer)
        filler.remove()
        assert os.statvfs(disk).f_bavail == free
        assert (
            all_ids(service, "datasets")
            == {dataset["id"]}
            == {directory.name for directory in (disk / "datasets").iterdir()}
        )


@pytest.mark.parametrize("format", ["csv", "parquet", "arrow", "npy"])
def test_batch_prediction_that_does_not_fit_fails_and_frees_its_space(disk: Path, format: str) -> None:
    rows = 2**15
    with RunningService(disk) as service:
        layers = [{"units": 64, "activation": "sin"}]
        network = scenarios.create_network(service, inputs=1, cost="quadratic", layers=layers)["id"]
        targets = np.zeros((rows, 64), np.float16)
        files = {
            "inputs": ("x.npy", to_npy(np.random.default_rng(8).normal(size=(rows, 1)))),
            "targets": ("y.npy", to_npy(targets)),
        }
        dataset = post_dataset(service, files=files)["id"]
        filler = Filler(disk)
        filler.leave(2**21)
        view = wait_for_batch_prediction(service, start_batch_prediction(service, network, dataset, format=format))
        assert view.error is not None
        assert (view.state, view.error.kind) == ("failed", "storage_failed")
        assert f"no space left for predictions.{format}" in view.error.message
        assert not list_batch_directories(service)
        few = scenarios.create_dataset(service, inputs=[[1.0]], labels=None, targets=[[0.0] * 64])["id"]
        download_predictions(service, start_batch_prediction(service, network, few, format=format))


def test_networks_that_do_not_fit_are_neither_exported_nor_imported(disk: Path) -> None:
    """There is no space for the file, or for the file but not for its weights as well."""
    with RunningService(disk) as service:
        network = scenarios.create_network(service, layers=[{"units": 2**18, "activation": "tanh"}], cost="quadratic")[
            "id"
        ]
        path = f"/v1/networks/{network}/versions/0/file"
        exported = service.http.get(path).content
        free = os.statvfs(disk).f_bavail
        filler = Filler(disk)
        for free_bytes in (0, len(exported) * 3 // 2):
            filler.leave(free_bytes)
            assert_storage_full(service.http.post("/v1/networks", files={"file": ("again", exported)}))
            if not free_bytes:
                assert_storage_full(service.http.get(path))
        filler.remove()
        # The journal may have grown a little; a file that is left over would be many times larger.
        assert (free - os.statvfs(disk).f_bavail) * os.statvfs(disk).f_frsize < len(exported) // 4
        assert (
            {directory.name for directory in (disk / "networks").iterdir()} == {network} == all_ids(service, "networks")
        )
        assert not list(disk.glob("**/.unfinished*"))
        again = service.http.post("/v1/networks", files={"file": ("again", service.http.get(path).content)})
        assert again.status_code == 201, again.text
