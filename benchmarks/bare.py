"""The limit: clients that do the same work with as little as possible around it."""

import statistics
import time
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg
from aiokafka import TopicPartition

from eventhub import topics
from eventhub.kafka import Kafka
from eventhub.record import Outgoing
from eventhub.storage import Row

TOPIC = topics.BILLING
"""Of as many partitions as the raw topics and the log, and nobody else writes it here."""
PRODUCE_BATCH, COPY_BATCH = 500, 2000


class Bare(NamedTuple):
    """Events a second of each client alone, and if one core did the three in turn.

    `chain` counts each once. `path` counts what eventhub really does for an event: two produced (raw topic, log), four
    consumed (enrichment, history, aggregation, tail), one copied.
    """

    produce_per_s: float
    consume_per_s: float
    copy_per_s: float
    chain_per_s: float
    path_per_s: float


async def measure(
    cluster: Kafka, dsn: str, records: Sequence[Outgoing], rows: Sequence[Row], *, partitions: int, runs: int
) -> Bare:
    """Produce, consume and COPY the same events, one after another; medians of `runs`."""
    found = []
    for turn in range(1, runs + 1):
        produce_s = await _produce(cluster, records, partitions)
        # The topic keeps what every turn has produced.
        consume_s = await _consume(cluster, turn * len(records), partitions) / turn
        found.append((produce_s, consume_s, await _copy(dsn, rows)))
    produce, consume, copy = (statistics.median(took) / len(records) for took in zip(*found, strict=True))
    return Bare(
        1 / produce, 1 / consume, 1 / copy, 1 / (produce + consume + copy), 1 / (2 * produce + 4 * consume + copy)
    )


async def _produce(cluster: Kafka, records: Sequence[Outgoing], partitions: int) -> float:
    """Seconds until all are acknowledged by an idempotent producer, one batch of each partition in flight."""
    producer = cluster.producer()
    await producer.start()
    try:
        started = time.perf_counter()
        # The batches take turns, so that every partition has one under way.
        waiting: dict[int, Any] = {}
        for number, start in enumerate(range(0, len(records), PRODUCE_BATCH)):
            partition = number % partitions
            batch = producer.create_batch()
            for key, value, headers in records[start : start + PRODUCE_BATCH]:
                assert batch.append(key=key, value=value, timestamp=None, headers=headers) is not None
            batch.close()
            if partition in waiting:
                await waiting[partition]
            waiting[partition] = await producer.send_batch(batch, TOPIC, partition=partition)
        for acknowledged in waiting.values():
            await acknowledged
        return time.perf_counter() - started
    finally:
        await producer.stop()


async def _consume(cluster: Kafka, count: int, partitions: int) -> float:
    """Seconds until all have come, from the beginning."""
    consumer = cluster.consumer()
    await consumer.start()
    try:
        tps = [TopicPartition(TOPIC, p) for p in range(partitions)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        started, left = time.perf_counter(), count
        while left > 0:
            left -= sum(map(len, (await consumer.getmany(timeout_ms=500)).values()))
        assert left == 0, f"{-left} records more than were produced"
        return time.perf_counter() - started
    finally:
        await consumer.stop()


async def _copy(dsn: str, rows: Sequence[Row]) -> float:
    """Seconds until all are committed to a table like `events`, with its indexes and its write-ahead log."""
    # Ids of their own, because the same events come again and again.
    fresh = [(str(uuid.uuid4()), *row[1:5], offset, row.body, "bare", 0) for offset, row in enumerate(rows)]
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("create table bare (like events including indexes)")
        started = time.perf_counter()
        for start in range(0, len(fresh), COPY_BATCH):
            async with connection.transaction(), connection.cursor() as cursor:
                async with cursor.copy(
                    "copy bare (event_id, match_id, type, lane, occurred_at, log_offset, body, log_epoch,"
                    " log_partition) from stdin"
                ) as copy:
                    for row in fresh[start : start + COPY_BATCH]:
                        await copy.write_row(row)
        took_s = time.perf_counter() - started
        found = await (await connection.execute("select count(*) from bare")).fetchone()
        assert found is not None
        assert found[0] == len(rows), f"{found[0]} of {len(rows)} rows are in the bare table"
        await connection.execute("drop table bare")
        return took_s
