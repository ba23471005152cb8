"""The log as every node reads it: the whole of it, without a consumer group."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from aiokafka import TopicPartition
from aiokafka.protocol.fetch import FetchRequest

from eventhub import record, topics
from eventhub.kafka.clients import Kafka, Partitioner
from eventhub.kafka.read import Offsets, read_range
from eventhub.record import LogRecord

NO_TAGS = record.Tags(b"", b"", -1, b"")
POLL_MS = 500
PACE_S = 0.002


def log_record(consumed: Any) -> LogRecord:
    """A consumed Kafka record as a log record; only the header is read."""
    head = record.head(consumed.headers)
    key = consumed.key
    event_id, fingerprint, _, kind, revises = record.log_tags(head) if consumed.value is not None else NO_TAGS
    return LogRecord(
        consumed.partition,
        consumed.offset,
        key.decode() if key else "",
        kind.decode(),
        consumed.value,
        consumed.timestamp,
        record.applied(head) if head else (),
        record.lives(head),
        event_id,
        fingerprint,
        revises.decode(),
    )


class Log:
    """Positions, tail and ranges of `match-events`."""

    def __init__(self, kafka: Kafka, offsets: Offsets, *, epoch: str, partitioner: Partitioner) -> None:
        self.epoch = epoch
        self.partitions = partitioner.partitions
        self.partition_of = partitioner
        self._kafka = kafka
        self._offsets = offsets
        self._tps = [TopicPartition(topics.LOG, p) for p in range(self.partitions)]
        self._answered: dict[int, float] = {}

    def silent_s(self) -> float:
        """For how long the broker of some partition has answered no fetch of the tail, not even an empty one.

        Answers come every 50 ms from a quiet log, so seconds of silence mean that it is lost, and not quiet. 0 before
        there is a tail.
        """
        return time.monotonic() - min(self._answered.values()) if self._answered else 0.0

    async def offsets_at(self, seconds_back: float) -> dict[int, int]:
        """Per partition the first offset appended at or after that time; the end where there is none."""
        return await self._offsets.at(topics.LOG, self.partitions, int((time.time() - seconds_back) * 1000))

    async def ends(self) -> dict[int, int]:
        """Per partition the next offset that will be written."""
        return await self._offsets.ends(topics.LOG, self.partitions)

    async def beginnings(self) -> dict[int, int]:
        """Per partition the first offset that the broker still has."""
        return await self._offsets.beginnings(topics.LOG, self.partitions)

    async def tail(self, start: dict[int, int]) -> AsyncIterator[list[LogRecord]]:
        """Yield records from `start` on, for ever; offsets ascend within a partition.

        An empty list is yielded at least every second. Raises what the client raises.
        """
        loop = asyncio.get_running_loop()
        consumer = self._kafka.consumer(fetch_max_wait_ms=50)
        await consumer.start()
        self._listen(consumer._client)
        self._answered = dict.fromkeys(range(self.partitions), time.monotonic()) | self._answered
        try:
            consumer.assign(self._tps)
            for tp in self._tps:
                consumer.seek(tp, start[tp.partition])
            while True:
                batches = await consumer.getmany(timeout_ms=POLL_MS, max_records=2000)
                due_at = loop.time() + PACE_S
                yield [log_record(r) for records in batches.values() for r in records]
                # Under load that makes larger batches, and idle it costs nothing.
                await asyncio.sleep(max(0.0, due_at - loop.time()))
        finally:
            await consumer.stop()

    async def read(self, partition: int, start: int, end: int) -> AsyncIterator[list[LogRecord]]:
        """Yield the records of [start, end) of one partition. Raises UnavailableError when Kafka gives nothing."""
        async for records in read_range(self._kafka, topics.LOG, partition, start, end):
            yield [log_record(r) for r in records]

    def _listen(self, client: Any) -> None:
        """Note which partitions a fetch was answered for; `getmany` alone cannot tell silence from quiet.

        A private attribute of aiokafka 0.14; tests/kafka/test_log.py holds it.
        """
        send = client.send

        async def noted(node_id: int, request: Any, **options: Any) -> Any:
            response = await send(node_id, request, **options)
            if isinstance(request, FetchRequest):
                now = time.monotonic()
                for _, partitions in response.topics:
                    for partition, error, *_ in partitions:
                        if error == 0:
                            self._answered[partition] = now
            return response

        client.send = noted
