"""Traces of events that enrichment, aggregation's records and history's writer put on real servers themselves.

Each guarantee is a function that a mutant fails.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from eventhub import dead_letters, record, topics, trace
from eventhub.errors import NotFoundError, UnavailableError
from eventhub.events import Match, RawEvent, Team
from eventhub.identity import fingerprint, identity
from eventhub.kafka import Declared, Kafka, Offsets, Partitioner, Writer, read_range
from eventhub.record import Outgoing
from eventhub.storage import HistoryWriter, Pool
from eventhub.streams.enrichment import Enrichment, Surroundings
from eventhub.streams.history import row
from eventhub.streams.lease import Lease
from eventhub.streams.owner import Batch
from eventhub.trace import Stored, Trace, hops, look

NOW = datetime.now(UTC)
PARTITIONS = 8


class Granted(Lease):
    """A lease whose proof is always accepted."""

    def __init__(self) -> None:
        super().__init__(None, None, asyncio.Event())  # type: ignore[arg-type]

    async def prove(self, offsets: dict[tuple[str, int], int]) -> None:
        return


class Way:
    """One match's partition: raw records, enrichment, history, and what `trace` says of an event."""

    def __init__(self, cluster: Kafka, offsets: Offsets, writer: Writer, declared: Declared, pool: Pool) -> None:
        self.cluster, self.offsets, self.writer, self.declared, self.pool = cluster, offsets, writer, declared, pool
        self.match_id = f"way-{uuid4().hex[:8]}"
        self.partitioner = Partitioner(PARTITIONS)
        self.partition = self.partitioner(self.match_id)
        self.registry = {self.match_id: Match(self.match_id, Team("h", "Home"), Team("a", "Away"), NOW)}

        async def caught_up() -> None:
            return

        self.duty = Enrichment(
            self.partition,
            Surroundings(
                cluster, offsets, declared, self.registry, caught_up, writer, "way", 3600, 3600, asyncio.Lock()
            ),
        )

    async def send(
        self, number: int, *, content: bytes = b"", of: str | None = None, match_id: str | None = None
    ) -> UUID:
        """An event on the raw topic of broadcasts; with `of` a revision."""
        match_id = match_id or self.match_id
        who = identity("broadcast", match_id, f"n{number}", 0, b"")
        event = RawEvent(
            event_id=who.text,
            source="broadcast/test",
            match_id=match_id,
            type="pass",
            occurred_at=NOW,
            accepted_at=datetime.now(UTC),
            of=of,
            revision=1 if of else 0,
        )
        head = record.pack_tags(who.packed, fingerprint(b"%d" % number + content), b"n:pass")
        one = Outgoing(match_id.encode(), msgspec.json.encode(event), [("h", head)])
        await self.writer.append(topics.BROADCAST, self.partition, [one], timeout_s=10)
        return UUID(who.text)

    async def send_state(self, cause: int) -> UUID:
        """As aggregation sends it: caused by the log record at that offset."""
        who = identity("aggregation", self.match_id, f"{self.match_id}:{cause}", 0, b"")
        event = RawEvent(
            event_id=who.text,
            source="aggregation",
            match_id=self.match_id,
            type="state",
            occurred_at=NOW,
            accepted_at=NOW,
        )
        head = record.pack_tags(who.packed, b"", b"n:state", cause)
        one = Outgoing(self.match_id.encode(), msgspec.json.encode(event), [("h", head)])
        await self.writer.append(topics.STATS, self.partition, [one], timeout_s=10)
        return UUID(who.text)

    async def enrich(self) -> None:
        if not self.duty.ready:
            await self.duty.acquire(Granted())
        for topic, start in self.duty.next_offsets().items():
            found = [r async for rs in read_range(self.cluster, topic, self.partition, start) for r in rs]
            if found:
                await self.duty.apply([Batch(topic, found)])

    async def store(self) -> None:
        """History, as far as the log goes now."""
        history = HistoryWriter(self.pool, epoch=self.declared.epoch)
        start = (await history.progress(self.partition)).next_offset
        found = [r async for rs in read_range(self.cluster, topics.LOG, self.partition, start) for r in rs]
        rows = [r for r in map(row, found) if r is not None]
        await history.apply(self.partition, rows, next_offset=found[-1].offset + 1)

    async def kept(self, offset: int) -> Any:
        """The log's record at this offset."""
        found = [r async for rs in read_range(self.cluster, topics.LOG, self.partition, offset, offset + 1) for r in rs]
        return found[0]

    async def trace(self, event_id: UUID, *, match_id: str | None = None, down: bool = False) -> Trace:
        scope = trace.Scope(self.cluster, self.offsets, self.partitioner, self.declared.epoch, match_id)
        history: Stored | UnavailableError | None = UnavailableError("PostgreSQL is away")
        if not down:
            history = await trace.look_up(self.pool, event_id)
        letters = await dead_letters.read(self.cluster, PARTITIONS)
        return await trace.follow(scope, event_id, history=history, letters=letters)


