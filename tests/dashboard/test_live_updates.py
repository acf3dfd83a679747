"""A job followed through a crash of the service, changed, paused, resumed and cancelled."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.conftest import StartService
from tests.dashboard import flows
from tests.support.browser import launch_chromium, requires_chromium
from tests.support.faulty_workers import broken_workers
from tests.support.service import TIMEOUT_SECONDS

pytestmark = requires_chromium


def test_banner_says_that_the_service_is_not_ready(start_service: StartService, tmp_path: Path) -> None:
    with launch_chromium() as browser:
        page = browser.new_page()
        with broken_workers(tmp_path) as environment:
            service = start_service(environment=environment)
            page.goto(service.url)
            expect(page.locator("#connection-banner")).to_contain_text(
                "Not ready to train. No slot has a ready worker: cpu-0 is"
            )


def test_job_screen_survives_service_crash_and_controls_the_job(start_service: StartService, tmp_path: Path) -> None:
    service = start_service(checkpoint_interval="0.5")
    with launch_chromium() as browser:
        page = browser.new_page()
        page.goto(service.url)
        flows.create_dataset(page, flows.write_digits_csv(tmp_path))
        flows.create_network(page)
        flows.start_job(page, Epochs="100000000", Patience="1000000")  # runs until it is cancelled
        flows.expect_state(page, "running")
        wait_for_epoch_after(page, 10)
        other_page = browser.new_page()
        other_page.goto(page.url)
        wait_for_epoch_after(other_page, 10)

        service.kill()
        expect(page.locator("#connection-banner")).to_contain_text("lost")
        expect(other_page.locator("#connection-banner")).to_contain_text("lost")
        last_epoch = read_epoch(page)
        service.start()
        other_page.get_by_role("link", name="Datasets").click()
        flows.expect_heading(other_page, "Datasets")
        expect(other_page.locator("#connection-banner")).to_be_empty()
        other_page.close()
        flows.expect_state(page, "running")
        expect(page.locator("#connection-banner")).to_be_empty()
        wait_for_epoch_after(page, last_epoch)

        page.get_by_label("Learning rate η from the next epoch").fill("0.001")
        page.get_by_role("button", name="Change").click()
        expect(flows.find_value(page, "Learning rate")).to_have_text("0.001")
        page.get_by_role("button", name="Pause").press("Enter")
        flows.expect_state(page, "paused")
        expect(page.get_by_role("button", name="Resume")).to_be_focused()
        page.get_by_role("button", name="Resume").click()
        flows.expect_state(page, "running")
        page.get_by_role("button", name="Cancel…").click()
        page.get_by_label("Publish as a new version").select_option("last")
        page.get_by_role("button", name="Cancel job").click()
        flows.expect_state(page, "cancelled")
        page.get_by_role("link", name="Predict", exact=True).click()
        flows.expect_heading(page, "Predict with digits")
        assert flows.draw_digit(page, flows.ZERO) == "0"


def wait_for_epoch_after(page: Page, epoch: int) -> None:
    page.wait_for_function(
        """after => [...document.querySelectorAll("dl.key-values div")].some(
            (pair) => pair.firstChild.textContent === "Epoch"
                && Number(pair.lastChild.textContent.split(" of ")[0].replaceAll(",", "")) > after)""",
        arg=epoch,
        timeout=1000 * TIMEOUT_SECONDS,
    )


def read_epoch(page: Page) -> int:
    return int(re.sub(r"\D", "", flows.read_value(page, "Epoch").split(" of ")[0]))
