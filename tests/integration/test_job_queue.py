"""The queue of jobs: priorities, one running job per network, dependencies, and limits."""

import itertools
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import StartService
from tests.support import scenarios
from tests.support.scenarios import wait_until_running
from tests.support.service import RunningService


@pytest.fixture
def blocker(service: RunningService) -> Iterator[dict[str, Any]]:
    """Return a job that occupies the only slot until the test cancels it."""
    job = scenarios.submit_endless_job(service)
    wait_until_running(service, job["id"])
    yield job
    service.http.post(f"/v1/jobs/{job['id']}/cancel")


def cancel(service: RunningService, job: dict[str, Any]) -> None:
    service.post(f"/v1/jobs/{job['id']}/cancel")


def queue_positions(service: RunningService, *jobs: dict[str, Any]) -> list[int | None]:
    return [service.get(f"/v1/jobs/{job['id']}")["queue_position"] for job in jobs]


def test_jobs_run_by_priority_then_in_order_of_submission(service: RunningService, blocker: dict[str, Any]) -> None:
    first, second = scenarios.submit_job(service, epochs=1), scenarios.submit_job(service, epochs=1)
    urgent, idle = (
        scenarios.submit_job(service, epochs=1, priority=5),
        scenarios.submit_job(service, epochs=1, priority=-5),
    )
    assert queue_positions(service, urgent, first, second, idle) == [0, 1, 2, 3]
    changed = service.http.patch(f"/v1/jobs/{idle['id']}", json={"priority": 9}).json()
    assert (changed["priority"], changed["queue_position"]) == (9, 0)
    assert service.http.patch(f"/v1/jobs/{first['id']}", json={"priority": -1}).json()["queue_position"] == 3
    cancel(service, blocker)
    finished = [service.wait_for_job(job["id"]) for job in (idle, urgent, second, first)]
    starts = [job.started_at for job in finished if job.started_at is not None]
    assert len(starts) == 4
    assert starts == sorted(starts)


def test_jobs_are_listed_by_state(service: RunningService, blocker: dict[str, Any]) -> None:
    queued, cancelled = (scenarios.submit_job(service, epochs=1)["id"] for _ in range(2))
    service.post(f"/v1/jobs/{cancelled}/cancel")

    def list_ids(query: str) -> list[str]:
        return [job["id"] for job in service.get(f"/v1/jobs?{query}")["data"]]

    assert list_ids("state=running") == [blocker["id"]]
    assert list_ids("state=queued&state=running") == [queued, blocker["id"]]
    assert list_ids(f"state=running&state=queued&after={queued}") == [blocker["id"]]
    assert list_ids("state=cancelled&limit=1") == [cancelled]
    rejected = service.http.get("/v1/jobs?state=done")
    assert rejected.status_code == 422
    assert rejected.json()["errors"][0]["field"] == "state.0"
    assert "'queued', 'running'" in rejected.json()["detail"]
    cancel(service, service.get(f"/v1/jobs/{queued}"))


