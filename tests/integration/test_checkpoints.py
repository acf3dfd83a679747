"""Checkpoints of jobs: interval, retention, publishing and resuming; versions of networks; files after crashes."""

import os
import signal
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from tests.conftest import StartService
from tests.support import scenarios
from tests.support.service import RunningService

ADAM: dict[str, Any] = {"optimizer": "adam", "learning_rate": 0.05, "shuffle": False}


def checkpoints(service: RunningService, job: dict[str, Any]) -> list[dict[str, Any]]:
    return list(service.get(f"/v1/jobs/{job['id']}/checkpoints")["data"])


def download_checkpoint(service: RunningService, job: dict[str, Any], number: int) -> dict[str, np.ndarray]:
    response = service.http.get(f"/v1/jobs/{job['id']}/checkpoints/{number}")
    assert response.status_code == 200
    assert f"{job['id']}-{number}.safetensors" in response.headers["content-disposition"]
    return safetensors.numpy.load(response.content)


def outputs(service: RunningService, network: str, version: int | None = None) -> Any:
    body = {"inputs": scenarios.XOR_INPUTS, "version": version}
    return service.post(f"/v1/networks/{network}/predictions", body)["outputs"]


def test_checkpoints_by_epochs_keep_the_newest(service: RunningService) -> None:
    job = scenarios.submit_job(service, epochs=25, checkpoints={"epochs": 4, "keep": 3})
    assert job["checkpoints"] == {"seconds": 10.0, "epochs": 4, "keep": 3}
    assert service.wait_for_job(job["id"]).state == "succeeded"
    retained = checkpoints(service, job)
    history = {epoch.epoch: epoch.cost for epoch in service.history(job["id"])}
    assert [(checkpoint["number"], checkpoint["epoch"], checkpoint["cost"]) for checkpoint in retained] == [
        (6, 24, history[24]),
        (5, 20, history[20]),
        (4, 16, history[16]),
    ]
    directory = service.data_dir / "networks" / job["network_id"]
    sizes = sorted(file.stat().st_size for file in directory.glob("*.checkpoint"))
    assert sorted(checkpoint["bytes"] for checkpoint in retained) == sizes
    assert service.http.get(f"/v1/jobs/{job['id']}/checkpoints/3").json()["type"] == "/problems/unknown-checkpoint"
    assert download_checkpoint(service, job, 6)["parameters"].size == 33


def test_checkpoints_by_seconds_follow_the_setting_or_the_job(start_service: StartService) -> None:
    service = start_service(checkpoint_interval="0.05", max_checkpoints="1")
    job = scenarios.submit_endless_job(service)
    frequent = scenarios.submit_endless_job(service, checkpoints={"seconds": 0.01, "keep": 5})
    assert (job["checkpoints"]["seconds"], job["checkpoints"]["keep"]) == (0.05, 1)
    for running, keep in ((job, 1), (frequent, 5)):
        while len(checkpoints(service, running)) < keep or checkpoints(service, running)[0]["number"] <= keep:
            reached = service.get(f"/v1/jobs/{running['id']}")["epoch"]
            service.wait_for_epoch(running["id"], reached + 100)
        assert len(checkpoints(service, running)) == keep
        service.post(f"/v1/jobs/{running['id']}/cancel")
        assert len(checkpoints(service, running)) == keep


def test_published_checkpoint_is_the_current_version(service: RunningService) -> None:
    job = scenarios.submit_job(service, epochs=30, checkpoints={"epochs": 10, "keep": 3})
    service.wait_for_job(job["id"])
    network = job["network_id"]
    final = outputs(service, network)
    published = service.post(f"/v1/jobs/{job['id']}/checkpoints/1/publish", {"weights": "last"}, 201)
    assert (published["version"], published["current"], published["job_id"], published["epoch"]) == (
        2,
        True,
        job["id"],
        10,
    )
    assert published["classes"] == ["no", "yes"]
    shorter = scenarios.submit_job(service, dataset_id=job["dataset_id"], epochs=10)
    service.wait_for_job(shorter["id"])
    assert outputs(service, network) == outputs(service, shorter["network_id"]) != final
    service.post(f"/v1/jobs/{job['id']}/checkpoints/3/publish")
    assert outputs(service, network) == final
    problem = service.post(f"/v1/jobs/{job['id']}/checkpoints/1/publish", {"weights": "best"}, 409)
    assert "early stopping" in problem["detail"]


