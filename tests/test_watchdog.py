"""The watchdog on real processes: it ends one whose loop stands still, and none that was frozen as a whole."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.blocked import EXIT_AFTER_S
from tests.support.wait import until


class Watched:
    """A process under a watchdog; its turns and its log are files."""

    def __init__(self, folder: Path, how: str, *, log: int | None = None) -> None:
        self._turns, self._log = folder / "turns", folder / "log"
        with self._turns.open("wb") as out, self._log.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.blocked", how],
                stdout=out,
                stderr=err if log is None else log,
                cwd=Path(__file__).parents[1],
            )

    def turns(self) -> int:
        return self._turns.read_text().count("turn")

    def told(self) -> list[dict[str, Any]]:
        lines = self._log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    async def ended(self) -> int:
        await until(lambda: self.process.poll() is not None, "the process to end")
        return self.process.wait()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Watched]]:
    processes: list[Watched] = []
    yield processes
    for one in processes:
        one.process.kill()
        one.process.wait(10)


async def test_a_loop_that_stands_still_is_dumped_once_and_ended(tmp_path: Path, started: list[Watched]) -> None:
    started.append(watched := Watched(tmp_path, "stop"))
    assert await watched.ended() == 70
    dump, end = watched.told()
    assert "stands still" in dump["event"] and "ending the process" in end["event"]
    main = next(stack for name, stack in dump["stacks"].items() if name.startswith("MainThread"))
    assert "fall_asleep" in main[-2] and "time.sleep" in main[-1]
    assert any(name.startswith("watchdog") for name in dump["stacks"]), "every thread is dumped"
    assert "stacks" not in end


async def test_each_incident_is_dumped_and_a_loop_that_comes_back_is_left_alone(
    tmp_path: Path, started: list[Watched]
) -> None:
    started.append(watched := Watched(tmp_path, "twice"))
    assert await watched.ended() == 0
    assert [one["event"] for one in watched.told()] == ["the event loop stands still"] * 2


async def test_a_process_that_nobody_listens_to_ends_all_the_same(tmp_path: Path, started: list[Watched]) -> None:
    unread, log = os.pipe()
    started.append(watched := Watched(tmp_path, "mute", log=log))
    assert await watched.ended() == 70
    os.close(unread)
    os.close(log)


async def test_a_process_that_was_frozen_for_longer_than_the_limit_goes_on(
    tmp_path: Path, started: list[Watched]
) -> None:
    started.append(watched := Watched(tmp_path, "turn"))
    await until(lambda: watched.turns() > 5, "the loop to turn")
    loop = asyncio.get_running_loop()
    until_at = loop.time() + 2 * EXIT_AFTER_S
    watched.process.send_signal(signal.SIGSTOP)
    await until(lambda: loop.time() > until_at, "the freeze to be over")
    before = watched.turns()
    watched.process.send_signal(signal.SIGCONT)
    # More turns than the limit holds.
    await until(lambda: watched.turns() > before + 40, "the loop to turn on")
    assert watched.process.poll() is None
    assert watched.told() == []
