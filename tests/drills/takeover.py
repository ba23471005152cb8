"""How long a partition stands still when its owner goes, read from the log's own append times."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from eventhub import record, topics
from eventhub.kafka import Kafka, read_range
from tests.drills.sender import Sender


class Fault(NamedTuple):
    """When an owner was told to go or killed (epoch, ms), and what it owned."""

    at_ms: float
    partitions: tuple[int, ...]


class Written(NamedTuple):
    """One record of the log: when it was appended, and whether it is an event, a fence or a marker."""

    at_ms: int
    what: str


@asynccontextmanager
async def steadily(sender: Sender, per_s: int) -> AsyncIterator[None]:
    """Let so many submissions go each second, in steps of 50 ms."""

    async def tick() -> None:
        # Not a wait for anything: the load of a source.
        while True:
            await sender.allow(max(1, per_s // 20))
            await asyncio.sleep(0.05)

    ticking = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking


def now_ms() -> float:
    """The clock that Kafka stamps records with: the same machine's."""
    return time.time() * 1000


async def read(cluster: Kafka, partitions: int) -> dict[int, list[Written]]:
    """Every record of the log, by partition, in order."""
    written: dict[int, list[Written]] = {p: [] for p in range(partitions)}
    for partition, rows in written.items():
        async for records in read_range(cluster, topics.LOG, partition, 0):
            for one in records:
                what = "event" if one.value is not None else "marker" if record.head(one.headers) else "fence"
                rows.append(Written(one.timestamp, what))
    return written


def stood_still_s(written: dict[int, list[Written]], fault: Fault) -> float:
    """The longest time that one of the fault's partitions had no event while it changed hands.

    From the later of the fault and the last event before the successor's fence, to the first event behind that fence.
    A partition that has no events then is not counted; 0 when there is none.
    """
    longest_ms = 0.0
    for partition in fault.partitions:
        rows = written[partition]
        fences = [i for i, one in enumerate(rows) if one.what == "fence" and one.at_ms >= fault.at_ms]
        if not fences:
            continue
        before = [one.at_ms for one in rows[: fences[0]] if one.what == "event"]
        after = [one.at_ms for one in rows[fences[0] :] if one.what == "event"]
        if before and after:
            longest_ms = max(longest_ms, after[0] - max(before[-1], fault.at_ms))
    return longest_ms / 1000
