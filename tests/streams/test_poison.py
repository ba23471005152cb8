"""A record that ends its worker is put aside after it was tried twice by itself, and everything else flows."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from eventhub import record, topics
from eventhub.kafka import FencedWriter, read_range
from eventhub.record import BATCH, Outgoing, pack_try, pack_vector
from eventhub.streams.enrich import Consumed, Enricher
from eventhub.streams.enrichment import Enrichment
from eventhub.streams.tries import Tries
from tests.streams.bench import PARTITION, Bench, Granted, once

ZERO = b"\0" * 4 * len(topics.RAW)
Step = Callable[[Enricher, Consumed], Any]


class Ended(BaseException):
    """In place of a killed process: nothing in the product catches it, and nothing of its owner goes on."""


def head(applied: int, tried: bytes = b"") -> bytes:
    return pack_vector(record.MARKER, (applied,) * len(topics.RAW), ZERO) + tried


def test_two_beginnings_without_progress_make_the_third_careful() -> None:
    tries = Tries()
    for _ in range(2):
        assert not tries.careful(0)
        tries.see(head(7), is_event=False)
        tries.see(head(7, pack_try(0, BATCH)), is_event=False)
    assert tries.careful(0)
    # Failures that their owner lived to tell are no deaths.
    assert not tries.careful(1)
    tries.see(head(8), is_event=False)
    assert not tries.careful(0)


def test_a_record_is_poisonous_once_it_was_tried_twice_and_progress_forgets_it() -> None:
    tries = Tries()
    for _ in range(2):
        assert not tries.poisonous(1, 30)
        tries.see(head(7, pack_try(1, 30)), is_event=False)
    assert tries.poisonous(1, 30)
    assert not tries.poisonous(0, 30)
    tries.see(head(7), is_event=True)
    assert not tries.poisonous(1, 30)
    assert not tries.careful(0)


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Raw offsets whose records end whoever steps on them."""
    offsets: list[int] = []
    step: Step = Enricher.step

    def deadly(self: Enricher, raw: Consumed) -> Any:
        if raw.topic == topics.BROADCAST and raw.offset in offsets:
            raise Ended
        return step(self, raw)

    monkeypatch.setattr(Enricher, "step", deadly)
    return offsets


async def deaths(bench: Bench, most: int) -> int:
    """How many owners in a row end on what is due, until one gets through it."""
    for number in range(most):
        duty = bench.duty(f"owner-{number}")
        await duty.acquire(Granted())
        try:
            await bench.work(duty)
        except Ended:
            duty._writer.drop()
        else:
            await duty.release()
            return number
    pytest.fail(f"{most} owners ended on the same record")


async def letters(bench: Bench, start: int) -> list[tuple[bytes, bytes]]:
    """Key and code of each dead letter from an offset on."""
    found = [r async for rs in read_range(bench.cluster, topics.DEAD, PARTITION, start) for r in rs]
    return [(r.key, dict(r.headers)["code"]) for r in found]


async def begun(bench: Bench) -> tuple[int, int]:
    """After five events, and what other tests left: where the dead letters and the raw topic end."""
    duty = bench.duty("first")
    await bench.send(5)
    await duty.acquire(Granted())
    await bench.work(duty)
    await duty.release()
    ends = [(await bench.offsets.bounds(topic, bench.partition)).end for topic in (topics.DEAD, topics.BROADCAST)]
    return ends[0], ends[1]


async def parked(bench: Bench, poison: list[int]) -> None:
    start, first = await begun(bench)
    await bench.send(20)
    poison += [first + 3, first + 11]
    # For each: one that ends on it unknowing, one more that began, and two that tried it by itself.
    assert await deaths(bench, 12) <= 8
    once(await bench.ids(), 23)
    keys = [f"{topics.BROADCAST}.{PARTITION}.{offset}".encode() for offset in poison]
    assert set(await letters(bench, start)) == {(key, b"crash_poison") for key in keys}
    # Whoever comes next has nothing to be careful about.
    await bench.send(5)
    assert await deaths(bench, 2) == 0
    once(await bench.ids(), 28)


async def test_records_that_end_their_worker_are_parked_and_the_rest_flows(bench: Bench, poison: list[int]) -> None:
    await parked(bench, poison)


