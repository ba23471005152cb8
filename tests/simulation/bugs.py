"""Planted bugs: each takes one rule out of the product by a patch. The simulation must find every one of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from eventhub.delivery.hub import Hub
from eventhub.delivery.resume import Follower
from eventhub.delivery.ring import Ring
from eventhub.delivery.view import View
from eventhub.ingest.spool import Spool
from eventhub.kafka import FencedWriter
from eventhub.record import MARKER, Outgoing, pack_vector
from eventhub.storage import HistoryWriter, Row
from eventhub.streams import enrichment, memory, snapshot
from eventhub.streams.aggregation import Aggregation
from eventhub.streams.enrich import Enricher
from eventhub.streams.enrichment import Enrichment
from eventhub.streams.lease import Lease
from eventhub.streams.owner import Owner

Patch = tuple[Any, str, Any]


def no_fence() -> list[Patch]:
    """The owner writes through a producer that shuts nobody out."""

    async def fence(self: Any, node: str) -> int:
        self.drop()
        self._producer = self._kafka.producer()
        await self._producer.start()
        sent = await self._producer.send(self.topic, None, key=b"fence", partition=self.partition, headers=[])
        self.last = None
        offset: int = (await sent).offset
        return offset

    async def write(self: Any, records: Sequence[Outgoing]) -> int:
        batch = self._producer.create_batch()
        for key, value, headers in records:
            if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                await (await self._producer.send_batch(batch, self.topic, partition=self.partition))
                batch = self._producer.create_batch()
                batch.append(key=key, value=value, timestamp=None, headers=headers)
        written = await (await self._producer.send_batch(batch, self.topic, partition=self.partition))
        self.last = written.offset + len(batch.rows) - 1
        return int(self.last)

    return [(FencedWriter, "fence", fence), (FencedWriter, "write", write)]


def no_proof() -> list[Patch]:
    """A woken zombie fences its successor, which fences back: they never come to rest."""

    async def prove(self: Lease, offsets: Any) -> None:
        return

    return [(Lease, "prove", prove), (Lease, "check", lambda self: None)]


def no_rebuild() -> list[Patch]:
    """After the fence the owner goes on with what it believes."""

    async def nothing(self: Enrichment, fence: int) -> None:
        self.forget()

    return [(Enrichment, "_rebuild", nothing)]


def vector_not_restored() -> list[Patch]:
    """The ids are read again after the fence, the vector is not."""
    rebuild = Enrichment._rebuild

    async def ids_only(self: Enrichment, fence: int) -> None:
        await rebuild(self, fence)
        self._applied = list(enrichment.NONE)

    return [(Enrichment, "_rebuild", ids_only)]


def snapshot_without_vector() -> list[Patch]:
    """A snapshot keeps the state and not how far it goes."""
    write = snapshot.write

    async def bare(writer: FencedWriter, taken: snapshot.Snapshot, **options: Any) -> None:
        incarnations = taken.vector[-20:]
        await write(writer, taken._replace(vector=pack_vector(MARKER, enrichment.NONE, incarnations)), **options)

    return [(snapshot, "write", bare)]


def snapshot_of_nothing() -> list[Patch]:
    """A snapshot is taken of a memory that was cleared before."""
    write = snapshot.write

    async def empty(writer: FencedWriter, taken: snapshot.Snapshot, **options: Any) -> None:
        before = snapshot.Snapshot(taken.offset, taken.vector, memory.dump(memory.Memory()))
        await write(writer, before, **options)

    return [(snapshot, "write", empty)]


def ids_not_folded() -> list[Patch]:
    """What is read from the log after the fence is not remembered."""
    return [(Enricher, "fold", lambda self, *_: None)]


def progress_outside() -> list[Patch]:
    """History notes its progress first, and stores the rows in another transaction."""

    async def apply(self: Any, partition: int, rows: Sequence[Row], *, next_offset: int, **_: Any) -> int:
        async with self._pool.connection() as connection:
            async with connection.transaction():
                start: int = await self._lock(connection, partition)
                if next_offset <= start:
                    return start
                await connection.execute(
                    "update log_progress set next_offset = %s, updated_at = now()"
                    " where log_epoch = %s and log_partition = %s",
                    (next_offset, self._epoch, partition),
                )
            async with connection.transaction():
                await self._copy(connection, partition, [row for row in rows if row.offset >= start])
        return next_offset

    return [(HistoryWriter, "apply", apply)]


def aggregation_skips() -> list[Patch]:
    """The next owner of a partition goes on one record too far."""
    rebuild = Aggregation._rebuild

    async def too_far(self: Aggregation, fence: int) -> None:
        await rebuild(self, fence)
        self._next += self._next > 0

    return [(Aggregation, "_rebuild", too_far)]


def progress_before_states() -> list[Patch]:
    """Aggregation stores its progress before its state events are acknowledged."""
    apply = Aggregation.apply

    async def early(self: Any, batches: Any) -> None:
        aside = self._writer.write_aside

        async def after(topic: str, records: Any) -> None:
            await self._store()
            await aside(topic, records)

        self._writer.write_aside = after
        try:
            await apply(self, batches)
        finally:
            self._writer.write_aside = aside

    return [(Aggregation, "apply", early)]


def critical_overtakes() -> list[Patch]:
    """A critical event goes out ahead of what is pending before it."""
    put = Hub._put

    def first(self: Any, channel: Any, record: Any, place: Any) -> None:
        put(self, channel, record, place)
        for audience in channel.audiences.values():
            if record.kind[:1] == "c" and len(audience.pending) > 1:
                audience.pending.insert(0, audience.pending.pop())

    return [(Hub, "_put", first)]


def resume_misses_the_edge() -> list[Patch]:
    """The first event after a cursor is taken for the last one before it."""
    after = Ring.after

    def later(self: Ring, match_id: str, offset: int, limit: int) -> Any:
        return after(self, match_id, offset + 1, limit)

    return [(Ring, "after", later)]


def falls_behind_too_late() -> list[Patch]:
    """A slow client is taken to have got the frame that it had no room for."""

    def with_it(self: Any) -> None:
        self.live, self._slow = False, True
        seen = self._feed.hub.seen
        self._place({m: seen[p] for p, matches in self._matches().items() for m in matches})
        self._behind(self)

    return [(Follower, "fall_behind", with_it)]


def leaves_out_in_silence() -> list[Patch]:
    """A slow client is not told what it does not get."""
    return [(Follower, "_told", lambda *_: [])]


def overtakes_the_spool() -> list[Patch]:
    """A new record goes straight to Kafka while older ones of its match wait on the disk."""
    return [(Spool, "holds", lambda self, *_: False)]


def acknowledged_before_the_disk() -> list[Patch]:
    """The spool answers before its write is done."""
    put = Spool.put

    def at_once(self: Spool, topic: str, match_id: str, records: Sequence[Outgoing]) -> Any:
        done = put(self, topic, match_id, records)
        early = done.get_loop().create_future()
        early.set_result(True)
        done.add_done_callback(lambda real: real.exception())
        return early

    return [(Spool, "put", at_once)]


def forgets_meanwhile() -> list[Patch]:
    """A rebalance makes the duty forget while it is in the middle of a rebuild or a batch."""
    assign = Owner.assign

    def at_once(self: Any, membership: Any) -> None:
        before = self._membership
        same = membership is not None and before is not None and membership.member == before.member
        if not (same and membership.generation - before.generation in (0, 1)):
            self.duty.forget()
        assign(self, membership)

    return [(Owner, "assign", at_once)]


def revises_in_silence() -> list[Patch]:
    """Who was shown a goal is not told that it was none."""
    return [(memory.Memory, "kinds", lambda self, match_id, event_id: b"")]


def speaks_to_everybody() -> list[Patch]:
    """Translations go to those who did not ask for them."""
    return [(View, "_speaks", lambda self, language: True)]


BUGS: dict[str, Callable[[], list[Patch]]] = {
    bug.__name__: bug
    for bug in (
        no_fence,
        no_proof,
        no_rebuild,
        vector_not_restored,
        snapshot_without_vector,
        snapshot_of_nothing,
        ids_not_folded,
        progress_outside,
        aggregation_skips,
        progress_before_states,
        critical_overtakes,
        resume_misses_the_edge,
        falls_behind_too_late,
        leaves_out_in_silence,
        overtakes_the_spool,
        acknowledged_before_the_disk,
        forgets_meanwhile,
        revises_in_silence,
        speaks_to_everybody,
    )
}


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """The product with this bug; None for the product as it is."""
    patches = BUGS[name]() if name is not None else []
    before = [(owner, attribute, getattr(owner, attribute)) for owner, attribute, _ in patches]
    for owner, attribute, value in patches:
        setattr(owner, attribute, value)
    try:
        yield
    finally:
        for owner, attribute, value in before:
            setattr(owner, attribute, value)
