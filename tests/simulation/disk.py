"""The disk and the clock of the simulated machines: real files in memory, locks that end with their process.

Here the product's module-level names for time, randomness and threads are replaced while simulations run.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from eventhub.delivery import connection
from eventhub.ingest.spool import segments, spool
from eventhub.kafka import log
from tests.simulation.loop import PROCESS, Process, SimLoop

THREAD_S = 0.02
PIECE_BYTES = 400


class Disk:
    """A folder of its own for one schedule, made on first use."""

    def __init__(self) -> None:
        self._root: Path | None = None
        self._locks: list[tuple[Process, Any]] = []

    @property
    def root(self) -> Path:
        """Where spools lie."""
        if self._root is None:
            memory = Path("/dev/shm")
            self._root = Path(tempfile.mkdtemp(prefix="simulation-", dir=memory if memory.is_dir() else None))
        return self._root

    def hold(self, process: Process, lock: Any) -> None:
        """The process has this file open with a lock on it."""
        self._locks.append((process, lock))

    def drop(self, process: Process) -> None:
        """The kernel closes what a dead process had open."""
        for owner, lock in self._locks:
            if owner is process:
                lock.close()

    def folders(self) -> list[Path]:
        """Spool folders that are there."""
        return segments.folders(self._root) if self._root is not None else []

    def remove(self) -> None:
        """The schedule is over."""
        for _, lock in self._locks:
            lock.close()
        if self._root is not None:
            shutil.rmtree(self._root)


def _loop() -> SimLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimLoop)
    return loop


def _name(size: int) -> str:
    loop = _loop()
    loop.names += 1
    return f"{loop.names:0{2 * size}x}"


async def _in_turn(work: Callable[..., Any], *args: Any) -> Any:
    await asyncio.sleep(THREAD_S * _loop().rng.random())
    return work(*args)


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.glob("*") if p.is_dir()) if root.is_dir() else []


@contextmanager
def simulated(disk_of: Callable[[], Disk]) -> Iterator[None]:
    """Time, names, threads and fsync are the simulation's; `disk_of` gives the disk of the schedule that runs."""
    claim = segments.claim

    def claimed(path: Path) -> Any:
        folder = claim(path)
        if folder is not None:
            disk_of().hold(PROCESS.get(), folder._lock)
        return folder

    clock = SimpleNamespace(
        time=lambda: _loop().now_ms() / 1000,
        time_ns=lambda: _loop().now_ms() * 1_000_000,
        monotonic=lambda: _loop().now,
    )
    # Whatever reached the file is kept: a schedule kills processes, not machines.
    quick = SimpleNamespace(
        fdatasync=lambda _: None, fsync=lambda _: None, open=os.open, close=os.close, O_RDONLY=os.O_RDONLY
    )
    names = SimpleNamespace(token_hex=_name)
    replaced: list[tuple[Any, str, Any]] = [
        (log, "time", clock),
        (segments, "time", clock),
        (segments, "os", quick),
        (segments, "folders", _folders),
        (segments, "claim", claimed),
        (spool, "secrets", names),
        # A few records a piece, so that much is under way between two of them.
        (spool, "DRAIN_BYTES", PIECE_BYTES),
        (connection, "secrets", names),
        (asyncio, "to_thread", _in_turn),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
    for owner, name, value in replaced:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
