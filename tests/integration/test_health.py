"""Health checks, metrics, and an API that stays responsive while a job trains."""

import time
from pathlib import Path

from tests.conftest import StartService
from tests.support import scenarios
from tests.support.faulty_workers import broken_workers
from tests.support.service import TIMEOUT_SECONDS, RunningService


def test_service_is_live_before_it_is_ready(start_service: StartService) -> None:
    service = start_service()
    assert service.get("/health/live") == {"status": "live"}
    response = service.http.get("/health/ready")
    if response.status_code != 200:  # usually no worker has started yet
        assert response.status_code == 503
        assert response.json()["type"] == "/problems/not-ready"
        assert "cpu-0" in response.json()["detail"]
        assert "starting" in response.json()["detail"]
    service.wait_until_ready()
    assert service.get("/health/ready") == {"status": "ready"}


def test_metrics_count_jobs_by_state(service: RunningService) -> None:
    job = scenarios.submit_endless_job(service)
    service.wait_for_epoch(job["id"], 1)
    text = service.http.get("/metrics").text
    assert 'nabla_jobs{state="running"} 1.0' in text
    assert 'nabla_slot_ready{slot="cpu-0"} 1.0' in text
    service.post(f"/v1/jobs/{job['id']}/cancel")
    assert 'nabla_jobs{state="running"} 0.0' in service.http.get("/metrics").text


def test_api_responds_while_a_job_trains(service: RunningService) -> None:
    job = scenarios.submit_endless_job(service)
    service.wait_for_epoch(job["id"], 1)
    epochs: list[int] = []
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while len(epochs) < 200 or len(set(epochs)) < 2:
        epochs.append(service.get(f"/v1/jobs/{job['id']}")["epoch"])
        assert time.monotonic() < deadline
    service.post(f"/v1/jobs/{job['id']}/cancel")
    assert epochs == sorted(epochs)
    assert epochs[0] > 0


def test_all_say_that_no_worker_can_start(start_service: StartService, tmp_path: Path) -> None:
    with broken_workers(tmp_path) as environment:
        service = start_service(environment=environment)
        response = service.http.get("/health/ready")
        assert (response.status_code, response.json()["type"]) == (503, "/problems/not-ready")
        inference = service.http.get("/v2/health/ready")
        assert (inference.status_code, inference.json()) == (503, {"ready": False})
    service.wait_until_ready()
    assert service.get("/v2/health/ready") == {"ready": True}
