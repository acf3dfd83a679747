"""Swagger UI in a browser: the examples run in the order of the page."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Request, expect

from tests.support.browser import launch_chromium, requires_chromium
from tests.support.service import RunningService

pytestmark = requires_chromium


@pytest.fixture
def page() -> Iterator[Page]:
    with launch_chromium() as browser:
        yield browser.new_page()


def test_examples_run_and_nothing_loads_from_other_hosts(service: RunningService, page: Page) -> None:
    urls: list[str] = []
    errors: list[str] = []

    def on_request(request: Request) -> None:
        urls.append(request.url)

    page.on("request", on_request)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{service.url}/docs")
    execute(page, "post", "/v1/networks", "201")
    execute(page, "post", "/v1/datasets", "201")
    execute(page, "post", "/v1/jobs", "202")
    assert service.wait_for_job("xor").state == "succeeded"
    response = execute(page, "post", "/v1/networks/{network_id}/predictions", "200")
    assert re.findall(r'"(no|yes)"', response) == ["no", "yes", "yes", "no"]
    response = execute(page, "post", "/v1/networks/{network_id}/evaluations", "200")
    assert re.search(r'"accuracy": 1\b', response)
    assert '"version": 1' in execute(page, "put", "/v1/networks/{network_id}/tags/{tag}", "201")
    response = execute(page, "get", "/v1/networks/{network_id}/versions/{version}", "200")
    assert re.search(r'"tags": \[\s*"production"\s*\]', response)
    assert {urlsplit(url).netloc for url in urls if not url.startswith("data:")} == {urlsplit(service.url).netloc}
    assert errors == []
    assert "Resolver error" not in page.content()


def execute(page: Page, method: str, path: str, status: str) -> str:
    """Open an operation, press Execute, and return the text of the response."""
    operation = page.locator(f".opblock-{method}").filter(has=page.locator(f'[data-path="{path}"]'))
    operation.locator(".opblock-summary-control").click()
    operation.locator("button.execute").click()
    response = operation.locator(".live-responses-table tbody .response").first
    expect(response.locator(".response-col_status")).to_have_text(re.compile(f"^{status}"))
    text = response.locator(".response-col_description").inner_text()
    operation.locator(
        ".opblock-summary-control"
    ).click()  # an open operation is rendered again with every event, which is slow
    return text
