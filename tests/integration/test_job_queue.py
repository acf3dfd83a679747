"""Who trains next: priorities, one job of a network at a time, jobs that wait for others, and limits."""

import itertools
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import StartService
from tests.support import scenarios
from tests.support.scenarios import started
from tests.support.service import RunningService


@pytest.fixture
def blocker(service: RunningService) -> Iterator[dict[str, Any]]:
    """A job that keeps the only slot until the test ends it."""
    job = scenarios.endless(service)
    started(service, job["id"])
    yield job
    service.http.post(f"/v1/jobs/{job['id']}/cancel")


def end(service: RunningService, job: dict[str, Any]) -> None:
    service.post(f"/v1/jobs/{job['id']}/cancel")


def positions(service: RunningService, *jobs: dict[str, Any]) -> list[int | None]:
    return [service.get(f"/v1/jobs/{job['id']}")["queue_position"] for job in jobs]


def test_priorities_then_first_come_first_served(service: RunningService, blocker: dict[str, Any]) -> None:
    first, second = scenarios.job(service, epochs=1), scenarios.job(service, epochs=1)
    urgent, idle = scenarios.job(service, epochs=1, priority=5), scenarios.job(service, epochs=1, priority=-5)
    assert positions(service, urgent, first, second, idle) == [0, 1, 2, 3]
    changed = service.http.patch(f"/v1/jobs/{idle['id']}", json={"priority": 9}).json()
    assert (changed["priority"], changed["queue_position"]) == (9, 0)
    assert service.http.patch(f"/v1/jobs/{first['id']}", json={"priority": -1}).json()["queue_position"] == 3
    end(service, blocker)
    done = [service.finished(job["id"]) for job in (idle, urgent, second, first)]
    starts = [job.started_at for job in done if job.started_at is not None]
    assert len(starts) == 4
    assert starts == sorted(starts)


def test_jobs_in_some_states(service: RunningService, blocker: dict[str, Any]) -> None:
    waiting, ended = (scenarios.job(service, epochs=1)["id"] for _ in range(2))
    service.post(f"/v1/jobs/{ended}/cancel")

    def listed(query: str) -> list[str]:
        return [job["id"] for job in service.get(f"/v1/jobs?{query}")["data"]]

    assert listed("state=running") == [blocker["id"]]
    assert listed("state=queued&state=running") == [waiting, blocker["id"]]
    assert listed(f"state=running&state=queued&after={waiting}") == [blocker["id"]]
    assert listed("state=cancelled&limit=1") == [ended]
    wrong = service.http.get("/v1/jobs?state=done")
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["field"] == "state.0"
    assert "'queued', 'running'" in wrong.json()["detail"]
    end(service, service.get(f"/v1/jobs/{waiting}"))


