"""Pictures of every screen, in both themes and at two widths. Run `python -m scripts.screenshots FOLDER`."""

import sys
import tempfile
from pathlib import Path

from tests.dashboard.screens import THEMES, WIDTHS, context, populate, show
from tests.support.browser import chromium
from tests.support.service import RunningService


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data, RunningService(Path(data) / "data") as service, chromium() as browser:
        empty = browser.new_page()
        empty.goto(service.url)
        empty.wait_for_selector("h1")
        empty.screenshot(path=folder / "empty.png")
        screens = populate(service, Path(data))
        for theme in THEMES:
            for width, pixels in WIDTHS.items():
                with context(browser, theme, pixels) as used:
                    page = used.new_page()
                    for screen in screens:
                        show(page, service, screen)
                        page.screenshot(path=folder / f"{screen.name}-{theme}-{width}.png", full_page=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
