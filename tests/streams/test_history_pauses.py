"""History pauses while the platform is read-only, gives way to a new assignment meanwhile, and goes on after."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from eventhub import kafka, record, topics
from eventhub.mode import BEGINNING, UNKNOWN, Mode
from eventhub.operations import now
from eventhub.storage import HistoryReader, HistoryWriter, Pool
from eventhub.streams.history import History
from eventhub.streams.lease import Changed, Lease
from eventhub.streams.owner import Batch
from tests.support.wait import until

EPOCH = "0123abcd"
VECTOR = record.pack_vector(0, (0,) * len(topics.RAW), b"\0" * 4 * len(topics.RAW))


def consumed(offset: int) -> Any:
    head = VECTOR + record.pack_tags(offset.to_bytes(16, "big"), b"\0" * 8, b"n:pass")
    value = b'{"occurred_at":"2026-07-01T18:00:00Z"}'
    return SimpleNamespace(offset=offset, key=b"m1", value=value, headers=[("h", head)], timestamp=1)


class Scene(NamedTuple):
    duty: History
    mode: Mode
    changed: asyncio.Event
    reader: HistoryReader

    async def rows(self) -> int:
        return len(await self.reader.page("m1", after=-1, limit=100))

    def set(self, read_only: bool) -> None:
        self.mode._take(UNKNOWN if read_only else BEGINNING)

    async def apply_in_read_only(self) -> "asyncio.Task[None]":
        """A batch offered while the mode is read-only, once it had every chance to be stored."""
        self.set(read_only=True)
        applying = asyncio.create_task(self.duty.apply([Batch(topics.LOG, [consumed(0), consumed(1)])]))
        looks = 0

        async def looked() -> bool:
            nonlocal looks
            looks += 1
            return looks > 20 or await self.rows() > 0

        await until(looked, "some looks at the table")
        await self.has_nothing()
        return applying

    async def has_nothing(self) -> None:
        assert await self.rows() == 0, "rows were written while the platform was read-only"


@pytest.fixture
async def scene(pool: Pool, database: str, cluster: kafka.Kafka, tmp_path: Path) -> AsyncIterator[Scene]:
    mode = Mode(tmp_path / "mode.json", now)
    mode.settle()
    writing = Pool(database, "writing", size=2, statement_timeout_s=5, read_only=lambda: mode.read_only)
    offsets = kafka.Offsets(cluster)
    for part in (writing, offsets):
        await part.open()
    changed = asyncio.Event()
    duty = History(0, HistoryWriter(writing, epoch=EPOCH), offsets, mode.writable)
    await duty.acquire(Lease(None, None, changed))  # type: ignore[arg-type]
    yield Scene(duty, mode, changed, HistoryReader(pool, epoch=EPOCH))
    for part in (writing, offsets):
        await part.close()


async def test_rows_wait_for_normal(scene: Scene) -> None:
    applying = await scene.apply_in_read_only()
    scene.set(read_only=False)
    await asyncio.wait_for(applying, 10)
    assert await scene.rows() == 2


async def test_a_new_assignment_ends_the_wait(scene: Scene) -> None:
    applying = await scene.apply_in_read_only()
    scene.changed.set()
    with pytest.raises(Changed):
        await asyncio.wait_for(applying, 10)
    assert await scene.rows() == 0


async def test_mutant_without_the_pause_and_with_sessions_that_write(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once() -> None:
        return

    async def untold(self: Pool, connection: Any) -> None:
        # Whatever the session was told before.
        await connection.execute("set default_transaction_read_only = off")

    monkeypatch.setattr(scene.duty, "_writable", at_once)
    # The sessions alone keep history out: the pause only spares it the tries.
    scene.set(read_only=True)
    with pytest.raises(Exception, match="read-only transaction"):
        await scene.duty.apply([Batch(topics.LOG, [consumed(0)])])
    monkeypatch.setattr(Pool, "_tell", untold)
    await scene.duty.apply([Batch(topics.LOG, [consumed(0)])])
    with pytest.raises(AssertionError, match="rows were written"):
        await scene.has_nothing()
