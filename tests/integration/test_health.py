"""Health, metrics, and an API that answers while a job trains."""

import time

from tests.conftest import StartService
from tests.support import scenarios
from tests.support.service import PATIENCE, RunningService


def test_live_before_ready(start_service: StartService) -> None:
    service = start_service()
    assert service.get("/health/live") == {"status": "live"}
    answer = service.http.get("/health/ready")
    if answer.status_code != 200:  # it usually is not ready yet
        assert answer.status_code == 503
        assert answer.json()["type"] == "/problems/not-ready"
        assert "cpu-0 is starting" in answer.json()["detail"]
    service.ready()
    assert service.get("/health/ready") == {"status": "ready"}


def test_metrics_count_jobs_by_state(service: RunningService) -> None:
    job = scenarios.endless(service)
    service.trained(job["id"], 1)
    text = service.http.get("/metrics").text
    assert 'nabla_jobs{state="running"} 1.0' in text
    assert 'nabla_slot_ready{slot="cpu-0"} 1.0' in text
    service.post(f"/v1/jobs/{job['id']}/cancel")
    assert 'nabla_jobs{state="running"} 0.0' in service.http.get("/metrics").text


def test_the_api_answers_while_a_job_trains(service: RunningService) -> None:
    job = scenarios.endless(service)
    service.trained(job["id"], 1)
    seen: list[int] = []
    deadline = time.monotonic() + PATIENCE
    while len(seen) < 200 or len(set(seen)) < 2:
        seen.append(service.get(f"/v1/jobs/{job['id']}")["epoch"])
        assert time.monotonic() < deadline
    service.post(f"/v1/jobs/{job['id']}/cancel")
    assert seen == sorted(seen)
    assert seen[0] > 0
