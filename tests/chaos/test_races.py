"""A cancellation that falls beside the end of a job: however it falls, the job ends once."""

import time

from nabla.app.schemas.jobs import JobView
from tests.chaos import LONG
from tests.support import scenarios
from tests.support.scenarios import started
from tests.support.service import RunningService

TRIALS = 500 if LONG else 40


def test_cancelling_beside_the_end(service: RunningService) -> None:
    network, dataset = scenarios.network(service)["id"], scenarios.dataset(service)["id"]
    ends = {"succeeded": 0, "cancelled": 0}
    seconds = 0.02
    for _ in range(TRIALS):
        job = scenarios.job(service, network_id=network, dataset_id=dataset, epochs=1000)
        started(service, job["id"])
        time.sleep(seconds)  # no event tells that the end is near
        answer = service.http.post(f"/v1/jobs/{job['id']}/cancel")
        states = [event for event in service.follow(job["id"]) if isinstance(event, JobView)]
        terminal = [event.state for event in states if event.finished_at is not None]
        now = service.get(f"/v1/jobs/{job['id']}")
        assert terminal == [now["state"]]
        assert (answer.status_code == 200) == (now["state"] == "cancelled")
        if answer.status_code == 409:
            assert "queued or running or paused" in answer.json()["detail"]
        assert service.get("/v1/jobs?limit=1")["data"][0]["state"] == now["state"]
        assert (now["network_version"] is None) == (now["state"] == "cancelled")
        ends[now["state"]] += 1
        seconds *= 1 / 1.5 if now["state"] == "succeeded" else 1.5  # so that the cancellation comes as late as the end
    assert min(ends.values()) > TRIALS / 10
