"""Checkpoints of jobs: when they are made, which are kept, and what can be done with them; versions of networks."""

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


def arrays(service: RunningService, job: dict[str, Any], number: int) -> dict[str, np.ndarray]:
    answer = service.http.get(f"/v1/jobs/{job['id']}/checkpoints/{number}")
    assert answer.status_code == 200
    assert f"{job['id']}-{number}.safetensors" in answer.headers["content-disposition"]
    return safetensors.numpy.load(answer.content)


def outputs(service: RunningService, network: str, version: int | None = None) -> Any:
    body = {"inputs": scenarios.XOR_INPUTS, "version": version}
    return service.post(f"/v1/networks/{network}/predictions", body)["outputs"]


def test_by_epochs_with_the_newest_kept(service: RunningService) -> None:
    job = scenarios.job(service, epochs=25, checkpoints={"epochs": 4, "keep": 3})
    assert job["checkpoints"] == {"seconds": 10.0, "epochs": 4, "keep": 3}
    assert service.finished(job["id"]).state == "succeeded"
    kept = checkpoints(service, job)
    history = {epoch.epoch: epoch.cost for epoch in service.history(job["id"])}
    assert [(one["number"], one["epoch"], one["cost"]) for one in kept] == [
        (6, 24, history[24]),
        (5, 20, history[20]),
        (4, 16, history[16]),
    ]
    folder = service.folder / "networks" / job["network_id"]
    assert sorted(one["bytes"] for one in kept) == sorted(file.stat().st_size for file in folder.glob("*.checkpoint"))
    assert service.http.get(f"/v1/jobs/{job['id']}/checkpoints/3").json()["type"] == "/problems/unknown-checkpoint"
    assert arrays(service, job, 6)["parameters"].size == 33


def test_by_seconds_as_the_service_is_set_or_as_the_job_says(start_service: StartService) -> None:
    service = start_service(checkpoint_seconds="0.05", checkpoints_kept="1")
    job = scenarios.endless(service)
    often = scenarios.endless(service, checkpoints={"seconds": 0.01, "keep": 5})
    assert (job["checkpoints"]["seconds"], job["checkpoints"]["keep"]) == (0.05, 1)
    for one, keep in ((job, 1), (often, 5)):
        while len(checkpoints(service, one)) < keep or checkpoints(service, one)[0]["number"] <= keep:
            reached = service.get(f"/v1/jobs/{one['id']}")["epoch"]
            service.trained(one["id"], reached + 100)
        assert len(checkpoints(service, one)) == keep
        service.post(f"/v1/jobs/{one['id']}/cancel")
        assert len(checkpoints(service, one)) == keep


def test_publishing_one(service: RunningService) -> None:
    job = scenarios.job(service, epochs=30, checkpoints={"epochs": 10, "keep": 3})
    service.finished(job["id"])
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
    ten = scenarios.job(service, dataset_id=job["dataset_id"], epochs=10)
    service.finished(ten["id"])
    assert outputs(service, network) == outputs(service, ten["network_id"]) != final
    service.post(f"/v1/jobs/{job['id']}/checkpoints/3/publish")
    assert outputs(service, network) == final
    problem = service.post(f"/v1/jobs/{job['id']}/checkpoints/1/publish", {"weights": "best"}, 409)
    assert "early stopping" in problem["detail"]


def test_versions_are_listed_and_an_older_one_can_predict_again(service: RunningService) -> None:
    network, dataset = scenarios.network(service)["id"], scenarios.dataset(service)["id"]
    jobs = [scenarios.job(service, network_id=network, dataset_id=dataset, epochs=10 * n) for n in (1, 2)]
    for job in jobs:
        service.finished(job["id"])
    path = f"/v1/networks/{network}"
    page = service.get(f"{path}/versions?limit=2")
    assert page["has_more"]
    assert [(one["version"], one["current"], one["job_id"]) for one in page["data"]] == [
        (2, True, jobs[1]["id"]),
        (1, False, jobs[0]["id"]),
    ]
    rest = service.get(f"{path}/versions?before=1")
    assert ([one["version"] for one in rest["data"]], rest["has_more"]) == ([0], False)
    second, first = outputs(service, network), outputs(service, network, 1)
    assert second != first
    changed = service.http.patch(path, json={"version": 1})
    assert changed.json()["version"] == service.get(path)["version"] == 1
    assert outputs(service, network) == first
    assert service.http.patch(path, json={"version": 9}).json()["type"] == "/problems/unknown-version"
    warm = scenarios.job(service, network_id=network, dataset_id=dataset, epochs=1, warm_start=True)
    assert service.finished(warm["id"]).start_version == 1
    assert service.get(path)["version"] == 3