def test_a_submission_with_a_key_tells_the_same_position(service: RunningService, blocker: dict[str, Any]) -> None:
    network, dataset = scenarios.network(service)["id"], scenarios.dataset(service)["id"]
    body = {"network_id": network, "dataset_id": dataset}
    jobs = [service.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": uuid4().hex}).json() for _ in range(2)]
    assert [job["queue_position"] for job in jobs] == positions(service, *jobs) == [0, 1]
    for job in jobs:
        end(service, job)


def test_what_is_left_of_a_running_job(service: RunningService, blocker: dict[str, Any]) -> None:
    service.trained(blocker["id"], 100)
    now = service.get(f"/v1/jobs/{blocker['id']}")
    assert now["seconds_remaining"] == pytest.approx(now["seconds_elapsed"] / now["epoch"] * (10**9 - now["epoch"]))


def test_one_job_of_a_network_at_a_time(start_service: StartService) -> None:
    service = start_service(cpu_slots="2", slot_cores="1")
    network = scenarios.network(service)["id"]
    running = scenarios.endless(service, network_id=network)
    started(service, running["id"])
    second = scenarios.job(service, epochs=1, network_id=network)
    other = scenarios.job(service, epochs=1)
    assert service.finished(other["id"]).state == "succeeded"
    waiting = service.get(f"/v1/jobs/{second['id']}")
    assert (waiting["state"], waiting["queue_position"]) == ("queued", 0)
    service.post(f"/v1/jobs/{running['id']}/pause")
    assert service.finished(second["id"]).state == "succeeded"


def test_a_job_that_waits_for_others(service: RunningService, blocker: dict[str, Any]) -> None:
    first = scenarios.job(service, epochs=1, name="the-first")
    second = scenarios.job(service, epochs=1, depends_on=["the-first"], priority=10)
    third = scenarios.job(service, epochs=1, depends_on=[second["id"], first["id"]])
    assert second["depends_on"] == second["blocked_by"] == [first["id"]]
    assert second["queue_position"] is None
    assert service.get(f"/v1/jobs/{third['id']}")["blocked_by"] == [second["id"], first["id"]]
    end(service, blocker)
    done = [service.finished(job["id"]) for job in (first, second, third)]
    assert [job.state for job in done] == ["succeeded"] * 3
    for before, after in itertools.pairwise(done):
        assert before.finished_at is not None
        assert after.started_at is not None
        assert before.finished_at <= after.started_at
    afterwards = service.finished(scenarios.job(service, epochs=1, depends_on=[first["id"]])["id"])
    assert (afterwards.state, afterwards.blocked_by) == ("succeeded", [])


def test_a_job_that_waits_in_vain(service: RunningService, blocker: dict[str, Any]) -> None:
    first = scenarios.job(service, epochs=1)
    second = scenarios.job(service, epochs=1, depends_on=[first["id"]])
    third = scenarios.job(service, epochs=1, depends_on=[second["id"]])
    end(service, first)
    for job, other, state in ((second, first, "cancelled"), (third, second, "failed")):
        now = service.finished(job["id"])
        assert now.error is not None
        assert (now.state, now.error.kind) == ("failed", "dependency_failed")
        assert other["id"] in now.error.message
        assert state in now.error.message
    body = {"network_id": first["network_id"], "dataset_id": first["dataset_id"]}
    late = service.post("/v1/jobs", {**body, "depends_on": [first["id"]]}, 422)["errors"]
    assert late[0]["field"] == "depends_on.0"
    assert f"{first['id']} is cancelled; a job that comes after it would never start" in late[0]["message"]
    unknown = service.post("/v1/jobs", {**body, "depends_on": ["nothing"]}, 404)
    assert (unknown["type"], unknown["errors"][0]["field"]) == ("/problems/unknown-job", "depends_on.0")


@pytest.mark.parametrize("keep", [None, "last"])
def test_that_a_job_has_failed_is_not_forgotten_with_it(
    service: RunningService, blocker: dict[str, Any], keep: str | None
) -> None:
    first = scenarios.job(service)
    second = scenarios.job(service, epochs=1, depends_on=[first["id"]])
    service.post(f"/v1/jobs/{first['id']}/cancel", {"keep": keep})
    assert service.http.delete(f"/v1/jobs/{first['id']}").status_code == 204
    now = service.get(f"/v1/jobs/{second['id']}")
    assert (now["state"], now["error"]["kind"]) == ("failed", "dependency_failed")
    assert first["id"] in now["error"]["message"]


def test_waiting_for_another_survives_a_crash(start_service: StartService) -> None:
    service = start_service()
    first = scenarios.endless(service)
    started(service, first["id"])
    second = scenarios.job(service, epochs=1, depends_on=[first["id"]], priority=3)
    service.kill()
    service.start()
    now = service.get(f"/v1/jobs/{second['id']}")
    assert (now["blocked_by"], now["priority"], now["state"]) == ([first["id"]], 3, "queued")
    end(service, first)
    error = service.finished(second["id"]).error
    assert error is not None
    assert error.kind == "dependency_failed"


def test_limits_are_said_in_words(start_service: StartService) -> None:
    service = start_service(max_queued_jobs="2", job_memory_limit="10000")
    blocking = scenarios.endless(service)
    started(service, blocking["id"])
    waiting = [scenarios.job(service) for _ in range(2)]
    body = {"network_id": blocking["network_id"], "dataset_id": blocking["dataset_id"]}
    answer = service.http.post("/v1/jobs", json=body)
    assert (answer.status_code, answer.json()["type"]) == (429, "/problems/too-many")
    assert "2 jobs are queued or paused already" in answer.json()["detail"]
    assert int(answer.headers["Retry-After"]) > 0
    service.post(f"/v1/jobs/{waiting[0]['id']}/pause")
    assert service.http.post("/v1/jobs", json=body).status_code == 429  # it may be resumed at any time
    end(service, waiting[0])
    assert service.post("/v1/jobs", body)["state"] == "queued"
    large = scenarios.network(service, layers=[{"units": 1000, "activation": "tanh"}, {"units": 1}])
    problem = service.post("/v1/jobs", {**body, "network_id": large["id"]}, 422)
    assert problem["errors"][0]["field"] == "batch_size"
    assert "10000 are allowed here" in problem["detail"]
