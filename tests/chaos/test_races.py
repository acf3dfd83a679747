"""A cancellation that falls beside the end of a job: however it falls, the job ends once."""

from app.schemas.jobs import JobView
from tests.app import stories
from tests.app.test_jobs import started
from tests.chaos import LONG
from tests.running import RunningService

TRIALS = 500 if LONG else 40


def test_cancelling_beside_the_end(service: RunningService) -> None:
    network, dataset = stories.network(service)["id"], stories.dataset(service)["id"]
    ends = {"succeeded": 0, "cancelled": 0}
    epochs = 500.0
    for _ in range(TRIALS):
        job = stories.job(service, network_id=network, dataset_id=dataset, epochs=int(epochs))
        started(service, job["id"])
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
        epochs *= 1.5 if now["state"] == "succeeded" else 1 / 1.5  # the end comes as late as the cancellation
        epochs = max(epochs, 1.0)
    assert min(ends.values()) > TRIALS / 10
