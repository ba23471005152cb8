"""A real browser: Debian's chromium, driven by playwright."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, async_playwright


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Chromium without a window; fails with the package's name where it is missing."""
    path = shutil.which("chromium")
    if path is None:
        pytest.fail("the page is tested in a real browser: `make browser` installs Debian's package chromium")
    async with async_playwright() as driver:
        started = await driver.chromium.launch(
            executable_path=path, headless=True, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield started
        await started.close()
