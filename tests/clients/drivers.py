"""How the drivers of the SDKs are run, each with the SDK as it is or with a defect planted."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from playwright.async_api import Browser

from clients.conformance.judge import runs, wrong
from clients.conformance.node import Played, playing
from clients.conformance.scenarios import Scenario, named

AT_ONCE = 4
TIMEOUT_S = 15.0
DEFECTIVE_S = 2.0
"""After this a client that a defect holds up is looked at; more than any scenario takes."""
CLIENTS = Path(__file__).parents[2] / "clients"
JS = CLIENTS / "js" / "eventhub.js"
PYTHON = CLIENTS / "python"
DRIVER = CLIENTS / "conformance" / "drive_python.py"
JS_DRIVER = CLIENTS / "conformance" / "drive_js.js"
PLAY = """
played => Promise.all(played.map(
  async ([folder, runs]) => (await import(folder + "/conformance/drive_js.js")).play(runs)
))
"""

Json = dict[str, Any]
Driver = Callable[[list[Json]], Awaitable[list[tuple[int, Json]]]]
"""Plays runs; returns what the clients were handed, each with its run."""


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


async def conform(drive: Driver, scenarios: Sequence[Scenario], *, timeout_s: float = TIMEOUT_S) -> list[list[str]]:
    """What is wrong with a client in each scenario; an empty list for each is what a test wants."""
    async with playing(scenarios, {}) as (url, games):
        return judged(games, await drive(runs(url, scenarios, timeout_s)))


def judged(games: Sequence[Played], said: Iterable[tuple[int, Json]]) -> list[list[str]]:
    """What is wrong in each game, from what all clients were handed."""
    by_run: dict[int, list[Json]] = {}
    for run, message in said:
        by_run.setdefault(run, []).append(message)
    return [wrong(game, by_run.get(n, [])) for n, game in enumerate(games)]


async def found_out(defects: Sequence[Defect], driver: Callable[[Defect], Driver]) -> list[list[str]]:
    """What the scenario of each defect says of it; a few at once, for most of it is waiting."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(defect: Defect) -> list[str]:
        async with room:
            [found] = await conform(driver(defect), [named(defect.scenario)], timeout_s=DEFECTIVE_S)
            return found

    return await asyncio.gather(*map(one, defects))


def python_driver(package: Path = PYTHON) -> Driver:
    """The Python SDK of this folder, in a process of its own."""

    async def drive(told: list[Json]) -> list[tuple[int, Json]]:
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


async def in_page(
    browser: Browser, scenarios: Sequence[Scenario], defects: Sequence[Defect]
) -> tuple[list[list[str]], list[list[str]]]:
    """The JavaScript SDK in one page: what is wrong in each scenario, and in that of each defect with it planted."""
    planted = [named(one.scenario) for one in defects]
    files = js_files()
    for number, defect in enumerate(defects):
        files |= {f"/{number}{path}": body for path, body in js_files(defect).items()}
    async with playing([*scenarios, *planted], files) as (url, games):
        told = runs(url, [*scenarios, *planted], TIMEOUT_S)
        whole, broken = told[: len(scenarios)], told[len(scenarios) :]
        played = [["", whole]]
        played += [[f"/{n}", [{**run, "timeout_s": DEFECTIVE_S}]] for n, run in enumerate(broken)]
        page = await browser.new_page()
        await page.goto(f"{url}/index.html")
        said = await page.evaluate(PLAY, played)
        found = judged(games, [(run, message) for one in said for run, message in one])
    return found[: len(scenarios)], found[len(scenarios) :]


def js_files(defect: Defect | None = None) -> dict[str, bytes]:
    """What such a page loads: the module as it is, or with a defect, and its driver."""
    module = JS.read_text()
    return {
        "/index.html": b"<!doctype html><title>conformance</title>",
        "/js/eventhub.js": (module if defect is None else defect.planted(module)).encode(),
        "/conformance/drive_js.js": JS_DRIVER.read_bytes(),
    }