@pytest.fixture
async def way(own_cluster: Kafka, own_declared: Declared, pool: Pool) -> AsyncIterator[Way]:
    offsets, writer = Offsets(own_cluster), Writer(own_cluster)
    await offsets.open()
    await writer.open()
    made = Way(own_cluster, offsets, writer, own_declared, pool)
    yield made
    await made.duty.release()
    await writer.close()
    await offsets.close()


def kinds(found: Trace) -> list[str]:
    return [hop.hop for hop in found.hops]


def only(found: Trace, kind: str) -> Any:
    (hop,) = [hop for hop in found.hops if hop.hop == kind]
    return hop


async def the_whole_way(way: Way) -> None:
    """Every hop at the place where it really is."""
    event_id = await way.send(1)
    await way.send(2)
    await way.enrich()
    place = only(await way.trace(event_id), "log")
    state_id = await way.send_state(place.offset)
    await way.send(1)
    revision_id = await way.send(3, of=str(event_id))
    await way.enrich()
    await way.store()
    found = await way.trace(event_id)
    assert (found.match_id, found.type, found.source) == (way.match_id, "pass", "broadcast/test")
    assert sorted(kinds(found)) == sorted(["accepted", "log", "duplicate", "revision", "state", "history"])
    assert found.duplicates == 1
    assert (found.stored, found.verdict) == (True, "on the log and in history")
    accepted, logged = only(found, "accepted"), only(found, "log")
    assert accepted.place == topics.BROADCAST and only(found, "duplicate").offset > accepted.offset
    assert (logged.place, logged.partition) == (topics.LOG, way.partition)
    assert (only(found, "history").partition, only(found, "history").offset) == (way.partition, logged.offset)
    assert str(state_id) in only(found, "state").note
    assert str(revision_id) in only(found, "revision").note
    kept = await way.kept(logged.offset)
    assert record.log_tags(record.head(kept.headers)).event_id == event_id.bytes
    assert logged.at == datetime.fromtimestamp(kept.timestamp / 1000, UTC)
    assert logged.step_ms == (logged.at - accepted.at) / timedelta(milliseconds=1)
    assert logged.total_ms == round((logged.at - found.accepted_at) / timedelta(milliseconds=1), 3)


async def dead_and_sent_again(way: Way) -> None:
    """The letter stands where it was, and the log names the copy that came through."""
    match = way.registry.pop(way.match_id)
    event_id = await way.send(1)
    await way.enrich()
    dead = await way.trace(event_id)
    assert kinds(dead) == ["accepted", "dead", "history"]
    assert dead.verdict == "dead: unknown_match"
    way.registry[way.match_id] = match
    (letter,) = [one for one in await dead_letters.read(way.cluster, PARTITIONS) if one.event_id == str(event_id)]
    await dead_letters.replay(way.cluster, [letter], by="ann", now=lambda: NOW, progress=lambda _done, _of: None)
    await way.enrich()
    await way.store()
    found = await way.trace(event_id)
    assert kinds(found) == ["accepted", "dead", "replayed", "log", "history"]
    assert "replayed" in only(found, "dead").note
    assert only(found, "log").step_ms == (only(found, "log").at - only(found, "replayed").at) / timedelta(
        milliseconds=1
    )
    assert found.duplicates == 0


async def test_the_whole_way_of_an_event_is_told(way: Way) -> None:
    await the_whole_way(way)


async def test_an_event_that_was_dead_and_sent_again_tells_both(way: Way) -> None:
    await dead_and_sent_again(way)


async def test_it_works_while_postgres_is_down_and_says_so(way: Way) -> None:
    event_id = await way.send(1)
    await way.enrich()
    found = await way.trace(event_id, down=True)
    assert kinds(found) == ["accepted", "log", "history"]
    assert (found.stored, found.verdict) == (None, "on the log")
    assert "PostgreSQL is away" in only(found, "history").note