def test_older_version_can_be_made_current(service: RunningService) -> None:
    network, dataset = scenarios.create_network(service)["id"], scenarios.create_dataset(service)["id"]
    jobs = [scenarios.submit_job(service, network_id=network, dataset_id=dataset, epochs=10 * n) for n in (1, 2)]
    for job in jobs:
        service.wait_for_job(job["id"])
    path = f"/v1/networks/{network}"
    page = service.get(f"{path}/versions?limit=2")
    assert page["has_more"]
    assert [(version["version"], version["current"], version["job_id"]) for version in page["data"]] == [
        (2, True, jobs[1]["id"]),
        (1, False, jobs[0]["id"]),
    ]
    rest = service.get(f"{path}/versions?before=1")
    assert ([version["version"] for version in rest["data"]], rest["has_more"]) == ([0], False)
    second, first = outputs(service, network), outputs(service, network, 1)
    assert second != first
    response = service.http.patch(path, json={"version": 1})
    assert response.json()["version"] == service.get(path)["version"] == 1
    assert outputs(service, network) == first
    assert service.http.patch(path, json={"version": 9}).json()["type"] == "/problems/unknown-version"
    warm = scenarios.submit_job(service, network_id=network, dataset_id=dataset, epochs=1, warm_start=True)
    assert service.wait_for_job(warm["id"]).start_version == 1
    assert service.get(path)["version"] == 3


@pytest.mark.parametrize("deleted", [False, True])
def test_resuming_continues_with_weights_and_optimizer_state(service: RunningService, deleted: bool) -> None:
    uninterrupted = scenarios.submit_job(service, epochs=20, **ADAM)
    first = scenarios.submit_job(
        service, dataset_id=uninterrupted["dataset_id"], epochs=10, checkpoints={"epochs": 10}, **ADAM
    )
    service.wait_for_job(first["id"])
    blocking = scenarios.submit_endless_job(service)
    second = scenarios.submit_job(
        service,
        network_id=first["network_id"],
        dataset_id=uninterrupted["dataset_id"],
        epochs=10,
        resume_from={"job_id": first["id"], "checkpoint": 1},
        **ADAM,
    )
    if deleted:
        assert service.http.delete(f"/v1/jobs/{first['id']}").status_code == 204
        assert service.http.get(f"/v1/jobs/{first['id']}/checkpoints").status_code == 404
    service.post(f"/v1/jobs/{blocking['id']}/cancel")
    assert service.wait_for_job(second["id"]).state == "succeeded"
    assert outputs(service, first["network_id"]) == outputs(service, uninterrupted["network_id"])
    costs = [epoch.cost for epoch in service.history(uninterrupted["id"])]
    assert [epoch.cost for epoch in service.history(second["id"])] == costs[10:]
    directory = service.data_dir / "networks" / first["network_id"]
    assert len([*directory.glob("*.checkpoint")]) == (0 if deleted else 1)


def test_invalid_resume_from_is_rejected(service: RunningService) -> None:
    job = scenarios.submit_job(service, epochs=4, checkpoints={"epochs": 2})
    service.wait_for_job(job["id"])
    body = {"network_id": job["network_id"], "dataset_id": job["dataset_id"]}
    rejected: list[tuple[dict[str, Any], str, str]] = [
        ({"resume_from": {"job_id": job["id"], "checkpoint": 7}}, "resume_from.checkpoint", "It has: 1, 2"),
        (
            {
                "resume_from": {"job_id": job["id"], "checkpoint": 1},
                "network_id": scenarios.create_network(service)["id"],
            },
            "resume_from.job_id",
            "another network",
        ),
        ({"resume_from": {"job_id": job["id"], "checkpoint": 1}, "warm_start": True}, "resume_from", "warm_start"),
    ]
    for change, field, message in rejected:
        problem = service.post("/v1/jobs", {**body, **change}, 422)
        assert problem["errors"][0]["field"] == field
        assert message in problem["detail"]


