"""Cost histories of any length: in pages, in brief for a plot, and as a table."""

import csv
import io
from typing import Any

import pytest

from tests.support import scenarios
from tests.support.service import RunningService

EPOCHS = 100_000


@pytest.fixture(scope="module")
def job(service: RunningService) -> dict[str, Any]:
    """Of a hundred thousand epochs."""
    job = scenarios.job(service, epochs=EPOCHS, learning_rate=0.01)
    assert service.finished(job["id"]).epoch == EPOCHS
    return job


def history(service: RunningService, job: dict[str, Any], query: str) -> dict[str, Any]:
    return service.get(f"/v1/jobs/{job['id']}/history?{query}")


def table(service: RunningService, job: dict[str, Any], query: str = "") -> list[dict[str, str]]:
    answer = service.http.get(f"/v1/jobs/{job['id']}/history?{query}", headers={"Accept": "text/csv, */*;q=0.1"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/csv")
    return [*csv.DictReader(io.StringIO(answer.text))]


def test_in_brief(service: RunningService, job: dict[str, Any]) -> None:
    whole = table(service, job)
    assert [int(row["epoch"]) for row in whole] == list(range(1, EPOCHS + 1))
    costs = [float(row["cost"]) for row in whole]
    for points in (6, 500):
        brief = history(service, job, f"points={points}")
        found = {epoch["epoch"]: epoch["cost"] for epoch in brief["data"]}
        assert not brief["has_more"]
        assert len(found) <= points
        assert len(found) > 2 * points / 3 or points == 6
        assert list(found) == sorted(found)
        assert {1, EPOCHS, 1 + costs.index(min(costs)), 1 + costs.index(max(costs))} <= set(found)
        assert all(costs[epoch - 1] == cost for epoch, cost in found.items())
    assert [row["cost"] for row in table(service, job, "points=500")] == [repr(cost) for cost in found.values()]
    late = history(service, job, f"points=500&after={EPOCHS - 100}")["data"]
    assert [epoch["epoch"] for epoch in late] == list(range(EPOCHS - 99, EPOCHS + 1))


def test_a_table_has_the_figures_of_the_pages(service: RunningService, job: dict[str, Any]) -> None:
    page = history(service, job, "after=500&limit=20")
    rows = table(service, job, "after=500&limit=20")
    assert page["has_more"]
    assert len(rows) == len(page["data"]) == 20
    for row, epoch in zip(rows, page["data"], strict=True):
        assert list(row) == list(epoch)
        assert [None if cell == "" else float(cell) for cell in row.values()] == list(epoch.values())


@pytest.mark.parametrize(
    ("query", "field"), [("points=5", "points"), ("points=100&limit=5", "points"), (f"after={2**63}", "after")]
)
def test_what_is_not_accepted(service: RunningService, job: dict[str, Any], query: str, field: str) -> None:
    answer = service.http.get(f"/v1/jobs/{job['id']}/history?{query}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/csv", "text/csv"),
        ("Text/CSV; charset=utf-8", "text/csv"),
        ("application/json, text/csv;q=0.1", "application/json"),
        ("application/json;q=0.5, text/csv;q=0.9", "text/csv"),
        ("*/*", "application/json"),
        ("text/csv;q=much", "application/json"),
    ],
)
def test_what_is_wanted_more_is_answered(service: RunningService, job: dict[str, Any], accept: str, kind: str) -> None:
    answer = service.http.get(f"/v1/jobs/{job['id']}/history?limit=1", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith(kind)
