"""Chromium for tests and screenshots."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.support.service import TIMEOUT_SECONDS

CHROMIUM = shutil.which("chromium")
requires_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
# root has no sandbox. The other flags keep the browser from sending requests of its own.
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def launch_chromium(*flags: str) -> Iterator[Browser]:
    """Launch a browser with additional flags. Expectations get a timeout that a busy machine needs."""
    expect.set_options(timeout=1000 * TIMEOUT_SECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*_FLAGS, *flags])
        try:
            yield browser
        finally:
            browser.close()
