"""Swagger UI in a real browser: the story, executed as it stands."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Request, expect

from tests.support.browser import chromium, needs_chromium
from tests.support.service import RunningService

pytestmark = needs_chromium


@pytest.fixture
def page() -> Iterator[Page]:
    with chromium() as browser:
        yield browser.new_page()


def test_the_story_runs_as_it_stands_and_nothing_comes_from_elsewhere(service: RunningService, page: Page) -> None:
    asked: list[str] = []
    errors: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    page.on("request", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{service.url}/docs")
    execute(page, "post", "/v1/networks", "201")
    execute(page, "post", "/v1/datasets", "201")
    execute(page, "post", "/v1/jobs", "202")
    assert service.finished("xor").state == "succeeded"
    execute(page, "get", "/v1/jobs/{job_id}/history", "200")
    answer = execute(page, "post", "/v1/networks/{network_id}/predictions", "200")
    assert re.findall(r'"(no|yes)"', answer) == ["no", "yes", "yes", "no"]
    execute(page, "post", "/v1/networks/{network_id}/batch-predictions", "202")
    answer = execute(page, "post", "/v1/networks/{network_id}/evaluations", "200")
    assert re.search(r'"accuracy": 1\b', answer)
    assert '"version": 1' in execute(page, "put", "/v1/networks/{network_id}/tags/{tag}", "201")
    answer = execute(page, "get", "/v1/networks/{network_id}/versions/{version}", "200")
    assert re.search(r'"tags": \[\s*"production"\s*\]', answer)
    execute(page, "post", "/v1/networks/{network_id}/clones", "201")
    assert {urlsplit(url).netloc for url in asked if not url.startswith("data:")} == {urlsplit(service.url).netloc}
    assert errors == []
    assert "Resolver error" not in page.content()


def execute(page: Page, method: str, path: str, status: str) -> str:
    """Open an operation, press Execute, and give back the answer's text."""
    operation = page.locator(f".opblock-{method}").filter(has=page.locator(f'[data-path="{path}"]'))
    operation.locator(".opblock-summary-control").click()
    operation.locator("button.execute").click()
    answer = operation.locator(".live-responses-table tbody .response").first
    expect(answer.locator(".response-col_status")).to_have_text(re.compile(f"^{status}"))
    said = answer.locator(".response-col_description").inner_text()
    operation.locator(".opblock-summary-control").click()  # what is open is drawn anew with everything that happens
    return said
