"""A spool whose Kafka is back comes to an end, however fast its sources are."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from eventhub.errors import UnavailableError
from eventhub.ingest.spool import Spool, Spooled
from eventhub.ingest.spool.spool import DRAIN_BYTES
from eventhub.tasks import end
from tests.ingest.test_spool import Topic, outgoing
from tests.support.wait import until

MAX = 8 << 20
BACKLOG, SOURCES = 20, 4


async def test_who_sends_as_fast_as_it_is_answered_does_not_keep_its_match_here(tmp_path: Path) -> None:
    await drained_under_load(tmp_path)


async def test_it_finds_out_a_spool_that_acknowledges_whatever_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Spool, "_draining", property(lambda _: False, lambda *_: None), raising=False)
    with pytest.raises(AssertionError, match="still in the spool"):
        await drained_under_load(tmp_path)


async def drained_under_load(root: Path) -> None:
    """Four careless sources go on until the match is out of the spool of a node whose Kafka is slower than the disk."""
    topic, answered = Topic(), 0
    topic.down = True

    async def slow(records: Sequence[Spooled]) -> None:
        await topic.send(records)
        seen = answered
        # Slower than whoever goes on: a piece of the drain lasts until each source was answered, or for a moment.
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                while answered < seen + SOURCES:
                    await asyncio.sleep(0)

    async def send_on() -> None:
        nonlocal answered
        while spool.holds("broadcast-events", "m"):
            await spool.put("broadcast-events", "m", [outgoing("more")])
            answered += 1
            assert answered < 20 * BACKLOG, "the match is still in the spool"

    spool = Spool(root, max_bytes=MAX)
    await asyncio.gather(*(spool.put("broadcast-events", "m", [outgoing(str(n))]) for n in range(BACKLOG)))
    topic.down = False
    task = asyncio.create_task(spool.run(slow))
    try:
        await asyncio.gather(*(send_on() for _ in range(SOURCES)))
    finally:
        await end(task)
        await spool.close()
    assert len(topic.got) == BACKLOG + answered


async def test_acknowledgements_that_wait_for_the_drain_come_at_once_when_kafka_goes_away_again(tmp_path: Path) -> None:
    topic, sent = Topic(), asyncio.Event()
    go_on = asyncio.Event()

    async def twice(records: Sequence[Spooled]) -> None:
        await topic.send(records)
        if sent.is_set():
            await go_on.wait()
            raise UnavailableError("away again")
        sent.set()

    spool = Spool(tmp_path, max_bytes=MAX)
    big = [outgoing("x" * (DRAIN_BYTES // 2)) for _ in range(3)]
    await asyncio.gather(*(spool.put("broadcast-events", "m", [one]) for one in big))
    task = asyncio.create_task(spool.run(twice))
    await until(lambda: spool._draining, "the first piece")
    late = spool.put("broadcast-events", "m", [outgoing("late"), outgoing("later")])
    await until(lambda: topic.tries == 2, "the second piece")
    await until(lambda: not spool._waiting, "the record on the disk")
    assert not late.done()
    go_on.set()
    assert await asyncio.wait_for(late, 10) is None
    await end(task)
    await spool.close()
