"""The one writer of a log partition, against a real broker: crashes, zombies, and what each rule prevents.

Each guarantee is a function that a mutant fails: the same scenario, with one rule taken out by a patch.
"""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import ProducerFenced

from eventhub import topics
from eventhub.kafka import Declared, FencedWriter, read_range
from eventhub.streams import enrichment
from eventhub.streams.enrichment import Enrichment
from tests.streams.bench import PARTITION, Bench, Granted, once


async def successor_goes_on(bench: Bench) -> None:
    """A dies with a backlog; B continues where the log ends, whatever A had told anybody."""
    a, b = bench.duty("a"), bench.duty("b")
    await bench.send(50)
    await a.acquire(Granted())
    await bench.work(a)
    await bench.send(50)
    await b.acquire(Granted())
    await bench.work(b)
    once(await bench.ids(), 100)
    for duty in (a, b):
        await duty.release()


async def zombie_is_refused(bench: Bench) -> None:
    """A is frozen between its decision and its send; B takes over; A wakes and sends."""
    a, b = bench.duty("a"), bench.duty("b")
    await bench.send(50)
    await a.acquire(Granted())
    frozen, gate = asyncio.Event(), asyncio.Event()
    send = a._writer.write

    async def write_when_woken(records: Any) -> int:
        frozen.set()
        await gate.wait()
        return await send(records)

    a._writer.write = write_when_woken  # type: ignore[method-assign]
    asleep = asyncio.create_task(bench.work(a))
    await asyncio.wait_for(frozen.wait(), 10)
    await b.acquire(Granted())
    await bench.work(b)
    gate.set()
    with pytest.raises(ProducerFenced):
        await asyncio.wait_for(asleep, 20)
    once(await bench.ids(), 50)
    for duty in (a, b):
        await duty.release()


async def test_a_successor_goes_on_where_the_log_ends(bench: Bench) -> None:
    await successor_goes_on(bench)


async def test_a_zombies_batch_is_refused(bench: Bench) -> None:
    await zombie_is_refused(bench)


async def test_mutant_no_fence_lets_a_zombie_write(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def plain(self: FencedWriter, node: str) -> int:
        self._producer = self._kafka.producer()
        await self._producer.start()
        sent = await self._producer.send(self.topic, None, key=b"fence", partition=self.partition, headers=[])
        self.last = None
        offset: int = (await sent).offset
        return offset

    monkeypatch.setattr(FencedWriter, "fence", plain)
    monkeypatch.setattr(FencedWriter, "last", property(lambda _: None, lambda _, __: None), raising=False)
    monkeypatch.setattr(FencedWriter, "write", _write_unchecked)
    with pytest.raises(BaseException, match=r"DID NOT RAISE|twice|missing"):
        await zombie_is_refused(bench)


async def _write_unchecked(self: FencedWriter, rows: Any) -> int:
    for key, value, headers in rows:
        sent = await self._producer.send(self.topic, value, key=key, partition=self.partition, headers=list(headers))
        await sent
    return 0


async def test_mutant_no_rebuild_after_the_fence_doubles(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Enrichment, fence: int) -> None:
        self.forget()

    monkeypatch.setattr(Enrichment, "_rebuild", nothing)
    with pytest.raises(AssertionError, match=r"twice|backwards"):
        await successor_goes_on(bench)


async def test_mutant_seek_before_the_vector_is_read_goes_backwards(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    rebuild = Enrichment._rebuild

    async def ids_only(self: Enrichment, fence: int) -> None:
        await rebuild(self, fence)
        self._applied = list(enrichment.NONE)

    monkeypatch.setattr(Enrichment, "_rebuild", ids_only)
    with pytest.raises(AssertionError, match="backwards"):
        await successor_goes_on(bench)


async def test_a_failed_send_is_redone_from_what_the_log_has(bench: Bench) -> None:
    duty = bench.duty("a")
    await bench.send(30)
    await duty.acquire(Granted())
    send = duty._writer.write

    async def write_and_fail(records: Any) -> int:
        await send(records)
        raise OSError("the answer was lost")

    duty._writer.write = write_and_fail  # type: ignore[method-assign]
    with pytest.raises(OSError, match="lost"):
        await bench.work(duty)
    duty._writer.write = send  # type: ignore[method-assign]
    duty.forget()
    await duty.acquire(Granted())
    await bench.work(duty)
    once(await bench.ids(), 30)
    await duty.release()


async def test_a_batch_of_duplicates_ends_in_a_marker_so_that_nobody_reads_it_again(bench: Bench) -> None:
    duty = bench.duty("a")
    await bench.send(10)
    await duty.acquire(Granted())
    await bench.work(duty)
    await bench.send(10, first=0)
    await bench.work(duty)
    again = bench.duty("b")
    await again.acquire(Granted())
    assert again.next_offsets() == duty.next_offsets()
    assert await bench.due(again) == []
    once(await bench.ids(), 10)
    for one in (duty, again):
        await one.release()


async def test_the_same_id_with_other_bytes_goes_to_the_dead_letters(bench: Bench) -> None:
    duty = bench.duty("a")
    await bench.send(5)
    await bench.send(1, first=2, content=b"other")
    await duty.acquire(Granted())
    start = (await bench.offsets.bounds(topics.DEAD, PARTITION)).end
    await bench.work(duty)
    letters = [r async for rs in read_range(bench.cluster, topics.DEAD, PARTITION, start) for r in rs]
    assert [dict(r.headers)["code"] for r in letters] == [b"id_conflict"]
    assert letters[0].key.decode().startswith(f"{topics.BROADCAST}.{PARTITION}.")
    once(await bench.ids(), 5)
    await duty.release()


async def test_ids_of_before_a_snapshot_are_still_known_after_it(bench: Bench) -> None:
    duty = bench.duty("a", snapshot_s=0)
    await bench.send(40)
    await duty.acquire(Granted())
    await bench.work(duty)
    await bench.send(5)
    await bench.work(duty)
    again = bench.duty("b")
    await again.acquire(Granted())
    await bench.send(45, first=0)
    await bench.work(again)
    once(await bench.ids(), 45)
    for one in (duty, again):
        await one.release()


async def test_a_raw_topic_of_another_incarnation_is_read_from_its_beginning(bench: Bench) -> None:
    duty = bench.duty("a")
    await bench.send(3)
    await duty.acquire(Granted())
    await bench.work(duty)
    bench.declared = Declared({**bench.declared.incarnations, topics.BROADCAST: "ffffffff"}, [])
    again = bench.duty("b")
    await again.acquire(Granted())
    assert again.next_offsets()[topics.BROADCAST] == 0
    for one in (duty, again):
        await one.release()


async def test_a_vector_beyond_the_topics_end_is_cut_to_it(bench: Bench) -> None:
    duty = bench.duty("a")
    await bench.send(3)
    await duty.acquire(Granted())
    await bench.work(duty)
    end = duty.next_offsets()[topics.BROADCAST]
    duty._applied[0] = end + 1000
    await duty._writer.write([duty._marker()])
    again = bench.duty("b")
    await again.acquire(Granted())
    assert again.next_offsets()[topics.BROADCAST] == end
    for one in (duty, again):
        await one.release()