def test_deleting_a_job_deletes_its_checkpoints_but_not_its_version(service: RunningService) -> None:
    job = scenarios.submit_job(service, epochs=4, checkpoints={"epochs": 2})
    service.wait_for_job(job["id"])
    before = outputs(service, job["network_id"])
    assert service.http.delete(f"/v1/jobs/{job['id']}").status_code == 204
    directory = service.data_dir / "networks" / job["network_id"]
    assert {file.suffix for file in directory.iterdir()} == {".safetensors"}
    assert outputs(service, job["network_id"]) == before


def test_checkpoint_of_a_deleted_dataset_can_be_published(service: RunningService) -> None:
    """The checkpoint contains the names of the classes."""
    dataset = scenarios.create_dataset(service)["id"]
    job = scenarios.submit_job(service, dataset_id=dataset, checkpoints={"epochs": 100})
    service.wait_for_job(job["id"])
    assert service.http.delete(f"/v1/datasets/{dataset}").status_code == 204
    service.post(f"/v1/jobs/{job['id']}/checkpoints/5/publish", {"weights": "last"}, 201)
    body = {"inputs": scenarios.XOR_INPUTS}
    assert set(service.post(f"/v1/networks/{job['network_id']}/predictions", body)["labels"]) == {"no", "yes"}


WIDE = {"layers": [{"units": 100_000, "activation": "tanh"}, {"units": 1, "activation": "sigmoid"}]}


def count_listed_files(service: RunningService, network: str, *jobs: str) -> int:
    """Return how many files the listed versions of the network and checkpoints of the jobs have."""
    versions = len(service.get(f"/v1/networks/{network}/versions")["data"])
    return versions + sum(len(checkpoints(service, {"id": job})) for job in jobs)


def test_job_cancelled_while_saving_leaves_no_orphaned_files(service: RunningService) -> None:
    """The job saves a large checkpoint after each short epoch, so that it is mostly cancelled while saving."""
    network, dataset = scenarios.create_network(service, **WIDE)["id"], scenarios.create_dataset(service)["id"]
    ids = {"network_id": network, "dataset_id": dataset}
    jobs = []
    for _ in range(5):
        job = scenarios.submit_endless_job(service, **ids, checkpoints={"epochs": 1})
        service.wait_for_epoch(job["id"], 3)
        service.post(f"/v1/jobs/{job['id']}/cancel")
        jobs.append(job["id"])
    last = scenarios.submit_job(service, **ids, epochs=1)["id"]
    service.wait_for_job(last)  # the worker has cleaned up after the earlier jobs
    directory = service.data_dir / "networks" / network
    assert len([*directory.iterdir()]) == count_listed_files(service, network, *jobs, last)


def test_worker_crash_while_saving_leaves_no_files(start_service: StartService) -> None:
    service = start_service()
    network = scenarios.create_network(service, **WIDE)["id"]
    job = scenarios.submit_endless_job(service, network_id=network, checkpoints={"epochs": 1})
    service.wait_for_epoch(job["id"], 1)
    directory = service.data_dir / "networks" / network
    for attempt in (2, 3):
        while not [*directory.glob(".unfinished-*")]:
            assert service.get(f"/v1/jobs/{job['id']}")["state"] in ("queued", "running")
        for worker in service.worker_pids():
            os.kill(worker, signal.SIGKILL)
        if attempt == 2:
            service.wait_for_attempt(job["id"], attempt)
    assert service.wait_for_job(job["id"]).state == "failed"
    assert len([*directory.iterdir()]) == count_listed_files(service, network, job["id"])
