"""How the drivers of the SDKs are run, each with the SDK as it is or with a defect planted."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from playwright.async_api import Browser

from clients.conformance.judge import runs, wrong
from clients.conformance.node import playing
from clients.conformance.scenarios import Scenario, named

AT_ONCE = 6
DEFECTIVE_S = 2.0
"""After this a client that a defect holds up is looked at; more than any scenario takes."""
CLIENTS = Path(__file__).parents[2] / "clients"
JS = CLIENTS / "js" / "eventhub.js"
PYTHON = CLIENTS / "python"
DRIVER = CLIENTS / "conformance" / "drive_python.py"
JS_DRIVER = CLIENTS / "conformance" / "drive_js.js"
PLAY = "runs => import('/conformance/drive_js.js').then(driver => driver.play(runs))"

Json = dict[str, Any]
Driver = Callable[[str, list[Json]], Awaitable[list[tuple[int, Json]]]]
"""Plays runs against the node at an address; returns what the clients were handed, each with its run."""


class Defect(NamedTuple):
    """One guarantee taken away: `before` in `file` becomes `after`, and this scenario must show it."""

    name: str
    file: str
    before: str
    after: str
    scenario: str

    def planted(self, text: str) -> str:
        """The file with the defect. Fails when its place is not to be found."""
        assert text.count(self.before) == 1, (
            f"{self.name}: {self.before!r} is in {self.file} {text.count(self.before)} times"
        )
        return text.replace(self.before, self.after)


async def conform(
    drive: Driver, scenarios: Sequence[Scenario], *, files: Mapping[str, bytes] | None = None, timeout_s: float = 15
) -> dict[str, list[str]]:
    """What is wrong with a client, by scenario; an empty list for each is what a test wants."""
    async with playing(scenarios, files or {}) as (url, games):
        said = await drive(url, runs(url, scenarios, timeout_s))
    by_run: dict[int, list[Json]] = {}
    for run, message in said:
        by_run.setdefault(run, []).append(message)
    return {game.scenario.name: wrong(game, by_run.get(n, [])) for n, game in enumerate(games)}


async def found_out(
    defects: Sequence[Defect],
    driver: Callable[[Defect], Driver],
    files: Callable[[Defect], Mapping[str, bytes]] = lambda _: {},
) -> dict[str, list[str]]:
    """By the name of each defect what its scenario says of it; a few at once, for most of it is waiting."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(defect: Defect) -> list[str]:
        async with room:
            found = await conform(driver(defect), [named(defect.scenario)], files=files(defect), timeout_s=DEFECTIVE_S)
            return found[defect.scenario]

    return dict(zip((d.name for d in defects), await asyncio.gather(*map(one, defects)), strict=True))


def python_driver(package: Path = PYTHON) -> Driver:
    """The Python SDK of this folder, in a process of its own."""

    async def drive(_: str, told: list[Json]) -> list[tuple[int, Json]]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(DRIVER),
            json.dumps(told),
            env={**os.environ, "PYTHONPATH": str(package)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, complaint = await process.communicate()
        assert process.returncode == 0, complaint.decode()
        return [(run, message) for run, message in map(json.loads, out.splitlines())]

    return drive


def python_with(defect: Defect, folder: Path) -> Driver:
    """The Python SDK with a defect, copied into this folder."""
    shutil.copytree(PYTHON / "eventhub_client", folder / "eventhub_client")
    path = folder / "eventhub_client" / defect.file
    path.write_text(defect.planted(path.read_text()))
    return python_driver(folder)


def js_driver(browser: Browser) -> Driver:
    """The JavaScript SDK in a page that the node gives, of a browser that runs."""

    async def drive(url: str, told: list[Json]) -> list[tuple[int, Json]]:
        page = await browser.new_page()
        try:
            await page.goto(f"{url}/index.html")
            return [(run, message) for run, message in await page.evaluate(PLAY, told)]
        finally:
            await page.close()

    return drive


def js_files(defect: Defect | None = None) -> dict[str, bytes]:
    """What such a page loads: the module as it is, or with a defect, and its driver."""
    module = JS.read_text()
    return {
        "/index.html": b"<!doctype html><title>conformance</title>",
        "/js/eventhub.js": (module if defect is None else defect.planted(module)).encode(),
        "/conformance/drive_js.js": JS_DRIVER.read_bytes(),
    }
