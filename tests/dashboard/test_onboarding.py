"""A new user's path, from an empty service to a drawn digit that is predicted correctly."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Page, expect

from tests.conftest import StartService
from tests.dashboard import flows
from tests.support.browser import launch_chromium, requires_chromium
from tests.support.service import RunningService

pytestmark = requires_chromium


def test_digits_are_trained_and_predicted_with_the_page_alone(start_service: StartService, tmp_path: Path) -> None:
    service = start_service(log_level="debug")
    file = flows.write_digits_csv(tmp_path)
    requests: list[tuple[str, str]] = []
    with launch_chromium() as browser:
        page = browser.new_page()
        errors = flows.collect_errors(page)
        page.on("request", lambda request: requests.append((request.method, request.url)))
        page.on("download", lambda download: requests.append(("GET", download.url)))
        page.goto(service.url)
        flows.expect_heading(page, "Overview")
        expect(page.locator(".slots .badge.idle")).to_be_visible()  # updated without a reload
        flows.create_dataset(page, file)
        assert flows.read_value(page, "Rows") == "1,797"
        flows.create_network(page)
        flows.start_job(page)
        flows.expect_state(page, "succeeded")
        assert float(flows.read_value(page, "Validation accuracy").removesuffix(" %")) >= 97
        # Training and validation, of cost and accuracy.
        expect(page.locator(".plot .scatterlayer .trace")).to_have_count(4)
        page.get_by_role("link", name="Evaluate").click()
        page.get_by_role("button", name="Evaluate").click()
        expect(page.get_by_role("region", name="Confusion matrix").locator("tbody tr")).to_have_count(10)
        page.get_by_role("link", name="Predict", exact=True).click()
        flows.expect_heading(page, "Predict with digits")
        assert flows.draw_digit(page, flows.ZERO) == "0"
        assert flows.draw_digit(page, flows.FOUR) == "4"
        assert flows.draw_digit(page, flows.SEVEN) == "7"
        predict_file(page, file)
        with page.expect_download() as download:
            page.get_by_role("link", name="digits", exact=True).click()
            page.get_by_role("link", name="Download version 1 as onnx").click()
        assert download.value.path().stat().st_size > 10_000
        assert errors == []
    hosts = {urlsplit(url).netloc for _, url in requests if not url.startswith(("data:", "blob:"))}
    assert hosts == {urlsplit(service.url).netloc}
    assert_only_requested_by_page(service, requests)
    assert [dataset["name"] for dataset in service.get("/v1/datasets")["data"]] == ["digits"]


def predict_file(page: Page, file: Path) -> None:
    page.get_by_label("Drop a file here").set_input_files(file)
    page.get_by_role("button", name="Predict file").click()
    rows = page.get_by_role("region", name="First 20 rows").locator("tbody tr")
    expect(rows).to_have_count(20)
    assert [row.locator("strong").inner_text() for row in rows.all()[:10]] == list("0123456789")
    link = page.get_by_role("link", name="Download predictions")
    expect(link).to_be_visible()
    with page.expect_download() as download:
        link.click()
    header, *predictions = download.value.path().read_text().splitlines()
    assert "label" in header
    assert len(predictions) == 1797


def assert_only_requested_by_page(service: RunningService, requests: list[tuple[str, str]]) -> None:
    """Check that the browser sent every request in the service's log."""
    sent = {(method, urlsplit(url)._replace(scheme="", netloc="", fragment="").geturl()) for method, url in requests}
    logged = set(re.findall(r'"(GET|POST|PUT|PATCH|DELETE) (\S+) HTTP', service.log.read_text()))
    assert len(logged) > 20
    assert logged <= sent
