"""What is really there: the log and the raw topics read from Kafka, history read from Postgres."""

from collections import Counter
from datetime import datetime
from typing import NamedTuple

import psycopg

from eventhub import record, topics
from eventhub.kafka import Kafka, Offsets, read_range


class LogCheck(NamedTuple):
    """The log judged as a whole: event ids with their counts, what must never happen, fences, and the last vectors."""

    ids: Counter[str]
    backwards: int
    fences: list[tuple[int, int, str]]
    applied: dict[int, tuple[int, ...]]
    values: dict[str, list[tuple[int, bytes]]]


async def read_log(cluster: Kafka, partitions: int) -> LogCheck:
    """Read every partition from its beginning to its end."""
    ids: Counter[str] = Counter()
    backwards, fences = 0, []
    last: dict[int, tuple[int, ...]] = {p: (-1,) * len(topics.RAW) for p in range(partitions)}
    values: dict[str, list[tuple[int, bytes]]] = {}
    for partition in range(partitions):
        async for records in read_range(cluster, topics.LOG, partition, 0):
            for one in records:
                head = record.head(one.headers)
                if not head:
                    fences.append((partition, one.timestamp, dict(one.headers)["n"].decode()))
                    continue
                vector = record.applied(head)
                backwards += any(a < b for a, b in zip(vector, last[partition], strict=True))
                last[partition] = vector
                if one.value is not None:
                    ids[record.log_tags(head).event_id.hex()] += 1
                    values.setdefault(one.key.decode(), []).append((one.offset, one.value))
    return LogCheck(ids, backwards, fences, last, values)


async def backlog(cluster: Kafka, partitions: int) -> int:
    """Raw records that the log has not applied: raw end offsets less the newest vector of each log partition."""
    offsets = Offsets(cluster)
    await offsets.open()
    waiting = 0
    try:
        for partition in range(partitions):
            vector = await _last_vector(cluster, offsets, partition)
            for index, topic in enumerate(topics.RAW):
                waiting += (await offsets.bounds(topic, partition)).end - vector[index] - 1
    finally:
        await offsets.close()
    return waiting


async def _last_vector(cluster: Kafka, offsets: Offsets, partition: int) -> tuple[int, ...]:
    end = (await offsets.bounds(topics.LOG, partition)).end
    size = 50
    while True:
        vector: tuple[int, ...] | None = None
        async for records in read_range(cluster, topics.LOG, partition, max(0, end - size), end):
            for one in records:
                head = record.head(one.headers)
                vector = record.applied(head) if head else vector
        if vector is not None or size >= end:
            return vector or (-1,) * len(topics.RAW)
        size *= 4


async def history(dsn: str) -> dict[str, list[tuple[int, str, bytes]]]:
    """By match, in log order: (offset, event id as hex, the body's bytes)."""
    found: dict[str, list[tuple[int, str, bytes]]] = {}
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        rows = await connection.execute(
            "select match_id, log_offset, event_id, convert_to(body::text, 'UTF8') from events order by 1, 2"
        )
        async for match_id, offset, event_id, body in rows:
            found.setdefault(match_id, []).append((offset, event_id.hex, bytes(body)))
    return found


async def count(dsn: str) -> int:
    """Rows of history."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        row = await (await connection.execute("select count(*) from events")).fetchone()
        assert row is not None
        return int(row[0])


async def open_since_before(dsn: str, when: datetime) -> int:
    """Transactions of this database that began before that moment and are still open."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        row = await (
            await connection.execute(
                "select count(*) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid() and xact_start < %s",
                [when],
            )
        ).fetchone()
        assert row is not None
        return int(row[0])
