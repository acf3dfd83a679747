"""Take screenshots of all dashboard screens, in both themes and at two widths.

Run `python -m scripts.screenshots DIRECTORY`. It starts a service with example data, needs Chromium, and takes a few
minutes. A file is named after its screen, theme and width; `empty.png` is the overview of a new service.
"""

import sys
import tempfile
from pathlib import Path

from tests.dashboard.screens import THEMES, WIDTHS, new_context, open_screen, populate
from tests.support.browser import launch_chromium
from tests.support.service import RunningService


def main(directory: Path) -> None:
    """Take all screenshots."""
    directory.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as data,
        RunningService(Path(data) / "data") as service,
        launch_chromium() as browser,
    ):
        page = browser.new_page()
        page.goto(service.url)
        page.wait_for_selector("h1")
        page.screenshot(path=directory / "empty.png")
        screens = populate(service, Path(data))
        for theme in THEMES:
            for width, pixels in WIDTHS.items():
                with new_context(browser, theme, pixels) as context:
                    page = context.new_page()
                    for screen in screens:
                        open_screen(page, service, screen)
                        page.screenshot(path=directory / f"{screen.name}-{theme}-{width}.png", full_page=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
