"""Uploads: files that are dropped, rejected and corrected, cancelled, or sent in chunks."""

from playwright.sync_api import FilePayload, Page, expect

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
    page.goto(f"{service.url}/#/datasets")
    flows.expect_heading(page, "Datasets")
    file = {"name": "homes.csv", "text": "rooms;town;price, USD\n;a;1.5\n2;b;2.5\n3;a;3.75\n"}
    assert page.locator("h1").evaluate(_DROP_FILE, file) == _DEFAULT_PREVENTED
    expect(page.get_by_label("Target column")).to_have_value("")
    assert page.get_by_text("TSV, Parquet").evaluate(_DROP_FILE, file) == _DEFAULT_PREVENTED
    expect(page.get_by_label("Target column")).to_have_value("price, USD")
    expect(page.get_by_label("Targets", exact=True)).to_have_value("target")
    create_button = page.get_by_role("button", name="Create dataset")
    create_button.click()
    file_field = page.locator(".field").filter(has=page.get_by_label("Drop a file here"))
    expect(file_field.locator(".field-error")).to_contain_text("'rooms'")
    expect(file_field.locator(".field-error")).to_contain_text("imputation")
    page.get_by_label("Missing values").select_option("mean")
    create_button.click()
    flows.expect_heading(page, "homes")
    (dataset,) = (dataset for dataset in service.get("/v1/datasets")["data"] if dataset["name"] == "homes")
    assert dataset["target_columns"] == ["price, USD"]
    assert [column["name"] for column in dataset["columns"]] == ["rooms", "town"]


def test_target_column_is_not_guessed_without_header(service: RunningService, page: Page) -> None:
    page.goto(f"{service.url}/#/datasets")
    page.get_by_label("Drop a file here").set_input_files(csv_payload("plain.csv", "1,2\n3,4\n5,6\n"))
    expect(page.locator("#column-names option")).to_have_count(2)
    expect(page.get_by_label("Target column")).to_have_value("")
    page.get_by_label("Target column").fill("column_2")
    page.get_by_role("button", name="Create dataset").click()
    flows.expect_heading(page, "plain")
    assert flows.read_value(page, "Rows") == "3"


def test_upload_shows_progress_and_is_cancelled(service: RunningService, page: Page) -> None:
    page.goto(f"{service.url}/#/datasets")
    page.get_by_label("Drop a file here").set_input_files(csv_payload("large.csv", _LARGE_CSV))
    expect(page.get_by_label("Target column")).to_have_value("y")
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
    assert "large" not in [dataset["name"] for dataset in service.get("/v1/datasets")["data"]]


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
