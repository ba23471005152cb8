"""The limit: clients that do the same work with as little as possible around it."""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

import psycopg
from aiokafka import TopicPartition

from eventhub import topics
from eventhub.kafka import Kafka
from eventhub.record import Outgoing
from eventhub.storage import Row

TOPIC = topics.BILLING
PRODUCE_BATCH, COPY_BATCH = 500, 2000


class Bare(NamedTuple):
    """Events a second of each client alone, and of one event's whole way if they took turns."""

    produce_per_s: float
    consume_per_s: float
    copy_per_s: float
    chain_per_s: float


async def measure(cluster: Kafka, dsn: str, records: Sequence[Outgoing], rows: Sequence[Row], partitions: int) -> Bare:
    """Produce, consume and COPY the same events, one after another.

    The chain is what the path does for an event: produced twice (raw, log), consumed four times (enrichment, history,
    aggregation, tail), copied once.
    """
    produce = len(records) / await _produce(cluster, records, partitions)
    consume = len(records) / await _consume(cluster, len(records), partitions)
    copy = len(rows) / await _copy(dsn, rows)
    return Bare(produce, consume, copy, 1 / (2 / produce + 4 / consume + 1 / copy))


async def _produce(cluster: Kafka, records: Sequence[Outgoing], partitions: int) -> float:
    producer = cluster.producer()
    await producer.start()
    started = time.perf_counter()

    async def lane(partition: int) -> None:
        mine = records[partition::partitions]
        for start in range(0, len(mine), PRODUCE_BATCH):
            batch = producer.create_batch()
            for key, value, headers in mine[start : start + PRODUCE_BATCH]:
                assert batch.append(key=key, value=value, timestamp=None, headers=headers) is not None
            batch.close()
            await (await producer.send_batch(batch, TOPIC, partition=partition))

    await asyncio.gather(*(lane(p) for p in range(partitions)))
    took = time.perf_counter() - started
    await producer.stop()
    return took


async def _consume(cluster: Kafka, count: int, partitions: int) -> float:
    consumer = cluster.consumer()
    await consumer.start()
    tps = [TopicPartition(TOPIC, p) for p in range(partitions)]
    consumer.assign(tps)
    await consumer.seek_to_beginning(*tps)
    started, left = time.perf_counter(), count
    while left > 0:
        left -= sum(map(len, (await consumer.getmany(timeout_ms=500)).values()))
    took = time.perf_counter() - started
    await consumer.stop()
    return took


async def _copy(dsn: str, rows: Sequence[Row]) -> float:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("create temporary table bare (like events including indexes)")
        started = time.perf_counter()
        for start in range(0, len(rows), COPY_BATCH):
            async with connection.transaction(), connection.cursor() as cursor:
                async with cursor.copy(
                    "copy bare (event_id, match_id, type, lane, occurred_at, log_offset, body, log_epoch,"
                    " log_partition) from stdin"
                ) as copy:
                    for row in rows[start : start + COPY_BATCH]:
                        await copy.write_row((*row[:7], "bare", 0))
        return time.perf_counter() - started
