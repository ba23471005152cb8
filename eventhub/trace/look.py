"""Looking for one event where it may be: history, the log, raw topics.

The log and the raw topics are scanned, because nothing indexes them by event. What is known narrows the scan: history
gives the place on the log, the log record its raw topic, a match its partition, the time of acceptance a beginning.
Once the event is on the log, its duplicates on the raw topic are looked for during the hour after.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from eventhub import record, topics
from eventhub.errors import NotFoundError, UnavailableError
from eventhub.kafka import Kafka, Offsets, Partitioner, read_range
from eventhub.storage import Pool
from eventhub.trace.hops import Buried, Evidence, Found, Stored, Trace, accepted, said, told

BEFORE_MS, AFTER_MS = 5 * 60_000, 3_600_000
"""How far the clocks of nodes and brokers may differ, and how long duplicates are looked for."""
READERS = 8
Wanted = Callable[[Any], bool]


class Scope(NamedTuple):
    """Where to look: the cluster, its log's epoch, and the partition of a match, if one is named."""

    kafka: Kafka
    offsets: Offsets
    partitioner: Partitioner
    epoch: str
    match_id: str | None = None

    def partitions(self, match_id: str | None) -> list[int]:
        """The match's partition, or all."""
        return list(range(self.partitioner.partitions)) if match_id is None else [self.partitioner(match_id)]

    async def at(self, topic: str, time_ms: float) -> dict[int, int]:
        """Per partition the first offset appended at or after that time."""
        return await self.offsets.at(topic, self.partitioner.partitions, max(0, int(time_ms)))


async def look_up(pool: Pool, event_id: UUID) -> Stored | None:
    """The event's row in history, None when it has none. Raises UnavailableError when history cannot be asked."""
    async with pool.connection() as connection:
        there = await (await connection.execute("select to_regclass('events') is not null")).fetchone()
        if there is None or not there[0]:
            raise UnavailableError("PostgreSQL has no schema yet: `eventhub migrate`")
        found = await connection.execute(
            "select match_id, log_epoch, log_partition, log_offset,"
            "       coalesce(convert_to(body::text, 'UTF8'), flawed_bytes)"
            " from events where event_id = %s",
            (event_id,),
        )
        row = await found.fetchone()
    if row is None:
        return None
    match_id, epoch, partition, offset, body = row
    return Stored(str(match_id), str(epoch), int(partition), int(offset), said(bytes(body)).accepted_at)


async def follow(
    scope: Scope, event_id: UUID, *, history: Stored | UnavailableError | None, letters: Sequence[Buried]
) -> Trace:
    """Everything that is known of the event; `history` is what `look_up` said, or why it could not be asked.

    `letters` are all dead letters. Blocks for network only. Raises NotFoundError when nothing knows the event,
    UnavailableError when Kafka does not answer.
    """
    row = history if isinstance(history, Stored) else None
    mine = [one for one in letters if one.event_id == str(event_id)]
    match_id = scope.match_id or (row.match_id if row else None)
    found = await _log(scope, event_id, match_id, row)
    raw = await _raw(scope, event_id, match_id, Evidence(event_id, (), found, mine, history, scope.epoch))
    if not (row or mine or found or raw):
        raise NotFoundError(_nothing(scope, event_id, history))
    return told(Evidence(event_id, raw, found, mine, history, scope.epoch))


class _Related:
    """Wants the event's log record, and what comes from it: states it caused, and what names it in `of`."""

    def __init__(self, event_id: UUID) -> None:
        self._packed, self._text, self._id = event_id.bytes, f'"of":"{event_id}"'.encode(), str(event_id)
        self.own: Any = None

    def __call__(self, one: Any) -> bool:
        if one.value is None:
            return False
        tags = record.log_tags(record.head(one.headers))
        if tags.event_id == self._packed:
            self.own = one
            return False
        # A state comes behind its cause; a revision may come before what it revises.
        if self.own is not None and tags.cause >= 0:
            return bool((tags.cause, one.partition, one.key) == (self.own.offset, self.own.partition, self.own.key))
        return self._text in one.value and said(one.value).of == self._id


async def _log(scope: Scope, event_id: UUID, match_id: str | None, row: Stored | None) -> Found | None:
    partitions, starts = scope.partitions(match_id), dict[int, int]()
    if row is not None and row.epoch == scope.epoch:
        partitions, starts = [row.partition], {row.partition: row.offset}
        if row.accepted_at is not None:
            early = await scope.at(topics.LOG, row.accepted_at.timestamp() * 1000 - BEFORE_MS)
            starts = {row.partition: min(early[row.partition], row.offset)}
    wanted = _Related(event_id)
    related = await _scan(scope.kafka, topics.LOG, partitions, starts, {}, wanted)
    return None if wanted.own is None else Found(wanted.own, related)


async def _raw(scope: Scope, event_id: UUID, match_id: str | None, known: Evidence) -> list[Any]:
    """The event's records on raw topics, in the order of their times."""
    row = known.history if isinstance(known.history, Stored) else None
    accepted_at = accepted(known.found, row, known.letters)
    names, partitions = _places(known, scope.partitions(match_id))
    # Where the header is broken, the value may still name the event; to read every value takes long.
    broken = {key for one in known.letters for key in one.origins}

    def wanted(one: Any) -> bool:
        head = record.head(one.headers)
        return head[:16] == event_id.bytes or f"{one.topic}.{one.partition}.{one.offset}" in broken

    rows: list[Any] = []
    for name in names:
        starts = {} if accepted_at is None else await scope.at(name, accepted_at.timestamp() * 1000 - BEFORE_MS)
        ends = {} if known.found is None else await scope.at(name, known.found.record.timestamp + AFTER_MS)
        rows += await _scan(scope.kafka, name, partitions, starts, ends, wanted)
    return sorted(rows, key=lambda one: (one.timestamp, one.offset))


def _places(known: Evidence, partitions: list[int]) -> tuple[Sequence[str], list[int]]:
    """Topics and partitions on which the raw records can be."""
    if known.found is not None:
        own = known.found.record
        return (topics.RAW[record.unpack_vector(record.head(own.headers)).source],), [own.partition]
    origins = [key.rsplit(".", 2) for one in known.letters for key in one.origins]
    if origins:
        return sorted({topic for topic, *_ in origins} & set(topics.RAW)), sorted({int(p) for _, p, _ in origins})
    return topics.RAW, partitions


async def _scan(
    kafka: Kafka,
    topic: str,
    partitions: Sequence[int],
    starts: Mapping[int, int],
    ends: Mapping[int, int],
    wanted: Wanted,
) -> list[Any]:
    """The wanted records of each partition, from its start (else its beginning) to its end (else the topic's)."""
    limit = asyncio.Semaphore(READERS)

    async def one(partition: int) -> list[Any]:
        kept: list[Any] = []
        async with limit:
            async for records in read_range(kafka, topic, partition, starts.get(partition, 0), ends.get(partition)):
                kept += filter(wanted, records)
        return kept

    return [row for part in await asyncio.gather(*map(one, partitions)) for row in part]


def _nothing(scope: Scope, event_id: UUID, history: Stored | UnavailableError | None) -> str:
    where = (
        ""
        if scope.match_id is None
        else f" of match {scope.match_id!r} (partition {scope.partitions(scope.match_id)[0]})"
    )
    asked = "; history could not be asked" if isinstance(history, UnavailableError) else ""
    return (
        f"nothing knows event {event_id}: it is on no raw topic{where}, which keep 1 to 7 days, not on the log, which"
        f" keeps 8, nor among the dead letters{'' if asked else ', nor in history'}{asked}"
    )
