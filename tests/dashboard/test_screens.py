"""Every screen: usable by everybody, on a phone too, and safe from what others call their things."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.dashboard import flows
from tests.dashboard.screens import HOSTILE, THEMES, WIDTHS, Screen, context, populate, show
from tests.support import scenarios
from tests.support.browser import chromium, needs_chromium
from tests.support.service import RunningService

pytestmark = needs_chromium
_SERIOUS = ("serious", "critical")
Filled = tuple[RunningService, list[Screen], Browser]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("screens")
    with RunningService(folder / "data") as service, chromium() as browser:
        yield service, populate(service, folder), browser


@pytest.mark.parametrize("theme", THEMES)
def test_nothing_serious_stands_in_anybodys_way(filled: Filled, theme: str) -> None:
    service, screens, browser = filled
    with context(browser, theme, WIDTHS["desk"]) as used:
        page = used.new_page()
        errors = flows.errors_of(page)
        for screen in screens:
            show(page, service, screen)
            for details in page.locator("details").all():
                details.evaluate("each => each.open = true")
            assert serious(page) == [], screen.name
        assert [error for error in errors if "404" not in error] == []  # one address leads nowhere


def serious(page: Page) -> list[Any]:
    found = Axe().run(page).response["violations"]
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found if one["impact"] in _SERIOUS]


def test_a_phone_shows_everything_and_names_are_never_run(filled: Filled) -> None:
    service, screens, browser = filled
    with context(browser, "light", WIDTHS["phone"]) as used:
        page = used.new_page()
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        shown = 0
        for screen in screens:
            show(page, service, screen)
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= WIDTHS["phone"], screen.name
            shown += page.get_by_text(HOSTILE).count()
            assert page.locator("main img").count() == 0, screen.name
        assert shown > 5
        assert dialogs == []


def test_a_form_says_as_one_types_what_does_not_fit(filled: Filled) -> None:
    service, screens, browser = filled
    with context(browser, "light", WIDTHS["desk"]) as used:
        page = used.new_page()
        show(page, service, named(screens, "new-network"))
        summary = page.locator(".summary")
        expect(summary).to_contain_text("It fits the dataset digits.")
        output = page.get_by_role("group", name="Output layer")
        output.get_by_label("Units").fill("9")
        expect(output).to_contain_text("the last layer needs 10 units")
        page.get_by_role("button", name="Create network").click()
        expect(output.get_by_label("Units")).to_be_focused()
        output.get_by_label("Units").fill("10")
        expect(summary).to_contain_text("It fits the dataset digits.")
        page.get_by_role("button", name="Add a hidden layer").click()
        expect(page.get_by_role("group", name="Hidden layer 2").get_by_label("Units")).to_be_focused()
        page.get_by_role("button", name="Remove hidden layer 1").click()
        page.get_by_role("group", name="Hidden layer 1").get_by_label("Units").fill("7")
        expect(summary).to_contain_text("64 → 7 → 10")
        page.get_by_label("Name").fill("job_x")
        page.get_by_role("button", name="Create network").click()
        expect(page.locator(".field").filter(has=page.get_by_label("Name"))).to_contain_text("ids do")


def test_what_is_drawn_can_be_written(filled: Filled) -> None:
    """For those who have no pointer."""
    service, screens, browser = filled
    row = service.get("/v1/datasets/digits/rows?offset=1&limit=1")["data"][0]
    with context(browser, "light", WIDTHS["desk"]) as used:
        page = used.new_page()
        show(page, service, named(screens, "drawing"))
        page.keyboard.press("Control+Home")
        page.get_by_text("Pixels as numbers").focus()
        page.keyboard.press("Enter")
        page.get_by_label("Row by row").fill(" ".join(map(str, row[:-1])))
        expect(page.locator(".answer strong")).to_have_text(str(row[-1]))


def test_what_is_shown_anew_leaves_the_focus_where_it_is(filled: Filled) -> None:
    service, screens, browser = filled
    with context(browser, "light", WIDTHS["desk"]) as used:
        page = used.new_page()
        show(page, service, named(screens, "jobs"))
        page.get_by_role("link", name="people 2").focus()
        row = page.locator("tr").filter(has_text="people 1").element_handle()
        made = scenarios.job(service, name="another")
        expect(page.get_by_role("link", name="another")).to_be_visible()
        assert not row.evaluate("row => row.isConnected")
        expect(page.get_by_role("link", name="people 2")).to_be_focused()
        service.post(f"/v1/jobs/{made['id']}/cancel")


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_the_commands_do_what_the_screens_do(filled: Filled) -> None:
    service, screens, browser = filled
    with context(browser, "light", WIDTHS["desk"]) as used:
        page = used.new_page()
        made = {}
        for screen in screens:
            show(page, service, screen)
            for line in "\n".join(page.locator(".curl code").all_text_contents()).splitlines():
                if not any(
                    word in line
                    for word in ("/events", "FILE", "DATASET", "BATCH", "/file", "/cancel", "-X", "job_0000")
                ):
                    done = subprocess.run(
                        ["sh", "-c", f"{line} --fail-with-body"], capture_output=True, text=True, check=True
                    )
                    made[screen.name, line.split("/v1/")[1].split("'")[0].split()[0]] = json.loads(done.stdout)
    assert len(made) > 20
    assert made["new-network", "networks"]["layers"][-1] == {
        "units": 10,
        "activation": "softmax",
        "dropout": 0.0,
        "batch_norm": False,
    }
    assert made["new-job", "jobs"]["state"] == "queued"
    (matrix,) = [
        answer["confusion_matrix"]
        for (name, path), answer in made.items()
        if name == "network" and path.endswith("evaluations")
    ]
    assert len(matrix) == 10
    (label,) = [
        answer["labels"] for (name, path), answer in made.items() if name == "drawing" and path.endswith("predictions")
    ]
    assert label == ["0"]


def named(screens: list[Screen], name: str) -> Screen:
    return next(screen for screen in screens if screen.name == name)
