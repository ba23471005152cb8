"""A process beside the one whose CPU is counted: it fills topics, and runs bare clients whose CPU it counts itself."""

import asyncio
import gc
import multiprocessing
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import msgspec
import psycopg
import uvloop
from aiokafka import TopicPartition

from eventhub.kafka import Kafka, Partitioner
from eventhub.process import GC_THRESHOLD
from eventhub.record import Outgoing

BATCH, MOST, POLL_MS = 500, 2000, 500
ID = slice(61, 77)
"""Where the event id stands in the header of a log record (eventhub/record.py)."""
P = ParamSpec("P")
T = TypeVar("T")


def like_a_node() -> None:
    """The loop and the garbage collector of a node, so that product and bare clients stand on the same."""
    gc.set_threshold(*GC_THRESHOLD)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


class Beside:
    """One such process; `work` is a coroutine function of a module, run on a loop of its own."""

    def __init__(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=spawn, initializer=like_a_node)

    async def run(self, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **options: P.kwargs) -> T:
        """What the work returns; raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, _run, work, args, options)

    def close(self) -> None:
        """End it."""
        self._pool.shutdown(cancel_futures=True)


def _run(work: Callable[..., Coroutine[Any, Any, T]], args: tuple[Any, ...], options: dict[str, Any]) -> T:
    return asyncio.run(work(*args, **options))


def keep(path: Path, records: Sequence[Outgoing]) -> Path:
    """Put records into a file for `fill`: to hand them over amid a measurement would cost whoever is measured."""
    path.write_bytes(msgspec.msgpack.encode(records))
    return path


async def fill(cluster: Kafka, path: Path, name: str, partitions: int) -> None:
    """Produce the file's records to the topic, each key to its partition; returns when all are acknowledged."""
    by_partition: dict[int, list[Outgoing]] = {}
    partitioner = Partitioner(partitions)
    kept = await asyncio.to_thread(path.read_bytes)
    for one in msgspec.msgpack.decode(kept, type=list[Outgoing]):
        by_partition.setdefault(partitioner(one.key.decode()), []).append(one)
    producer = cluster.producer()
    await producer.start()
    try:
        await asyncio.gather(*(_produce(producer, name, p, records) for p, records in by_partition.items()))
    finally:
        await producer.stop()


async def consume(cluster: Kafka, name: str, starts: dict[int, int], count: int) -> float:
    """CPU seconds to fetch so many records, and nothing more."""
    return await _timed(cluster, name, starts, count, _nothing)


async def relay(cluster: Kafka, name: str, target: str, starts: dict[int, int], count: int) -> float:
    """CPU seconds to fetch them and to produce the same bytes to the same partitions of another topic."""
    producer = cluster.producer()
    await producer.start()

    async def produce(fetched: dict[Any, list[Any]]) -> None:
        outgoing = {tp.partition: [Outgoing(r.key, r.value, list(r.headers)) for r in fetched[tp]] for tp in fetched}
        await asyncio.gather(*(_produce(producer, target, p, records) for p, records in outgoing.items()))

    try:
        return await _timed(cluster, name, starts, count, produce)
    finally:
        await producer.stop()


async def store(cluster: Kafka, name: str, starts: dict[int, int], count: int, dsn: str) -> float:
    """CPU seconds to fetch them and to COPY each fetch, in a transaction, into a table like `events`."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("create table bare (like events including indexes)")
        try:

            async def copy(fetched: dict[Any, list[Any]]) -> None:
                async with connection.transaction(), connection.cursor() as cursor:
                    async with cursor.copy(
                        "copy bare (event_id, match_id, type, lane, occurred_at, log_offset, body, log_epoch,"
                        " log_partition) from stdin"
                    ) as rows:
                        for tp, records in fetched.items():
                            for r in records:
                                event_id = r.headers[0][1][ID].hex()
                                row = (event_id, r.key.decode(), "pass", "n", "now", r.offset, r.value.decode())
                                await rows.write_row((*row, "bare", tp.partition))

            return await _timed(cluster, name, starts, count, copy)
        finally:
            await connection.execute("drop table bare")


async def _timed(
    cluster: Kafka,
    name: str,
    starts: dict[int, int],
    count: int,
    work: Callable[[dict[Any, list[Any]]], Coroutine[Any, Any, None]],
) -> float:
    consumer = cluster.consumer()
    await consumer.start()
    try:
        consumer.assign([TopicPartition(name, p) for p in starts])
        for partition, start in starts.items():
            consumer.seek(TopicPartition(name, partition), start)
        before, left = time.process_time(), count
        while left > 0:
            fetched = await consumer.getmany(timeout_ms=POLL_MS, max_records=MOST)
            await work(fetched)
            left -= sum(map(len, fetched.values()))
        assert left == 0, f"{-left} records more than were produced"
        return time.process_time() - before
    finally:
        await consumer.stop()


async def _produce(producer: Any, name: str, partition: int, records: Sequence[Outgoing]) -> None:
    """In batches, each acknowledged before the next is sent."""
    for start in range(0, len(records), BATCH):
        batch = producer.create_batch()
        for key, value, headers in records[start : start + BATCH]:
            assert batch.append(key=key, value=value, timestamp=None, headers=headers) is not None
        batch.close()
        await (await producer.send_batch(batch, name, partition=partition))


async def _nothing(_: dict[Any, list[Any]]) -> None:
    """The records are there; that is all."""
