"""Nodes that lose nothing and are too slow, each in one way, for the limits of the full drills to find out.

As in tests.drills.mutants, which knows them by name, each is a patch made before the node starts.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from aiokafka.consumer.group_coordinator import GroupCoordinator

from eventhub.delivery.doors import Doors
from eventhub.ingest.spool import spool
from eventhub.ingest.spool.segments import Folder
from eventhub.ingest.spool.spool import Spool
from eventhub.streams.enrichment import Enrichment

REBUILD_S, FSYNC_S, LETTER_S, STALL_S, KNOCK_S = 16, 0.1, 0.5, 61, 0.005
FEW_BYTES = 2_000


def rebuilds_slowly() -> None:
    """The next owner takes its time over the log."""
    rebuild = Enrichment._rebuild

    async def slowly(self: Enrichment, fence: int) -> None:
        await asyncio.sleep(REBUILD_S)
        await rebuild(self, fence)

    Enrichment._rebuild = slowly  # type: ignore[method-assign]


def ends_without_a_word() -> None:
    """Who ends does not leave its group, which waits for it until its session is over."""

    async def nothing(self: GroupCoordinator) -> None:
        return

    GroupCoordinator._maybe_leave_group = nothing


def disk_is_slow() -> None:
    """An fsync takes its time; nothing is taken away, since what arrives meanwhile shares the next one."""
    append = Folder.append

    def slowly(self: Folder, packed: bytes) -> None:
        time.sleep(FSYNC_S)
        append(self, packed)

    Folder.append = slowly  # type: ignore[method-assign]


def one_put_an_fsync() -> None:
    """On such a disk everything that is put into the spool waits for an fsync of its own."""
    disk_is_slow()
    put, turn = Spool.put, asyncio.Lock()
    later: set[asyncio.Task[None]] = set()

    def alone(self: Spool, *one: Any) -> asyncio.Future[int | None]:
        done: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

        async def in_turn() -> None:
            async with turn:
                try:
                    done.set_result(await put(self, *one))
                except Exception as error:
                    done.set_exception(error)

        task = asyncio.create_task(in_turn())
        later.add(task)
        task.add_done_callback(later.discard)
        return done

    Spool.put = alone  # type: ignore[method-assign, assignment]


def drains_few_at_a_time() -> None:
    """Kafka gets what was spooled a few records at a time."""
    spool.DRAIN_BYTES = FEW_BYTES


def letters_take_long() -> None:
    """An event that fails holds up its partition for a while."""
    _bury_after(LETTER_S)


def letters_stall() -> None:
    """An event that fails holds up its partition for longer than anyone would wait."""
    _bury_after(STALL_S)


def _bury_after(delay_s: float) -> None:
    bury = Enrichment._bury

    async def slowly(self: Enrichment, dead: Sequence[Any]) -> None:
        for one in dead:
            await asyncio.sleep(delay_s)
            await bury(self, [one])

    Enrichment._bury = slowly  # type: ignore[method-assign]


def doors_cost() -> None:
    """Whoever comes, and be it to be refused, costs the loop as much as a slow look-up would."""
    knock = Doors.knock

    def slowly(self: Doors, address: str, now: float) -> None:
        time.sleep(KNOCK_S)
        knock(self, address, now)

    Doors.knock = slowly  # type: ignore[method-assign]


SLOW = {
    "rebuilds-slowly": rebuilds_slowly,
    "ends-without-a-word": ends_without_a_word,
    "disk-is-slow": disk_is_slow,
    "one-put-an-fsync": one_put_an_fsync,
    "drains-few-at-a-time": drains_few_at_a_time,
    "letters-take-long": letters_take_long,
    "letters-stall": letters_stall,
    "doors-cost": doors_cost,
}