def test_idempotent_submission_returns_the_queue_position(service: RunningService, blocker: dict[str, Any]) -> None:
    network, dataset = scenarios.create_network(service)["id"], scenarios.create_dataset(service)["id"]
    body = {"network_id": network, "dataset_id": dataset}
    jobs = [service.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": uuid4().hex}).json() for _ in range(2)]
    assert [job["queue_position"] for job in jobs] == queue_positions(service, *jobs) == [0, 1]
    for job in jobs:
        cancel(service, job)


def test_remaining_time_is_extrapolated_from_the_epochs_so_far(
    service: RunningService, blocker: dict[str, Any]
) -> None:
    service.wait_for_epoch(blocker["id"], 100)
    current = service.get(f"/v1/jobs/{blocker['id']}")
    assert current["seconds_remaining"] == pytest.approx(
        current["seconds_elapsed"] / current["epoch"] * (10**9 - current["epoch"])
    )


def test_one_job_per_network_runs_at_a_time(start_service: StartService) -> None:
    service = start_service(cpu_slots="2", cores_per_cpu_slot="1")
    network = scenarios.create_network(service)["id"]
    running = scenarios.submit_endless_job(service, network_id=network)
    wait_until_running(service, running["id"])
    second = scenarios.submit_job(service, epochs=1, network_id=network)
    other = scenarios.submit_job(service, epochs=1)
    assert service.wait_for_job(other["id"]).state == "succeeded"
    queued = service.get(f"/v1/jobs/{second['id']}")
    assert (queued["state"], queued["queue_position"]) == ("queued", 0)
    service.post(f"/v1/jobs/{running['id']}/pause")
    assert service.wait_for_job(second["id"]).state == "succeeded"


def test_job_starts_after_its_dependencies(service: RunningService, blocker: dict[str, Any]) -> None:
    first = scenarios.submit_job(service, epochs=1, name="the-first")
    second = scenarios.submit_job(service, epochs=1, depends_on=["the-first"], priority=10)
    third = scenarios.submit_job(service, epochs=1, depends_on=[second["id"], first["id"]])
    assert second["depends_on"] == second["blocked_by"] == [first["id"]]
    assert second["queue_position"] is None
    assert service.get(f"/v1/jobs/{third['id']}")["blocked_by"] == [second["id"], first["id"]]
    cancel(service, blocker)
    finished = [service.wait_for_job(job["id"]) for job in (first, second, third)]
    assert [job.state for job in finished] == ["succeeded"] * 3
    for earlier, later in itertools.pairwise(finished):
        assert earlier.finished_at is not None
        assert later.started_at is not None
        assert earlier.finished_at <= later.started_at
    last = service.wait_for_job(scenarios.submit_job(service, epochs=1, depends_on=[first["id"]])["id"])
    assert (last.state, last.blocked_by) == ("succeeded", [])


def test_job_fails_when_its_dependency_does_not_succeed(service: RunningService, blocker: dict[str, Any]) -> None:
    first = scenarios.submit_job(service, epochs=1)
    second = scenarios.submit_job(service, epochs=1, depends_on=[first["id"]])
    third = scenarios.submit_job(service, epochs=1, depends_on=[second["id"]])
    cancel(service, first)
    for job, dependency, state in ((second, first, "cancelled"), (third, second, "failed")):
        current = service.wait_for_job(job["id"])
        assert current.error is not None
        assert (current.state, current.error.kind) == ("failed", "dependency_failed")
        assert dependency["id"] in current.error.message
        assert state in current.error.message
    body = {"network_id": first["network_id"], "dataset_id": first["dataset_id"]}
    rejected = service.post("/v1/jobs", {**body, "depends_on": [first["id"]]}, 422)["errors"]
    assert rejected[0]["field"] == "depends_on.0"
    assert f"{first['id']} is cancelled; a job that depends on it would never start" in rejected[0]["message"]
    unknown = service.post("/v1/jobs", {**body, "depends_on": ["nothing"]}, 404)
    assert (unknown["type"], unknown["errors"][0]["field"]) == ("/problems/unknown-job", "depends_on.0")


@pytest.mark.parametrize("keep", [None, "last"])
def test_dependent_job_fails_though_its_cancelled_dependency_was_deleted(
    service: RunningService, blocker: dict[str, Any], keep: str | None
) -> None:
    first = scenarios.submit_job(service)
    second = scenarios.submit_job(service, epochs=1, depends_on=[first["id"]])
    service.post(f"/v1/jobs/{first['id']}/cancel", {"keep": keep})
    assert service.http.delete(f"/v1/jobs/{first['id']}").status_code == 204
    current = service.get(f"/v1/jobs/{second['id']}")
    assert (current["state"], current["error"]["kind"]) == ("failed", "dependency_failed")
    assert first["id"] in current["error"]["message"]


def test_dependencies_survive_a_crash(start_service: StartService) -> None:
    service = start_service()
    first = scenarios.submit_endless_job(service)
    wait_until_running(service, first["id"])
    second = scenarios.submit_job(service, epochs=1, depends_on=[first["id"]], priority=3)
    service.kill()
    service.start()
    current = service.get(f"/v1/jobs/{second['id']}")
    assert (current["blocked_by"], current["priority"], current["state"]) == ([first["id"]], 3, "queued")
    cancel(service, first)
    error = service.wait_for_job(second["id"]).error
    assert error is not None
    assert error.kind == "dependency_failed"


def test_limits_of_queue_and_memory(start_service: StartService) -> None:
    service = start_service(max_queued_jobs="2", job_memory_limit="10000")
    blocking = scenarios.submit_endless_job(service)
    wait_until_running(service, blocking["id"])
    queued = [scenarios.submit_job(service) for _ in range(2)]
    body = {"network_id": blocking["network_id"], "dataset_id": blocking["dataset_id"]}
    response = service.http.post("/v1/jobs", json=body)
    assert (response.status_code, response.json()["type"]) == (429, "/problems/too-many")
    assert "2 jobs are queued or paused already" in response.json()["detail"]
    assert int(response.headers["Retry-After"]) > 0
    service.post(f"/v1/jobs/{queued[0]['id']}/pause")
    assert service.http.post("/v1/jobs", json=body).status_code == 429  # a paused job may be resumed at any time
    cancel(service, queued[0])
    assert service.post("/v1/jobs", body)["state"] == "queued"
    large = scenarios.create_network(service, layers=[{"units": 1000, "activation": "tanh"}, {"units": 1}])
    problem = service.post("/v1/jobs", {**body, "network_id": large["id"]}, 422)
    assert problem["errors"][0]["field"] == "batch_size"
    assert "10000 are allowed" in problem["detail"]
