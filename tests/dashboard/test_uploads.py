"""Uploads: files that are dropped, previewed, rejected and corrected, cancelled, or sent in chunks."""

import gzip
import os
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.dashboard import flows
from tests.support.browser import requires_chromium
from tests.support.service import RunningService

pytestmark = requires_chromium
_LARGE_CSV = "x,y\n" + "1,2.5\n" * 1_000_000
_SLOW_NETWORK = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 2_000_000}
_DROP_FILE = """(target, {name, text}) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([text], name));
    const dispatch = (type) => target.dispatchEvent(
        new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
    return [dispatch("dragover"), dispatch("drop")];
}"""
# dispatchEvent returns false for a prevented default, which for a dropped file is to leave the page.
_DEFAULT_PREVENTED = [False, False]


def test_rejected_dropped_file_is_sent_again_with_imputation(service: RunningService, page: Page) -> None:
    open_form(service, page)
    file = {"name": "homes.csv", "text": "rooms;town;price, USD\n;a;1.5\n2;b;2.5\n3;a;3.75\n"}
    assert page.locator("h1").evaluate(_DROP_FILE, file) == _DEFAULT_PREVENTED
    expect(page.get_by_label("Target column")).to_have_value("")
    assert page.get_by_text("TSV, Parquet").evaluate(_DROP_FILE, file) == _DEFAULT_PREVENTED
    expect(page.get_by_label("Target column")).to_have_value("price, USD")
    page.get_by_label("Targets", exact=True).select_option("numbers")
    page.get_by_label("Clean the data").uncheck()
    # Shown before the upload, and gone when an option has removed the cause.
    expect(find_preview(page).locator(".alert")).to_contain_text("'rooms'")
    create_button = page.get_by_role("button", name="Create dataset")
    create_button.click()
    file_field = page.locator(".field").filter(has=page.get_by_label("Drop a file here"))
    expect(file_field.locator(".field-error")).to_contain_text("'rooms'")
    expect(file_field.locator(".field-error")).to_contain_text("imputation")
    page.get_by_label("Missing values", exact=True).select_option("mean")
    expect(find_preview(page).locator(".alert")).to_have_count(0)
    expect(file_field.locator(".field-error")).to_be_empty()
    create_button.click()
    flows.expect_heading(page, "homes")
    (dataset,) = (dataset for dataset in service.get("/v1/datasets")["data"] if dataset["name"] == "homes")
    assert dataset["target_columns"] == ["price, USD"]
    assert [column["name"] for column in dataset["columns"]] == ["rooms", "town"]


def test_preview_shows_how_a_spreadsheet_is_read(service: RunningService, page: Page) -> None:
    open_form(service, page)
    rows = [f"{row % 7},5;{'rot' if row % 2 else 'blau'};{row}" for row in range(30)]
    table = "\n".join(["Verkauf 2024, Filiale Nord;;", ";;", "Preis;Farbe;Menge", *rows])
    page.get_by_label("Drop a file here").set_input_files(csv_payload("verkauf.csv", table))
    preview = find_preview(page)
    expect(preview).to_contain_text("verkauf.csv: 3 columns.")
    detected = {"Delimiter": "semicolon", "First line": "names of the columns", "Encoding": "Unicode"}
    for key, value in {**detected, "Lines skipped": "2", "Target": "Menge", "Learned as": "numbers"}.items():
        assert flows.read_value(page, key) == value
    header = preview.locator("thead th")
    expect(header).to_have_text(["Row", "Preisnumber", "Farbecategory", "Mengetarget"])
    expect(preview.locator("tbody tr")).to_have_count(5)
    page.get_by_text("Advanced").click()
    page.get_by_label("Columns to leave out").fill("Farbe")
    expect(header.nth(2)).to_have_text("Farbeleft out")
    # A typed target stays, and its error is shown at its field.
    target = page.get_by_label("Target column")
    target.fill("Preise")
    error = page.locator(".field").filter(has=target).locator(".field-error")
    expect(error).to_contain_text("no column 'Preise'")
    expect(preview.locator(".alert")).to_contain_text("Target column: There is no column 'Preise'")
    page.get_by_label("Lines to skip").fill("2")
    expect(target).to_have_value("Preise")
    target.fill("Preis")
    expect(error).to_be_empty()
    expect(header.nth(1)).to_have_text("Preistarget")
    page.get_by_label("Targets", exact=True).select_option("classes")
    expect(flows.find_value(page, "Learned as")).to_have_text("7 classes: 0,5 · 1,5 · 2,5 · 3,5 · 4,5 · …")
    page.get_by_label("Rows to leave out").fill("first")
    expect(page.locator(".field").filter(has=page.get_by_label("Rows to leave out"))).to_contain_text("valid integer")
    page.get_by_label("Rows to leave out").fill("1, 2")
    expect(preview.locator(".alert")).to_have_count(0)
    page.get_by_role("button", name="Create dataset").click()
    flows.expect_heading(page, "verkauf")
    assert flows.read_value(page, "Rows") == "28"
    assert flows.read_value(page, "Targets") == "7 classes"