async def test_an_event_that_enrichment_has_not_taken_yet_waits(way: Way) -> None:
    await way.enrich()
    event_id = await way.send(1)
    found = await way.trace(event_id)
    assert kinds(found) == ["accepted", "history"]
    assert (found.stored, found.verdict) == (False, "accepted, not on the log yet")


async def test_a_conflict_is_told_beside_the_event_that_stands(way: Way) -> None:
    event_id = await way.send(1)
    await way.send(1, content=b"other")
    await way.enrich()
    found = await way.trace(event_id)
    assert sorted(kinds(found)) == sorted(["accepted", "accepted", "log", "dead", "history"])
    assert "id_conflict" in only(found, "dead").note
    assert (found.verdict, found.duplicates) == ("on the log, not in history yet", 0)


async def only_its_partition(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    event_id = await way.send(1)
    await way.enrich()
    read: set[tuple[str, int]] = set()
    scan = look._scan

    async def noted(kafka: Kafka, topic: str, partitions: Any, *rest: Any) -> Any:
        read.update((topic, partition) for partition in partitions)
        return await scan(kafka, topic, partitions, *rest)

    monkeypatch.setattr(look, "_scan", noted)
    await way.trace(event_id, match_id=way.match_id)
    assert read == {(topics.LOG, way.partition), (topics.BROADCAST, way.partition)}


async def no_more_than_needed(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    await way.send(1)
    await way.enrich()
    await way.store()
    event_id = await way.send(2)
    await way.enrich()
    await way.store()
    read: dict[str, int] = {}
    scan = look._scan

    async def noted(kafka: Kafka, topic: str, partitions: Any, starts: Any, *rest: Any) -> Any:
        read[topic] = starts[way.partition]
        return await scan(kafka, topic, partitions, starts, *rest)

    monkeypatch.setattr(look, "_scan", noted)
    monkeypatch.setattr(look, "BEFORE_MS", 0)
    found = await way.trace(event_id)
    assert read == {topics.LOG: only(found, "log").offset, topics.BROADCAST: only(found, "accepted").offset}


async def test_an_event_that_nothing_knows_is_not_found(way: Way) -> None:
    stranger = uuid4()
    with pytest.raises(NotFoundError, match=f"nothing knows event {stranger}: .*nor in history"):
        await way.trace(stranger)
    with pytest.raises(NotFoundError, match=r"of match 'm' \(partition \d\).*history could not be asked"):
        await way.trace(stranger, match_id="m", down=True)


async def test_history_without_a_schema_cannot_be_asked(services: Any) -> None:
    empty = Pool(services.addresses.postgres, "test", size=1, statement_timeout_s=5)
    await empty.open()
    try:
        with pytest.raises(UnavailableError, match="migrate"):
            await trace.look_up(empty, uuid4())
    finally:
        await empty.close()


async def test_mutant_of_the_relation_misses_what_followed(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    call = look._Related.__call__

    def by_id_only(self: look._Related, one: Any) -> bool:
        call(self, one)
        return False

    monkeypatch.setattr(look._Related, "__call__", by_id_only)
    with pytest.raises(AssertionError):
        await the_whole_way(way)


async def test_mutant_the_first_copy_is_not_the_one_that_came_through(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = hops._log

    def letters_are_ignored(evidence: Any, accepted_at: Any) -> Any:
        return log(evidence._replace(letters=()), accepted_at)

    monkeypatch.setattr(hops, "_log", letters_are_ignored)
    with pytest.raises(AssertionError):
        await dead_and_sent_again(way)


async def test_a_match_narrows_the_search_to_its_partition(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    await only_its_partition(way, monkeypatch)


async def test_history_and_the_time_of_acceptance_bound_what_is_read(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    await no_more_than_needed(way, monkeypatch)


async def test_mutant_every_partition_is_read(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace.Scope, "partitions", lambda _scope, _match_id: list(range(PARTITIONS)))
    with pytest.raises(AssertionError):
        await only_its_partition(way, monkeypatch)


async def test_mutant_topics_are_read_from_their_beginning(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    at = trace.Scope.at

    async def no_beginning(scope: trace.Scope, topic: str, time_ms: float) -> dict[int, int]:
        found = await at(scope, topic, time_ms)
        return found if time_ms > NOW.timestamp() * 1000 + look.AFTER_MS / 2 else dict.fromkeys(found, 0)

    monkeypatch.setattr(trace.Scope, "at", no_beginning)
    with pytest.raises(AssertionError):
        await no_more_than_needed(way, monkeypatch)
