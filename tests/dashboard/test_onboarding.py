"""A new user's path, from a file to a trained network and its predictions, with clicks only."""

import csv
import re
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, expect

from tests.conftest import StartService
from tests.dashboard import flows
from tests.support.browser import requires_chromium
from tests.support.service import RunningService

pytestmark = requires_chromium


def test_digits_are_trained_and_predicted_with_the_page_alone(
    start_service: StartService, tmp_path: Path, browser: Browser
) -> None:
    service = start_service(log_level="debug")
    file = flows.write_digits_csv(tmp_path)
    requests: list[tuple[str, str]] = []
    with browser.new_context() as context:
        page = context.new_page()
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
        assert float(flows.read_value(page, "Validation accuracy").removesuffix(" %")) >= 96
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


def test_messy_table_is_trained_with_the_page_alone(service: RunningService, page: Page, tmp_path: Path) -> None:
    errors = flows.collect_errors(page)
    file = write_messy_csv(tmp_path)
    page.goto(f"{service.url}/#/datasets")
    flows.expect_heading(page, "Datasets")
    page.get_by_label("Drop a file here").set_input_files(file)
    preview = page.get_by_role("region", name="Preview", exact=True)
    expect(page.get_by_label("Target column")).to_have_value("bought")
    columns = ["Row", "idleft out", "nameleft out", "incomenumber", "citycategory", "joineddate", "countryleft out"]
    expect(preview.locator("thead th")).to_have_text([*columns, "boughttarget"])
    page.get_by_role("button", name="Create dataset").click()
    flows.expect_heading(page, "customers")
    notes = page.get_by_role("region", name="How it was read")
    expect(notes).to_contain_text("These columns are left out: 'id'")
    for note in notes.locator("li").all_inner_texts():
        expect(page.get_by_text(note, exact=True)).to_have_count(1)  # not among the warnings as well

    dataset = service.get("/v1/datasets/customers")
    proposal = service.post(f"/v1/datasets/{dataset['id']}/proposal", {})
    page.get_by_role("link", name="Create a network").click()
    flows.expect_heading(page, "New network")
    page.get_by_text("Why these values").click()
    for reason in proposal["reasons"]:
        expect(page.get_by_text(reason["reason"])).to_have_count(int(reason["setting"].startswith("network.")))
    expect(page.locator("li", has_text="Input scaling: All inputs get the same scale")).to_be_visible()
    page.get_by_role("button", name="Create network").click()
    flows.expect_heading(page, "New job")
    network = service.get("/v1/networks/customers")
    assert [layer["units"] for layer in network["layers"]] == [128, 64, 1]
    assert (network["initializer"], network["preprocessing"]["handle_unknown"]) == ("he_normal", "ignore")

    for label, field in {"Epochs": "epochs", "Batch size": "batch_size", "Learning rate η": "learning_rate"}.items():
        assert float(page.get_by_label(label, exact=True).input_value()) == proposal["job"][field]
    expect(page.get_by_label("Early stopping")).to_be_checked()
    flows.start_job(page, Epochs="30")
    flows.expect_state(page, "succeeded")
    assert float(flows.read_value(page, "Validation accuracy").removesuffix(" %")) >= 80
    page.get_by_role("link", name="Predict", exact=True).click()
    page.get_by_label("Drop a file here").set_input_files(file)
    page.get_by_role("button", name="Predict file").click()
    expect(page.get_by_role("link", name="Download predictions")).to_be_visible()
    expect(page.get_by_role("region", name="First 20 rows").locator("tbody tr")).to_have_count(20)
    expect(page.locator("p.warning", has_text="'income'")).to_contain_text("'?'")
    assert errors == []


def write_messy_csv(directory: Path) -> Path:
    """Write a table with row numbers, names, blanks, ?, dates, and a column with one value."""
    file = directory / "customers.csv"
    with file.open("w", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(["id", "name", "income", "city", "joined", "country", "bought"])
        for row in range(200):
            income = "?" if row % 20 == 3 else "" if row % 20 == 7 else 1000 + 10 * (row * 37 % 100)
            bought = "yes" if (row * 37 % 100) > 50 else "no"
            city = "" if row % 25 == 4 else ("Bonn", "Ulm", "Trier")[row % 3]
            joined = f"2024-{row % 12 + 1:02}-{row % 28 + 1:02}"
            writer.writerow([row + 1, f"Customer {row} of {row * 7919}", income, city, joined, "DE", bought])
    return file


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
