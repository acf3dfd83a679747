"""A disk that is full: requests to create something are refused in words, everything else goes on, and as soon as there
is room again so does training, to the same bits. Needs the right to mount a small disk of memory."""

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

from tests.integration.test_datasets import npy
from tests.integration.test_uploads import create
from tests.support import scenarios
from tests.support.batch_predictions import begun, ended, file_of, left
from tests.support.scenarios import Result, long, many_rows, result
from tests.support.service import PATIENCE, RunningService

SIZE = 24 * 2**20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small one."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as problem:
        reason = problem.stderr.strip() if isinstance(problem, subprocess.CalledProcessError) else str(problem)
        pytest.skip(f"no disk can be mounted here: {reason}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def wrote(descriptor: int, size: int) -> bool:
    """Whether there was room for any of it."""
    try:
        return os.write(descriptor, bytes(size)) > 0
    except OSError as problem:
        if problem.errno != errno.ENOSPC:
            raise
        return False


class Filler:
    """A file that takes all the room there is."""

    def __init__(self, disk: Path) -> None:
        self._path = disk / "filler"

    def fill(self) -> None:
        """To the last page, whatever has become free since."""
        with self._path.open("ab", buffering=0) as file:
            for size in (2**20, 4096):
                while wrote(file.fileno(), size):
                    pass

    def leave(self, room: int) -> None:
        """Room for so many bytes."""
        self.fill()
        os.truncate(self._path, self._path.stat().st_size - room)

    def remove(self) -> None:
        self._path.unlink()


def until_refused(service: RunningService, filler: Filler, path: str, body: dict[str, Any]) -> tuple[list[str], str]:
    """Create until there is no room for it: the ids of what was created, and why there was no more. (What is written
    into a place that the journal has already needs no room.)"""
    created: list[str] = []
    for _ in range(900):
        filler.fill()
        answer = service.http.post(path, json=body)
        if not answer.is_success:
            return created, in_words(answer)
        created.append(answer.json()["id"])
    raise AssertionError("there is always room")


def in_words(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (507, "/problems/storage-full"), problem
    assert problem["detail"].endswith("on the disk of the data folder. Nothing was stored.")
    return str(problem["detail"])


def all_ids(service: RunningService, kind: str) -> set[str]:
    page = service.get(f"/v1/{kind}?limit=1000")
    assert not page["has_more"]
    return {record["id"] for record in page["data"]}


def test_a_full_disk_refuses_in_words_and_goes_on_when_there_is_room(disk: Path, undisturbed: Result) -> None:
    with RunningService(disk, checkpoint_seconds="0.05") as service:
        assert service.finished(scenarios.job(service, epochs=1)["id"]).state == "succeeded"
        job = long(service)
        service.trained(job["id"], 300)
        filler = Filler(disk)
        refuse_in_words(service, filler, job)
        assert service.process.poll() is None
        filler.remove()
        service.ready()
        done = service.finished(job["id"])
        assert (done.state, done.error) == ("succeeded", None)
        assert done.attempts <= 3
        for other in all_ids(service, "jobs"):  # those that were taken before there was no room left
            service.finished(other)
        service.http.patch(f"/v1/networks/{job['network_id']}", json={"version": done.network_version})
        assert result(service, job) == undisturbed
        assert service.finished(scenarios.job(service)["id"]).state == "succeeded"
        assert not list(disk.glob("**/.unfinished*"))
        for kind in ("networks", "datasets"):
            assert {folder.name for folder in (disk / kind).iterdir()} == all_ids(service, kind)


def refuse_in_words(service: RunningService, filler: Filler, job: dict[str, Any]) -> None:
    there = {kind: all_ids(service, kind) for kind in ("networks", "datasets", "jobs")}
    before = service.post(f"/v1/networks/{job['network_id']}/predictions", {"inputs": scenarios.XOR_INPUTS})
    small: dict[str, dict[str, Any]] = {
        "networks": {"inputs": 2, "layers": [{"units": 1, "activation": "identity"}]},
        "datasets": {"inputs": [[0, 1]], "targets": [[1]]},
        "jobs": {**{name: job[name] for name in ("network_id", "dataset_id")}, "epochs": 1, "batch_size": 500},
    }
    small["jobs"]["learning_rate"] = 0.1
    deadline = time.monotonic() + PATIENCE
    while (ready := service.http.get("/health/ready")).status_code == 200:
        filler.fill()
        assert time.monotonic() < deadline, service.log.read_text()
    assert ready.json()["type"] == "/problems/not-ready"
    assert "There is no space left for" in ready.json()["detail"]
    for kind, body in small.items():
        created, _ = until_refused(service, filler, f"/v1/{kind}", body)
        there[kind] |= set(created)
    for kind, ids in there.items():
        assert all_ids(service, kind) == ids
    for id in there["jobs"]:
        if service.get(f"/v1/jobs/{id}")["state"] == "queued" and id != job["id"]:
            cancel(service, id)
    again = service.post(f"/v1/networks/{job['network_id']}/predictions", {"inputs": scenarios.XOR_INPUTS})
    assert again == before
    assert service.get("/health/live") == {"status": "live"}


def cancel(service: RunningService, id: str) -> None:
    """Or not, if there is no room for that."""
    answer = service.http.post(f"/v1/jobs/{id}/cancel")
    if not answer.is_success:
        in_words(answer)
        assert service.get(f"/v1/jobs/{id}")["state"] == "queued"


def test_data_that_do_not_fit_leave_nothing_behind(disk: Path) -> None:
    with RunningService(disk) as service:
        sound = many_rows(service)
        free = os.statvfs(disk).f_bavail
        filler = Filler(disk)
        filler.fill()
        answer = service.http.post("/v1/datasets", json={"inputs": [[0.1] * 100] * 5000, "targets": [[0.2]] * 5000})
        in_words(answer)
        filler.remove()
        assert os.statvfs(disk).f_bavail == free
        assert (
            all_ids(service, "datasets") == {sound["id"]} == {folder.name for folder in (disk / "datasets").iterdir()}
        )


@pytest.mark.parametrize("format", ["csv", "parquet", "arrow", "npy"])
def test_a_batch_prediction_that_there_is_no_room_for_says_so_and_gives_the_room_back(disk: Path, format: str) -> None:
    rows = 2**15
    with RunningService(disk) as service:
        layers = [{"units": 64, "activation": "sin"}]
        network = scenarios.network(service, inputs=1, cost="quadratic", layers=layers)["id"]
        targets = np.zeros((rows, 64), np.float16)
        files = {
            "inputs": ("x.npy", npy(np.random.default_rng(8).normal(size=(rows, 1)))),
            "targets": ("y.npy", npy(targets)),
        }
        dataset = create(service, files=files)["id"]
        filler = Filler(disk)
        filler.leave(2**21)
        view = ended(service, begun(service, network, dataset, format=format))
        assert view.error is not None
        assert (view.state, view.error.kind) == ("failed", "storage_failed")
        assert f"no space left for predictions.{format}" in view.error.message
        assert not left(service)
        few = scenarios.dataset(service, inputs=[[1.0]], labels=None, targets=[[0.0] * 64])["id"]
        file_of(service, begun(service, network, few, format=format))


def test_networks_that_do_not_fit_go_neither_out_nor_in(disk: Path) -> None:
    """There is no room for the file that comes, or for that but not for the weights in it besides."""
    with RunningService(disk) as service:
        network = scenarios.network(service, layers=[{"units": 2**18, "activation": "tanh"}], cost="quadratic")["id"]
        path = f"/v1/networks/{network}/versions/0/file"
        whole = service.http.get(path).content
        free = os.statvfs(disk).f_bavail
        filler = Filler(disk)
        for room in (0, len(whole) * 3 // 2):
            filler.leave(room)
            in_words(service.http.post("/v1/networks", files={"file": ("again", whole)}))
            if not room:
                in_words(service.http.get(path))
        filler.remove()
        # The journal may have grown a little; a file that was left would be many times that.
        assert (free - os.statvfs(disk).f_bavail) * os.statvfs(disk).f_frsize < len(whole) // 4
        assert {folder.name for folder in (disk / "networks").iterdir()} == {network} == all_ids(service, "networks")
        assert not list(disk.glob("**/.unfinished*"))
        again = service.http.post("/v1/networks", files={"file": ("again", service.http.get(path).content)})
        assert again.status_code == 201, again.text