def test_target_column_is_proposed_without_header(service: RunningService, page: Page) -> None:
    open_form(service, page)
    page.get_by_label("Drop a file here").set_input_files(csv_payload("plain.csv", "1,2\n3,4\n5,6\n"))
    expect(page.locator("#column-names option")).to_have_count(2)
    expect(page.get_by_label("Target column")).to_have_value("column_2")
    page.get_by_label("Targets", exact=True).select_option("none (prediction only)")
    expect(page.get_by_label("Target column")).to_be_disabled()
    expect(find_preview(page).locator("thead th")).to_have_text(["Row", "column_1number", "column_2number"])
    page.get_by_role("button", name="Create dataset").click()
    flows.expect_heading(page, "plain")
    assert flows.read_value(page, "Rows") == "3"
    assert flows.read_value(page, "Targets") == "none (prediction only)"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("utf16.csv", ("x,y\n" + "1,2.5\n" * 200_000).encode("utf-16"), "a preview of its first lines, 1.05 MB of"),
        ("small.csv.gz", gzip.compress(b"x,y\n1,2\n3,4\n"), "small.csv.gz: 2 columns."),
        ("large.csv.gz", gzip.compress(os.urandom(2**24 + 1), 0), "large.csv.gz is too large for a preview."),
        ("broken.csv", b"", "broken.csv cannot be read like this."),
    ],
)
def test_beginning_of_a_file_is_enough_for_a_preview(
    service: RunningService, page: Page, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    open_form(service, page)
    (tmp_path / name).write_bytes(content)
    page.get_by_label("Drop a file here").set_input_files(tmp_path / name)
    expect(find_preview(page)).to_contain_text(message)


def test_upload_waits_for_the_proposed_target(service: RunningService, page: Page) -> None:
    open_form(service, page)
    page.get_by_label("Drop a file here").set_input_files(csv_payload("quick.csv", "x,y\n1,2\n3,4\n5,2\n"))
    page.get_by_role("button", name="Create dataset").evaluate("button => button.click()")
    flows.expect_heading(page, "quick")
    (dataset,) = (dataset for dataset in service.get("/v1/datasets")["data"] if dataset["name"] == "quick")
    assert (dataset["target_columns"], dataset["classes"]) == (["y"], [2, 4])


def test_only_the_newest_preview_is_shown(service: RunningService, page: Page) -> None:
    open_form(service, page)
    page.get_by_label("Drop a file here").set_input_files(csv_payload("a.csv", "x,y\n1,2\n3,4\n"))
    expect(page.get_by_label("Target column")).to_have_value("y")
    page.route("**/v1/datasets/preview", lambda _: None, times=1)  # never answered
    with page.expect_request("**/v1/datasets/preview"):
        page.get_by_label("Target column").fill("x")
    with page.expect_event("requestfailed"):  # aborted by the next one
        page.get_by_label("Targets", exact=True).select_option("numbers")
    expect(flows.find_value(page, "Target")).to_have_text("x")
    expect(flows.find_value(page, "Learned as")).to_have_text("numbers")


def test_upload_shows_progress_and_is_cancelled(service: RunningService, page: Page) -> None:
    page.goto(f"{service.url}/#/datasets")
    page.get_by_label("Drop a file here").set_input_files(csv_payload("cancelled.csv", _LARGE_CSV))
    expect(page.get_by_label("Target column")).to_have_value("y")
    expect(find_preview(page)).to_contain_text("This is a preview of its first lines, 1.05 MB of 6.00 MB.")
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", _SLOW_NETWORK)
    create_button = page.get_by_role("button", name="Create dataset")
    for element in (page.get_by_role("button", name="Cancel"), page.get_by_role("link", name="Overview")):
        create_button.click()
        page.wait_for_function(
            """() => {
                const { value } = document.querySelector(".upload-progress progress");
                return value > 0 && value < 1;
            }"""
        )
        with page.expect_event("requestfailed", lambda request: request.method == "POST"):
            element.click()
    flows.expect_heading(page, "Overview")
    assert "cancelled" not in [dataset["name"] for dataset in service.get("/v1/datasets")["data"]]


def test_open_dataset_shows_received_chunks_until_deleted(service: RunningService, page: Page) -> None:
    dataset = service.post("/v1/datasets", {"upload": "rows", "name": "open"})
    path = f"/v1/datasets/{dataset['id']}"
    page.goto(f"{service.url}/#/datasets/{dataset['id']}")
    expect(page.locator("main")).to_contain_text("Open: 0 chunks received.")
    page.get_by_text("Equivalent curl commands").click()
    for _ in range(2):
        with page.expect_response(f"**{path}"):
            pass
    expect(page.locator(".curl pre")).to_be_visible()
    assert service.http.delete(path).status_code == 204
    expect(page.get_by_role("alert")).to_contain_text(dataset["id"])
    expect(page.locator("main")).not_to_contain_text("Open:")


def csv_payload(name: str, text: str) -> FilePayload:
    return {"name": name, "mimeType": "text/csv", "buffer": text.encode()}


def open_form(service: RunningService, page: Page) -> None:
    page.goto(f"{service.url}/#/datasets")
    flows.expect_heading(page, "Datasets")


def find_preview(page: Page) -> Locator:
    return page.get_by_role("region", name="Preview", exact=True)
