"""Histories of jobs: pages, downsampling for plots, and CSV."""

import csv
import io
from typing import Any

import pytest

from tests.support import scenarios
from tests.support.service import RunningService

EPOCHS = 100_000


@pytest.fixture(scope="module")
def job(service: RunningService) -> dict[str, Any]:
    """Return a finished job of 100,000 epochs."""
    job = scenarios.submit_job(service, epochs=EPOCHS, learning_rate=0.01)
    assert service.wait_for_job(job["id"]).epoch == EPOCHS
    return job


def get_history(service: RunningService, job: dict[str, Any], query: str) -> dict[str, Any]:
    return service.get(f"/v1/jobs/{job['id']}/history?{query}")


def get_csv(service: RunningService, job: dict[str, Any], query: str = "") -> list[dict[str, str]]:
    response = service.http.get(f"/v1/jobs/{job['id']}/history?{query}", headers={"Accept": "text/csv, */*;q=0.1"})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/csv")
    return [*csv.DictReader(io.StringIO(response.text))]


def test_downsampling_keeps_the_ends_and_extremes(service: RunningService, job: dict[str, Any]) -> None:
    rows = get_csv(service, job)
    assert [int(row["epoch"]) for row in rows] == list(range(1, EPOCHS + 1))
    costs = [float(row["cost"]) for row in rows]
    for points in (6, 500):
        sampled = get_history(service, job, f"points={points}")
        costs_by_epoch = {epoch["epoch"]: epoch["cost"] for epoch in sampled["data"]}
        assert not sampled["has_more"]
        assert len(costs_by_epoch) <= points
        assert len(costs_by_epoch) > 2 * points / 3 or points == 6
        assert list(costs_by_epoch) == sorted(costs_by_epoch)
        assert {1, EPOCHS, 1 + costs.index(min(costs)), 1 + costs.index(max(costs))} <= set(costs_by_epoch)
        assert all(costs[epoch - 1] == cost for epoch, cost in costs_by_epoch.items())
    assert [row["cost"] for row in get_csv(service, job, "points=500")] == [
        repr(cost) for cost in costs_by_epoch.values()
    ]
    last_epochs = get_history(service, job, f"points=500&after={EPOCHS - 100}")["data"]
    assert [epoch["epoch"] for epoch in last_epochs] == list(range(EPOCHS - 99, EPOCHS + 1))


def test_csv_has_the_values_of_the_json(service: RunningService, job: dict[str, Any]) -> None:
    page = get_history(service, job, "after=500&limit=20")
    rows = get_csv(service, job, "after=500&limit=20")
    assert page["has_more"]
    assert len(rows) == len(page["data"]) == 20
    for row, epoch in zip(rows, page["data"], strict=True):
        assert list(row) == list(epoch)
        assert [None if cell == "" else float(cell) for cell in row.values()] == list(epoch.values())


@pytest.mark.parametrize(
    ("query", "field"), [("points=5", "points"), ("points=100&limit=5", "points"), (f"after={2**63}", "after")]
)
def test_invalid_query_is_rejected(service: RunningService, job: dict[str, Any], query: str, field: str) -> None:
    response = service.http.get(f"/v1/jobs/{job['id']}/history?{query}")
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("text/csv", "text/csv"),
        ("Text/CSV; charset=utf-8", "text/csv"),
        ("application/json, text/csv;q=0.1", "application/json"),
        ("application/json;q=0.5, text/csv;q=0.9", "text/csv"),
        ("*/*", "application/json"),
        ("text/csv;q=much", "application/json"),
    ],
)
def test_media_type_is_negotiated(service: RunningService, job: dict[str, Any], accept: str, media_type: str) -> None:
    response = service.http.get(f"/v1/jobs/{job['id']}/history?limit=1", headers={"Accept": accept})
    assert response.headers["content-type"].startswith(media_type)