@pytest.mark.parametrize("deleted", [False, True])
def test_starting_from_one_goes_on_with_weights_and_moments(service: RunningService, deleted: bool) -> None:
    whole = scenarios.job(service, epochs=20, **ADAM)
    half = scenarios.job(service, dataset_id=whole["dataset_id"], epochs=10, checkpoints={"epochs": 10}, **ADAM)
    service.finished(half["id"])
    blocking = scenarios.endless(service)
    rest = scenarios.job(
        service,
        network_id=half["network_id"],
        dataset_id=whole["dataset_id"],
        epochs=10,
        resume_from={"job_id": half["id"], "checkpoint": 1},
        **ADAM,
    )
    if deleted:
        assert service.http.delete(f"/v1/jobs/{half['id']}").status_code == 204
        assert service.http.get(f"/v1/jobs/{half['id']}/checkpoints").status_code == 404
    service.post(f"/v1/jobs/{blocking['id']}/cancel")
    assert service.finished(rest["id"]).state == "succeeded"
    assert outputs(service, half["network_id"]) == outputs(service, whole["network_id"])
    costs = [epoch.cost for epoch in service.history(whole["id"])]
    assert [epoch.cost for epoch in service.history(rest["id"])] == costs[10:]
    folder = service.folder / "networks" / half["network_id"]
    assert len([*folder.glob("*.checkpoint")]) == (0 if deleted else 1)


def test_starts_that_cannot_be(service: RunningService) -> None:
    job = scenarios.job(service, epochs=4, checkpoints={"epochs": 2})
    service.finished(job["id"])
    body = {"network_id": job["network_id"], "dataset_id": job["dataset_id"]}
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"resume_from": {"job_id": job["id"], "checkpoint": 7}}, "resume_from.checkpoint", "It has: 1, 2"),
        (
            {"resume_from": {"job_id": job["id"], "checkpoint": 1}, "network_id": scenarios.network(service)["id"]},
            "resume_from.job_id",
            "another network",
        ),
        ({"resume_from": {"job_id": job["id"], "checkpoint": 1}, "warm_start": True}, "resume_from", "one of them"),
    ]
    for change, field, words in wrong:
        problem = service.post("/v1/jobs", {**body, **change}, 422)
        assert problem["errors"][0]["field"] == field
        assert words in problem["detail"]


def test_a_deleted_job_takes_its_checkpoints_along_and_leaves_its_version(service: RunningService) -> None:
    job = scenarios.job(service, epochs=4, checkpoints={"epochs": 2})
    service.finished(job["id"])
    before = outputs(service, job["network_id"])
    assert service.http.delete(f"/v1/jobs/{job['id']}").status_code == 204
    folder = service.folder / "networks" / job["network_id"]
    assert {file.suffix for file in folder.iterdir()} == {".safetensors"}
    assert outputs(service, job["network_id"]) == before


def test_a_checkpoint_needs_its_data_no_more(service: RunningService) -> None:
    """The names of the classes are in it."""
    dataset = scenarios.dataset(service)["id"]
    job = scenarios.job(service, dataset_id=dataset, checkpoints={"epochs": 100})
    service.finished(job["id"])
    assert service.http.delete(f"/v1/datasets/{dataset}").status_code == 204
    service.post(f"/v1/jobs/{job['id']}/checkpoints/5/publish", {"weights": "last"}, 201)
    body = {"inputs": scenarios.XOR_INPUTS}
    assert set(service.post(f"/v1/networks/{job['network_id']}/predictions", body)["labels"]) == {"no", "yes"}


WIDE = {"layers": [{"units": 100_000, "activation": "tanh"}, {"units": 1, "activation": "sigmoid"}]}


def known_files(service: RunningService, network: str, *jobs: str) -> int:
    """Of how many files in the network's folder the service speaks."""
    versions = len(service.get(f"/v1/networks/{network}/versions")["data"])
    return versions + sum(len(checkpoints(service, {"id": job})) for job in jobs)


def test_a_cancelled_job_leaves_no_file_that_nobody_knows(service: RunningService) -> None:
    """It is cancelled while it does hardly anything but save itself."""
    network, dataset = scenarios.network(service, **WIDE)["id"], scenarios.dataset(service)["id"]
    both = {"network_id": network, "dataset_id": dataset}
    jobs = []
    for _ in range(5):
        job = scenarios.endless(service, **both, checkpoints={"epochs": 1})
        service.trained(job["id"], 3)
        service.post(f"/v1/jobs/{job['id']}/cancel")
        jobs.append(job["id"])
    last = scenarios.job(service, **both, epochs=1)["id"]
    service.finished(last)  # the worker has let go of those before
    folder = service.folder / "networks" / network
    assert len([*folder.iterdir()]) == known_files(service, network, *jobs, last)


def test_a_worker_that_dies_as_it_saves_leaves_nothing_behind(start_service: StartService) -> None:
    service = start_service()
    network = scenarios.network(service, **WIDE)["id"]
    job = scenarios.endless(service, network_id=network, checkpoints={"epochs": 1})
    service.trained(job["id"], 1)
    folder = service.folder / "networks" / network
    for attempt in (2, 3):
        while not [*folder.glob(".unfinished-*")]:
            assert service.get(f"/v1/jobs/{job['id']}")["state"] in ("queued", "running")
        for worker in service.workers():
            os.kill(worker, signal.SIGKILL)
        if attempt == 2:
            service.replaced(job["id"], attempt)
    assert service.finished(job["id"]).state == "failed"
    assert len([*folder.iterdir()]) == known_files(service, network, job["id"])
