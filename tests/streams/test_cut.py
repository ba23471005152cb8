"""Kafka no longer has what it acknowledged: the owner of a raw topic skips nothing new, that of the log tells."""

from collections import Counter

import pytest

from eventhub import record, topics
from eventhub.errors import UnavailableError
from eventhub.kafka import FencedWriter, read_range
from eventhub.record import Lost
from eventhub.storage import HistoryWriter, Pool
from eventhub.streams.enrichment import Enrichment
from eventhub.streams.history import History
from tests.streams.bench import PARTITION, Bench, Granted, once

EPOCH = "0123abcd"
Told = list[Lost]


async def new_records_of_a_cut_topic_are_applied(bench: Bench) -> None:
    """The log says that 1,000 records more were applied; then the topic gets some that take their offsets."""
    a = bench.duty("a")
    await bench.send(3)
    await a.acquire(Granted())
    await bench.work(a)
    a._applied[0] += 1000
    # Twice, and once more when it is quiet: only the first word of it is older than what comes after the cut.
    for _ in range(2):
        await a._writer.write([a._marker()])
    await bench.send(5)
    a._writer.drop()
    b = bench.duty("b")
    await b.acquire(Granted())
    await bench.work(b)
    once(await counted(bench), 8)
    await b.release()


async def counted(bench: Bench) -> Counter[str]:
    """How often each of this bench's events is on the log; its vector does go backwards here."""
    counts: Counter[str] = Counter()
    async for records in read_range(bench.cluster, topics.LOG, PARTITION, 0):
        for one in records:
            if one.value is not None and one.key.decode() == bench.match_id:
                counts[record.log_tags(record.head(one.headers)).event_id.hex()] += 1
    return counts


async def test_new_records_of_a_cut_topic_are_applied(bench: Bench) -> None:
    await new_records_of_a_cut_topic_are_applied(bench)


async def test_mutant_a_cut_to_the_end_as_it_is_when_it_is_noticed_loses_what_came_since(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def end(self: Enrichment, topic: str, end: int, start: int) -> int:
        return end

    monkeypatch.setattr(Enrichment, "_behind_the_cut", end)
    with pytest.raises(AssertionError, match="5 events are missing"):
        await new_records_of_a_cut_topic_are_applied(bench)


async def test_a_writer_notices_that_its_partition_ends_before_what_was_acknowledged(bench: Bench) -> None:
    told: Told = []

    async def tell(lost: Lost) -> None:
        told.append(lost)

    duty = bench.duty("a")
    duty._around = duty._around._replace(log_was_cut=tell)
    await bench.send(3)
    await duty.acquire(Granted())
    await bench.work(duty)
    await duty.acquire(Granted())
    assert told == [], "nothing was lost"
    # As if it had been acknowledged further than the log goes now.
    duty._writer._furthest += 500
    known = duty._writer._furthest
    await duty.acquire(Granted())
    assert [(lost.partition, lost.known) for lost in told] == [(PARTITION, known)]
    await duty.release()


async def history_of(pool: Pool, bench: Bench, told: Told, next_offset: int, last_ms: int | None) -> History:
    """A duty of history that has stored so much, of which the last record was appended then."""

    async def tell(lost: Lost) -> None:
        told.append(lost)

    async def writable() -> None:
        return

    writer = HistoryWriter(pool, epoch=EPOCH)
    await writer.progress(PARTITION)
    await writer.apply(PARTITION, [], next_offset=next_offset, last_ms=last_ms)
    return History(PARTITION, writer, bench.offsets, writable, tell)


async def test_history_goes_on_where_the_last_record_is_the_one_it_knows(bench: Bench, pool: Pool) -> None:
    told: Told = []
    end, last_ms = await fenced(bench)
    duty = await history_of(pool, bench, told, end, last_ms)
    await duty.acquire(Granted())
    assert duty.next_offsets() == {topics.LOG: end}
    assert told == []


@pytest.mark.parametrize(("further", "later_ms"), [(1, 0), (0, 1)])
async def test_history_tells_of_a_log_that_ends_before_its_progress_or_has_another_record_there(
    bench: Bench, pool: Pool, further: int, later_ms: int
) -> None:
    told: Told = []
    end, last_ms = await fenced(bench)
    duty = await history_of(pool, bench, told, end + further, last_ms + later_ms)
    with pytest.raises(UnavailableError, match="not the one that history has applied"):
        await duty.acquire(Granted())
    assert told == [Lost(PARTITION, end + further - 1, end)]


async def fenced(bench: Bench) -> tuple[int, int]:
    """The log's end, and when its last record was appended."""
    writer = FencedWriter(bench.cluster, "cut", topics.LOG, PARTITION)
    last = await writer.fence("cut")
    writer.drop()
    last_ms = await bench.offsets.appended_ms(topics.LOG, PARTITION, last)
    assert last_ms is not None
    return last + 1, last_ms
