"""The least that Kafka costs in time: records through bare clients, one batch each tick, for so many hops.

A hop is a producer and a consumer as the product sets them: idempotent, acknowledged by every replica in sync, no
linger; fetches that wait and are paced as enrichment's (the first of two hops) or the tail's (the last). The product
has two hops, raw topic and log, and does its work in between.
"""

import asyncio
import itertools
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from aiokafka import TopicPartition

from eventhub.kafka import Kafka
from eventhub.record import Outgoing

POLL_MS, PACE_S, MOST = 500, 0.005, 2000
RELAY_WAIT_MS, TAIL_WAIT_MS = 25, 50
DEADLINE_S = 60


class Late(NamedTuple):
    """Milliseconds from before the produce to after the last consume."""

    p50_ms: float
    p99_ms: float


async def measure(
    cluster: Kafka, records: Sequence[Outgoing], *, names: Sequence[str], partitions: int, size: int, tick_s: float
) -> Late:
    """Send `size` records each tick into the first topic; every further topic is a hop more. Fails when one is lost."""
    async with AsyncExitStack() as closing:

        async def started(client: Any) -> Any:
            await client.start()
            closing.push_async_callback(client.stop)
            return client

        async def reading(name: str, wait_ms: int) -> Any:
            consumer = await started(cluster.consumer(fetch_max_wait_ms=wait_ms))
            await _to_end(consumer, name, partitions)
            return consumer

        relays = [
            _relay(await reading(source, RELAY_WAIT_MS), await started(cluster.producer()), target)
            for source, target in itertools.pairwise(names)
        ]
        last, producer = await reading(names[-1], TAIL_WAIT_MS), await started(cluster.producer())
        sent_at: list[float] = []
        async with asyncio.timeout(len(records) / size * tick_s + DEADLINE_S), asyncio.TaskGroup() as group:
            relaying = [group.create_task(relay) for relay in relays]
            group.create_task(_send(producer, records, names[0], partitions, size, tick_s, sent_at))
            late = await _receive(last, len(records), size, sent_at)
            for task in relaying:
                task.cancel()
    cut = statistics.quantiles(late, n=100)
    return Late(cut[49], cut[98])


async def _send(
    producer: Any,
    records: Sequence[Outgoing],
    name: str,
    partitions: int,
    size: int,
    tick_s: float,
    sent_at: list[float],
) -> None:
    """Open loop: a tick that is due goes out whatever became of those before it. Keys number the records."""
    started, acknowledged = time.perf_counter(), []
    for turn, start in enumerate(range(0, len(records), size)):
        await asyncio.sleep(max(0.0, started + turn * tick_s - time.perf_counter()))
        sent_at.append(time.perf_counter())
        batch = producer.create_batch()
        for number, (_, value, headers) in enumerate(records[start : start + size], start):
            assert batch.append(key=b"%d" % number, value=value, timestamp=None, headers=headers) is not None
        batch.close()
        acknowledged.append(await producer.send_batch(batch, name, partition=turn % partitions))
    await asyncio.gather(*acknowledged)


async def _relay(consumer: Any, producer: Any, target: str) -> None:
    async for partition, fetched in _fetches(consumer):
        batch = producer.create_batch()
        for one in fetched:
            assert batch.append(key=one.key, value=one.value, timestamp=None, headers=list(one.headers)) is not None
        batch.close()
        # The client keeps one batch of a partition under way, and the next behind it.
        await producer.send_batch(batch, target, partition=partition)


async def _receive(consumer: Any, count: int, size: int, sent_at: Sequence[float]) -> list[float]:
    late: dict[int, float] = {}
    async for _, fetched in _fetches(consumer):
        now = time.perf_counter()
        for one in fetched:
            number = int(one.key)
            assert number not in late, f"record {number} came twice"
            late[number] = (now - sent_at[number // size]) * 1000
        if len(late) == count:
            break
    return list(late.values())


async def _fetches(consumer: Any) -> Any:
    while True:
        batches = await consumer.getmany(timeout_ms=POLL_MS, max_records=MOST)
        due_at = time.perf_counter() + PACE_S
        for tp, records in batches.items():
            yield tp.partition, records
        await asyncio.sleep(max(0.0, due_at - time.perf_counter()))


async def _to_end(consumer: Any, name: str, partitions: int) -> None:
    tps = [TopicPartition(name, p) for p in range(partitions)]
    consumer.assign(tps)
    for tp, end in (await consumer.end_offsets(tps)).items():
        consumer.seek(tp, end)
