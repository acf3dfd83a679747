"""Files as they are handed in: dropped, refused and corrected, stopped on their way."""

from playwright.sync_api import FilePayload, Page, expect

from tests.dashboard import flows
from tests.support.browser import needs_chromium
from tests.support.service import RunningService

pytestmark = needs_chromium
_LARGE = "x,y\n" + "1,2.5\n" * 1_000_000
_SLOW = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 2_000_000}
# What a browser does itself with a file that is dropped is to leave the page for it, unless it is told not to.
_DROP = """(place, {name, text}) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([text], name));
    const drop = (type) => place.dispatchEvent(
        new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
    return [drop("dragover"), drop("drop")];
}"""
_PREVENTED = [False, False]


def test_a_dropped_file_that_was_refused_is_corrected_and_sent(service: RunningService, page: Page) -> None:
    page.goto(f"{service.url}/#/datasets")
    flows.heading(page, "Datasets")
    file = {"name": "homes.csv", "text": "rooms;town;price, USD\n;a;1.5\n2;b;2.5\n3;a;3.75\n"}
    assert page.locator("h1").evaluate(_DROP, file) == _PREVENTED
    expect(page.get_by_label("In the column")).to_have_value("")
    assert page.get_by_text("CSV, TSV, Parquet").evaluate(_DROP, file) == _PREVENTED
    expect(page.get_by_label("In the column")).to_have_value("price, USD")
    expect(page.get_by_label("What is to be learned")).to_have_value("target")
    create = page.get_by_role("button", name="Create dataset")
    create.click()
    wrong = page.locator(".field").filter(has=page.get_by_label("Drop a file here")).locator(".wrong")
    expect(wrong).to_contain_text("missing")
    page.get_by_label("Where a value is missing").select_option("mean")
    create.click()
    flows.heading(page, "homes")
    (made,) = (one for one in service.get("/v1/datasets")["data"] if one["name"] == "homes")
    assert made["target_columns"] == ["price, USD"]
    assert [column["name"] for column in made["columns"]] == ["rooms", "town"]


def test_a_column_without_a_name_is_not_guessed(service: RunningService, page: Page) -> None:
    page.goto(f"{service.url}/#/datasets")
    page.get_by_label("Drop a file here").set_input_files(payload("plain.csv", "1,2\n3,4\n5,6\n"))
    expect(page.locator("#columns option")).to_have_count(2)
    expect(page.get_by_label("In the column")).to_have_value("")
    page.get_by_label("In the column").fill("column_2")
    page.get_by_role("button", name="Create dataset").click()
    flows.heading(page, "plain")
    assert flows.fact(page, "Rows") == "3"


def test_an_upload_shows_how_far_it_is_and_is_stopped(service: RunningService, page: Page) -> None:
    page.goto(f"{service.url}/#/datasets")
    page.get_by_label("Drop a file here").set_input_files(payload("large.csv", _LARGE))
    expect(page.get_by_label("In the column")).to_have_value("y")
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", _SLOW)
    create = page.get_by_role("button", name="Create dataset")
    for leave in (page.get_by_role("button", name="Cancel"), page.get_by_role("link", name="Overview")):
        create.click()
        page.wait_for_function(
            "() => { const {value} = document.querySelector('.sending progress'); return value > 0 && value < 1; }"
        )
        with page.expect_event("requestfailed", lambda request: request.method == "POST"):
            leave.click()
    flows.heading(page, "Overview")
    assert "large" not in [one["name"] for one in service.get("/v1/datasets")["data"]]


def test_an_open_dataset_is_told_from_one_that_is_read(service: RunningService, page: Page) -> None:
    opened = service.post("/v1/datasets", {"upload": "rows", "name": "open"})
    path = f"/v1/datasets/{opened['id']}"
    page.goto(f"{service.url}/#/datasets/{opened['id']}")
    expect(page.locator("main")).to_contain_text("It is open: 0 parts of it came so far.")
    page.get_by_text("The same with curl").click()
    for _ in range(2):
        with page.expect_response(f"**{path}"):
            pass
    expect(page.locator(".curl pre")).to_be_visible()
    assert service.http.delete(path).status_code == 204
    expect(page.get_by_role("alert")).to_contain_text(opened["id"])
    expect(page.locator("main")).not_to_contain_text("It is open")


def payload(name: str, text: str) -> FilePayload:
    return {"name": name, "mimeType": "text/csv", "buffer": text.encode()}
