"""Every screen: usable by everybody, on a phone too, and safe from what others call their things."""

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.browser import chromium, needs_chromium
from tests.dashboard import story
from tests.dashboard.screens import HOSTILE, THEMES, WIDTHS, Screen, context, populate, show
from tests.running import RunningService

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
        errors = story.errors_of(page)
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
