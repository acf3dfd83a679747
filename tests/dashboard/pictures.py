"""The pictures of README: `python -m tests.dashboard.pictures` makes them anew, in docs/."""

import tempfile
from base64 import b64encode
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.browser import chromium
from tests.dashboard.screens import THEMES, Screen, context, populate, show
from tests.running import RunningService

FOLDER = Path(__file__).parents[2] / "docs"
SHOWN = ("dataset-of-images", "new-network", "network", "drawing", "comparison", "overview")
# Of the run that is shown as it goes on.
EPOCHS, MOMENTS = 300, (1, 40, 300)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as data, RunningService(Path(data) / "data") as service, chromium() as browser:
        screens = {screen.name: screen for screen in populate(service, Path(data))}
        for theme in THEMES:
            with context(browser, theme, 1000) as used:
                page = used.new_page()
                for name in SHOWN:
                    show(page, service, screens[name])
                    page.screenshot(path=FOLDER / f"{name}-{theme}.png")
        service.post("/v1/jobs/people 2/cancel")  # it would keep the slot
        for theme in THEMES:
            with context(browser, theme, 700) as used:
                moments = _moments(service, used.new_page(), theme)
            (FOLDER / f"training-{theme}.png").write_bytes(_side_by_side(browser, moments))


def _moments(service: RunningService, page: Page, theme: str) -> list[bytes]:
    """Pictures of a job, from its first epoch to its last."""
    dataset = service.get("/v1/jobs/digits 1")["dataset_id"]
    digits = {"network_id": "digits", "dataset_id": dataset, "epochs": EPOCHS, "batch_size": 8}
    fields = {"name": f"digits {theme}", "learning_rate": 0.0001, "optimizer": "adam", "validation": {"fraction": 0.2}}
    job = service.post("/v1/jobs", {**digits, **fields}, 202)["id"]
    page.set_viewport_size({"width": 700, "height": 680})
    found = []
    for epoch in MOMENTS:
        service.trained(job, epoch)
        show(page, service, Screen("job", f"#/jobs/{job}"))
        found.append(page.screenshot())
    return found


def _side_by_side(browser: Browser, pictures: list[bytes]) -> bytes:
    page = browser.new_page(viewport={"width": 1500, "height": 472})
    sources = (f"data:image/png;base64,{b64encode(picture).decode()}" for picture in pictures)
    page.set_content(
        '<body style="margin:0;display:flex;gap:2px;background:gray">'
        + "".join(f'<img src="{source}" style="width:calc((100% - 4px) / 3);height:472px">' for source in sources)
    )
    return page.screenshot()


if __name__ == "__main__":
    main()