async def test_mutant_deaths_are_not_counted(bench: Bench, poison: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tries, "see", lambda self, head, *, is_event: None)
    with pytest.raises(pytest.fail.Exception, match="ended on the same record"):
        await parked(bench, poison)


async def outlived(benches: Sequence[Bench], works: list[asyncio.Task[None]]) -> None:
    """Processes that own all of these partitions, one after another, until one gets through what is due."""
    for life in range(12):
        one_try = asyncio.Lock()
        duties = [one.duty(f"life-{life}", one_try=one_try) for one in benches]
        for duty in duties:
            await duty.acquire(Granted())
        works[:] = [asyncio.create_task(one.work(duty)) for one, duty in zip(benches, duties, strict=True)]
        ended = await asyncio.gather(*works, return_exceptions=True)
        for duty in duties:
            duty._writer.drop()
        if not any(ended):
            return
    pytest.fail("12 processes ended on the same record")


async def test_its_neighbours_in_the_same_process_are_not_put_aside(
    bench: Bench, poison: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbour = Bench(bench.cluster, bench.offsets, bench.writer, bench.declared, "neighbour", PARTITION + 1)
    await neighbour.begin()
    benches = (bench, neighbour)
    _, first = await begun(bench)
    # The poison is named by its offset alone, which must not be the neighbour's too.
    await neighbour.send(20 + first)
    await begun(neighbour)
    start = (await bench.offsets.bounds(topics.DEAD, neighbour.partition)).end
    write = FencedWriter.write

    async def slowly(self: FencedWriter, records: Sequence[Outgoing]) -> int:
        # The poison is always met while what the neighbour has decided is not on the log yet.
        if self.partition == neighbour.partition:
            await asyncio.sleep(0.5 if any(one.value for one in records) else 0)
        else:
            await asyncio.sleep(0.1)
        return await write(self, records)

    works: list[asyncio.Task[None]] = []
    step: Step = Enricher.step

    def ending(self: Enricher, raw: Consumed) -> Any:
        try:
            return step(self, raw)
        except Ended:
            # Where a process is killed, nothing of it goes on.
            for work in works:
                work.cancel()
            raise

    monkeypatch.setattr(FencedWriter, "write", slowly)
    monkeypatch.setattr(Enricher, "step", ending)
    poison.append(first)
    for one in benches:
        await one.send(3)
    await outlived(benches, works)
    once(await bench.ids(), 7)
    once(await neighbour.ids(), neighbour.numbers)
    assert (await bench.offsets.bounds(topics.DEAD, neighbour.partition)).end == start, "a neighbour was put aside"


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize("error", [LookupError("no player named \ud800"), MuteError()], ids=["surrogate", "mute"])
async def test_an_error_that_cannot_be_told_is_a_dead_letter_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    step: Step = Enricher.step
    start, first = await begun(bench)

    def failing(self: Enricher, raw: Consumed) -> Any:
        if raw.topic == topics.BROADCAST and raw.offset == first + 4:
            raise error
        return step(self, raw)

    monkeypatch.setattr(Enricher, "step", failing)
    await bench.send(10)
    assert await deaths(bench, 1) == 0
    once(await bench.ids(), 14)
    key = f"{topics.BROADCAST}.{PARTITION}.{first + 4}".encode()
    assert await letters(bench, start) == [(key, b"enrichment_failed")]


async def test_a_failure_that_is_no_death_makes_nobody_careful(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    duty, away = bench.duty("a"), [True]
    apply = Enrichment._apply

    async def refused(self: Enrichment, batches: Any) -> None:
        if away[0]:
            raise ConnectionError("Kafka is away")
        await apply(self, batches)

    await bench.send(10)
    assert await deaths(bench, 1) == 0
    monkeypatch.setattr(Enrichment, "_apply", refused)
    await bench.send(10)
    for _ in range(4):
        await duty.acquire(Granted())
        with pytest.raises(ConnectionError):
            await bench.work(duty)
        duty.forget()
    await duty.acquire(Granted())
    assert not duty._tries.careful(duty._survived)
    away[0] = False
    await bench.work(duty)
    once(await bench.ids(), 20)
    await duty.release()
