"""All screens: accessible, usable on a phone, safe from HTML in names, and equivalent to their curl commands."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.dashboard import flows
from tests.dashboard.screens import HOSTILE_NAME, THEMES, WIDTHS, Screen, new_context, open_screen, populate
from tests.support import scenarios
from tests.support.browser import launch_chromium, requires_chromium
from tests.support.service import RunningService

pytestmark = requires_chromium
# Commands with placeholders, downloads, streams, and those that change or miss what other screens show.
_SKIPPED_COMMANDS = ("/events", "FILE", "DATASET", "BATCH", "/file", "/cancel", "-X", "job_0000")
Populated = tuple[RunningService, list[Screen], Browser]


@pytest.fixture(scope="module")
def populated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Populated]:
    directory = tmp_path_factory.mktemp("screens")
    with RunningService(directory / "data") as service, launch_chromium() as browser:
        yield service, populate(service, directory), browser


@pytest.fixture
def desktop_page(populated: Populated) -> Iterator[Page]:
    _, _, browser = populated
    with new_context(browser, "light", WIDTHS["desktop"]) as context:
        yield context.new_page()


@pytest.mark.parametrize("theme", THEMES)
def test_screens_have_no_serious_accessibility_violations(populated: Populated, theme: str) -> None:
    service, screens, browser = populated
    with new_context(browser, theme, WIDTHS["desktop"]) as context:
        page = context.new_page()
        errors = flows.collect_errors(page)
        for screen in screens:
            open_screen(page, service, screen)
            for details in page.locator("details").all():
                details.evaluate("details => details.open = true")
            assert find_violations(page) == [], screen.name
        assert [error for error in errors if "404" not in error] == []  # of the screen of a missing job


@pytest.mark.parametrize("theme", THEMES)
def test_preview_is_accessible_and_fits_a_phone(populated: Populated, theme: str) -> None:
    service, screens, browser = populated
    rows = [f"{age},{HOSTILE_NAME if age % 3 else ''},{'no' if age % 2 else 'yes'}" for age in range(20, 70)]
    table = "\n".join([f"age,{HOSTILE_NAME},pays", *rows]).encode()
    with new_context(browser, theme, WIDTHS["phone"]) as context:
        page = context.new_page()
        open_screen(page, service, find_screen(screens, "datasets"))
        page.get_by_label("Drop a file here").set_input_files(
            {"name": f"{HOSTILE_NAME}.csv", "mimeType": "text/csv", "buffer": table}
        )
        preview = page.get_by_role("region", name="Preview", exact=True)
        expect(preview.locator("li").first).to_be_visible()
        assert find_violations(page) == []
        page.get_by_label("Clean the data").uncheck()
        page.get_by_label("Target column").fill("pay")
        expect(preview.locator(".alert")).to_contain_text("no column 'pay'")
        for details in page.locator("details").all():
            details.evaluate("details => details.open = true")
        assert find_violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS["phone"]
        assert page.locator("main img").count() == 0


def find_violations(page: Page) -> list[Any]:
    violations = Axe().run(page).response["violations"]
    return [
        (violation["id"], [node["html"] for node in violation["nodes"]])
        for violation in violations
        if violation["impact"] in ("serious", "critical")
    ]


def test_screens_fit_a_phone_and_show_names_as_text(populated: Populated) -> None:
    service, screens, browser = populated
    with new_context(browser, "light", WIDTHS["phone"]) as context:
        page = context.new_page()
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        names = 0
        for screen in screens:
            open_screen(page, service, screen)
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= WIDTHS["phone"], screen.name
            names += page.get_by_text(HOSTILE_NAME).count()
            assert page.locator("main img").count() == 0, screen.name
        assert names > 5
        assert dialogs == []


def test_network_form_checks_fields_while_typing(populated: Populated, desktop_page: Page) -> None:
    service, screens, _ = populated
    page = desktop_page
    open_screen(page, service, find_screen(screens, "new-network"))
    summary = page.locator(".form-summary")
    expect(summary).to_contain_text("Fits the dataset digits.")
    output = page.get_by_role("group", name="Output layer")
    output.get_by_label("Units").fill("9")
    expect(output).to_contain_text("the last layer needs 10 units")
    page.get_by_role("button", name="Create network").click()
    expect(output.get_by_label("Units")).to_be_focused()
    output.get_by_label("Units").fill("10")
    expect(summary).to_contain_text("Fits the dataset digits.")
    page.get_by_role("button", name="Add hidden layer").click()
    expect(page.get_by_role("group", name="Hidden layer 3").get_by_label("Units")).to_be_focused()
    for _ in range(2):
        page.get_by_role("button", name="Remove hidden layer 1").click()
    page.get_by_role("group", name="Hidden layer 1").get_by_label("Units").fill("7")
    expect(summary).to_contain_text("64 → 7 → 10")
    name = page.get_by_label("Name")
    name.fill("job_x")  # rejected by the service: ids look like this
    page.get_by_role("button", name="Create network").click()
    expect(page.locator(".field").filter(has=name).locator(".field-error")).to_contain_text("job_")


def test_pixels_can_be_entered_without_a_pointer(populated: Populated, desktop_page: Page) -> None:
    service, screens, _ = populated
    page = desktop_page
    row = service.get("/v1/datasets/digits/rows?offset=1&limit=1")["data"][0]
    open_screen(page, service, find_screen(screens, "drawing"))
    page.keyboard.press("Control+Home")
    page.get_by_text("Pixel values").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Pixels, row by row").fill(" ".join(map(str, row[:-1])))
    expect(page.locator(".prediction strong")).to_have_text(str(row[-1]))


def test_update_keeps_focus_on_replaced_element(populated: Populated, desktop_page: Page) -> None:
    service, screens, _ = populated
    page = desktop_page
    open_screen(page, service, find_screen(screens, "jobs"))
    page.get_by_role("link", name="people 2").focus()
    row = page.locator("tr").filter(has_text="people 1").element_handle()
    job = scenarios.submit_job(service, name="another")
    expect(page.get_by_role("link", name="another")).to_be_visible()
    assert not row.evaluate("row => row.isConnected")
    expect(page.get_by_role("link", name="people 2")).to_be_focused()
    service.post(f"/v1/jobs/{job['id']}/cancel")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_commands_do_what_the_screens_do(populated: Populated, desktop_page: Page) -> None:
    service, screens, _ = populated
    page = desktop_page
    responses = {}
    for screen in screens:
        open_screen(page, service, screen)
        for command in "\n".join(page.locator(".curl code").all_text_contents()).splitlines():
            if any(word in command for word in _SKIPPED_COMMANDS):
                continue
            path = command.split("/v1/")[1].split("'")[0].split()[0]
            responses[screen.name, path] = run_command(command)
    assert len(responses) > 20
    assert responses["new-network", "networks"]["layers"][-1] == {
        "units": 10,
        "activation": "softmax",
        "dropout": 0.0,
        "batch_norm": False,
    }
    assert responses["new-job", "jobs"]["state"] == "queued"
    (evaluation,) = find_responses(responses, "network", "evaluations")
    assert len(evaluation["confusion_matrix"]) == 10
    (prediction,) = find_responses(responses, "drawing", "predictions")
    assert prediction["labels"] == [0]


def run_command(command: str) -> Any:
    shell = ["sh", "-c", f"{command} --fail-with-body"]
    return json.loads(subprocess.run(shell, capture_output=True, text=True, check=True).stdout)


def find_responses(responses: dict[tuple[str, str], Any], screen: str, path_end: str) -> list[Any]:
    return [response for (name, path), response in responses.items() if name == screen and path.endswith(path_end)]


def find_screen(screens: list[Screen], name: str) -> Screen:
    return next(screen for screen in screens if screen.name == name)
