"""Jobs as they train: followed through a crash of the service, paused, changed and cancelled."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.conftest import StartService
from tests.dashboard import flows
from tests.support.browser import chromium, needs_chromium
from tests.support.service import PATIENCE

pytestmark = needs_chromium


def test_a_job_is_followed_through_a_crash_and_controlled(start_service: StartService, tmp_path: Path) -> None:
    service = start_service(checkpoint_seconds="0.5")
    with chromium() as browser:
        page = browser.new_page()
        page.goto(service.url)
        flows.make_dataset(page, flows.digits_csv(tmp_path))
        flows.create_network(page)
        flows.start_job(page, Epochs="100000000")
        flows.in_state(page, "running")
        goes_on(page, 10)
        other = browser.new_page()
        other.goto(page.url)
        goes_on(other, 10)
        service.kill()
        expect(page.locator("#connection")).to_contain_text("lost")
        expect(other.locator("#connection")).to_contain_text("lost")
        reached = epoch_of(page)
        service.start()
        other.get_by_role("link", name="Datasets").click()
        flows.heading(other, "Datasets")
        expect(other.locator("#connection")).to_be_empty()
        other.close()
        flows.in_state(page, "running")
        expect(page.locator("#connection")).to_be_empty()
        goes_on(page, reached)
        page.get_by_label("Learning rate η from the next epoch on").fill("0.001")
        page.get_by_role("button", name="Change").click()
        rate = page.locator("dl.facts div").filter(has=page.get_by_text("Learning rate", exact=True)).locator("dd")
        expect(rate).to_have_text("0.001")
        page.get_by_role("button", name="Pause").press("Enter")
        flows.in_state(page, "paused")
        expect(page.get_by_role("button", name="Resume")).to_be_focused()
        page.get_by_role("button", name="Resume").click()
        flows.in_state(page, "running")
        page.get_by_role("button", name="Cancel …").click()
        page.get_by_label("Publish as the network's version").select_option("last")
        page.get_by_role("button", name="Cancel the job").click()
        flows.in_state(page, "cancelled")
        page.get_by_role("link", name="Predict with it").click()
        flows.heading(page, "Predict with digits")
        assert flows.draw(page, flows.ZERO) == "0"


def goes_on(page: Page, epoch: int) -> None:
    """Wait until the page shows an epoch that comes after this one."""
    page.wait_for_function(
        """after => [...document.querySelectorAll("dl.facts div")].some(
            (one) => one.firstChild.textContent === "Epoch"
                && Number(one.lastChild.textContent.split(" of ")[0].replaceAll(",", "")) > after)""",
        arg=epoch,
        timeout=1000 * PATIENCE,
    )


def epoch_of(page: Page) -> int:
    return int(re.sub(r"\D", "", flows.fact(page, "Epoch").split(" of ")[0]))
