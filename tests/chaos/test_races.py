"""Cancelling a job at the moment of its end: it ends once, whichever comes first."""

import time

from nabla.app.schemas.jobs import JobView
from tests.chaos import LONG
from tests.support import scenarios
from tests.support.scenarios import wait_until_running
from tests.support.service import RunningService

TRIALS = 500 if LONG else 40


def test_job_cancelled_at_its_end_ends_once(service: RunningService) -> None:
    network, dataset = scenarios.create_network(service)["id"], scenarios.create_dataset(service)["id"]
    ends = {"succeeded": 0, "cancelled": 0}
    seconds = 0.02
    for _ in range(TRIALS):
        job = scenarios.submit_job(service, network_id=network, dataset_id=dataset, epochs=1000)
        wait_until_running(service, job["id"])
        time.sleep(seconds)  # no event announces the end
        answer = service.http.post(f"/v1/jobs/{job['id']}/cancel")
        views = [event for event in service.follow(job["id"]) if isinstance(event, JobView)]
        terminal = [view.state for view in views if view.finished_at is not None]
        now = service.get(f"/v1/jobs/{job['id']}")
        assert terminal == [now["state"]]
        assert (answer.status_code == 200) == (now["state"] == "cancelled")
        if answer.status_code == 409:
            assert "queued or running or paused" in answer.json()["detail"]
        assert service.get("/v1/jobs?limit=1")["data"][0]["state"] == now["state"]
        assert (now["network_version"] is None) == (now["state"] == "cancelled")
        ends[now["state"]] += 1
        seconds *= 1 / 1.5 if now["state"] == "succeeded" else 1.5  # approach the moment of the end
    assert min(ends.values()) > TRIALS / 10
