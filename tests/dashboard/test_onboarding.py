"""From an empty service to a drawn digit that is predicted right, by the page alone."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Page, expect

from tests.conftest import StartService
from tests.dashboard import flows
from tests.support.browser import chromium, needs_chromium
from tests.support.service import RunningService

pytestmark = needs_chromium


def test_a_person_with_only_the_page_trains_digits(start_service: StartService, tmp_path: Path) -> None:
    service = start_service(log_level="debug")
    file = flows.digits_csv(tmp_path)
    asked: list[tuple[str, str]] = []
    with chromium() as browser:
        page = browser.new_page()
        errors = flows.errors_of(page)
        page.on("request", lambda request: asked.append((request.method, request.url)))
        page.on("download", lambda download: asked.append(("GET", download.url)))
        page.goto(service.url)
        flows.heading(page, "Overview")
        expect(page.locator(".slots .badge.idle")).to_be_visible()  # by itself
        flows.make_dataset(page, file)
        assert flows.fact(page, "Rows") == "1,797"
        flows.create_network(page)
        flows.start_job(page)
        flows.in_state(page, "succeeded")
        assert float(flows.fact(page, "Validation accuracy").removesuffix(" %")) >= 97
        expect(page.locator(".plot .scatterlayer .trace")).to_have_count(
            4
        )  # training and validation, cost and accuracy
        page.get_by_role("link", name="See how good it is").click()
        page.get_by_role("button", name="Evaluate").click()
        expect(page.get_by_role("region", name="Confusion matrix").locator("tbody tr")).to_have_count(10)
        page.get_by_role("link", name="Predict with it").click()
        flows.heading(page, "Predict with digits")
        assert flows.draw(page, flows.ZERO) == "0"
        assert flows.draw(page, flows.FOUR) == "4"
        assert flows.draw(page, flows.SEVEN) == "7"
        predict_a_file(page, file)
        with page.expect_download() as download:
            page.get_by_role("link", name="The network").click()
            page.get_by_role("link", name="Version 1 as onnx").click()
        assert download.value.path().stat().st_size > 10_000
        assert errors == []
    assert {urlsplit(url).netloc for _, url in asked if not url.startswith(("data:", "blob:"))} == {
        urlsplit(service.url).netloc
    }
    only_asked_by_the_page(service, asked)
    assert [one["name"] for one in service.get("/v1/datasets")["data"]] == ["digits"]


def predict_a_file(page: Page, file: Path) -> None:
    page.get_by_label("Drop a file here").set_input_files(file)
    page.get_by_role("button", name="Predict the file").click()
    rows = page.get_by_role("region", name="The first 20 rows").locator("tbody tr")
    expect(rows).to_have_count(20)
    assert [row.locator("strong").inner_text() for row in rows.all()[:10]] == list("0123456789")
    there = page.get_by_role("link", name="Download the predictions")
    expect(there).to_be_visible()
    with page.expect_download() as download:
        there.click()
    header, *predicted = download.value.path().read_text().splitlines()
    assert "label" in header
    assert len(predicted) == 1797


def only_asked_by_the_page(service: RunningService, asked: list[tuple[str, str]]) -> None:
    """All that the service was asked for, by its own log, the browser has sent."""
    seen = {(method, urlsplit(url)._replace(scheme="", netloc="", fragment="").geturl()) for method, url in asked}
    logged = set(re.findall(r'"(GET|POST|PUT|PATCH|DELETE) (\S+) HTTP', service.log.read_text()))
    assert len(logged) > 20
    assert logged <= seen
