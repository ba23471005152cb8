"""Reading a stretch of one partition, without a group and without leaving a trace."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import Any, NamedTuple, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from eventhub.errors import UnavailableError
from eventhub.kafka.clients import Kafka
from eventhub.kafka.ids import topic_ids

ANSWER_TIMEOUT_MS = 500
OFFSETS_TIMEOUT_S = 10
UNANSWERED = 40
"""Empty answers in a row, of half a second each, after which the broker counts as lost."""


T = TypeVar("T")


class Bounds(NamedTuple):
    """First offset that the broker still has, and the next that it will give."""

    beginning: int
    end: int


async def bounds(consumer: Any, topic: str, partition: int) -> Bounds:
    """The offsets that the broker has of this partition now."""
    tp = TopicPartition(topic, partition)
    beginning = (await consumer.beginning_offsets([tp]))[tp]
    return Bounds(beginning, (await consumer.end_offsets([tp]))[tp])


class Offsets:
    """Answers how far partitions reach; one client for a whole node. Each raises UnavailableError within 10 s."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._consumer: Any = None

    async def open(self) -> None:
        """Connect."""
        self._consumer = self._kafka.consumer()
        await self._consumer.start()

    async def close(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def bounds(self, topic: str, partition: int) -> Bounds:
        """The offsets that the broker has of this partition now."""
        return await _answered(bounds(self._consumer, topic, partition))

    async def appended_ms(self, topic: str, partition: int, offset: int) -> int | None:
        """When the record at this offset was appended (broker's clock, ms); None where there is no such record."""
        async for records in read_range(self._kafka, topic, partition, offset, offset + 1):
            for record in records:
                return int(record.timestamp)
        return None

    async def topic_ids(self) -> dict[str, str]:
        """Kafka's id of each topic of eventhub that is there."""
        return await _answered(topic_ids(self._consumer._client))

    async def ends(self, topic: str, partitions: int) -> dict[int, int]:
        """Per partition the next offset that will be written."""
        found = await _answered(self._consumer.end_offsets(_all(topic, partitions)))
        return {tp.partition: offset for tp, offset in found.items()}

    async def beginnings(self, topic: str, partitions: int) -> dict[int, int]:
        """Per partition the first offset that the broker still has."""
        found = await _answered(self._consumer.beginning_offsets(_all(topic, partitions)))
        return {tp.partition: offset for tp, offset in found.items()}

    async def reach(self, topics: Iterable[str], partitions: int) -> dict[tuple[str, int], Bounds]:
        """The offsets that the broker has of every (topic, partition): two requests to each broker for all of them."""
        tps = [tp for topic in topics for tp in _all(topic, partitions)]
        beginnings = await _answered(self._consumer.beginning_offsets(tps))
        ends = await _answered(self._consumer.end_offsets(tps))
        return {(tp.topic, tp.partition): Bounds(beginnings[tp], ends[tp]) for tp in tps}

    async def at(self, topic: str, partitions: int, since_ms: int) -> dict[int, int]:
        """Per partition the first offset appended at or after that time; the end where there is none."""
        tps = _all(topic, partitions)
        found = await _answered(self._consumer.offsets_for_times(dict.fromkeys(tps, since_ms)))
        ends = await self.ends(topic, partitions)
        return {tp.partition: (found[tp].offset if found.get(tp) else ends[tp.partition]) for tp in tps}


def _all(topic: str, partitions: int) -> list[Any]:
    return [TopicPartition(topic, p) for p in range(partitions)]


async def _answered(asked: Awaitable[T]) -> T:
    try:
        # Not wait_for: Python 3.11's loses a cancellation that comes together with the answer.
        async with asyncio.timeout(OFFSETS_TIMEOUT_S):
            return await asked
    except (KafkaError, TimeoutError) as error:
        raise UnavailableError(
            f"Kafka does not say how far its partitions reach ({type(error).__name__})", retry_after_s=2
        ) from error


async def read_range(
    kafka: Kafka, topic: str, partition: int, start: int, end: int | None = None
) -> AsyncIterator[list[Any]]:
    """Yield batches of consumer records of [start, end) in offset order; end None: up to the end as it is now.

    Begins at the broker's first offset where `start` lies below it: callers that must know compare the first record.
    Blocks for network only. Raises UnavailableError when no progress is made for 20 s.
    """
    consumer = kafka.consumer()
    try:
        await _answered(consumer.start())
        tp = TopicPartition(topic, partition)
        consumer.assign([tp])
        has = await _answered(bounds(consumer, topic, partition))
        stop = has.end if end is None else min(end, has.end)
        position = max(start, has.beginning)
        consumer.seek(tp, position)
        unanswered = 0
        while position < stop:
            records = (await consumer.getmany(tp, timeout_ms=ANSWER_TIMEOUT_MS)).get(tp, [])
            unanswered = 0 if records else unanswered + 1
            if unanswered > UNANSWERED:
                raise UnavailableError(f"Kafka gave nothing of {topic}[{partition}] after offset {position} for 20 s")
            if records and records[-1].offset >= stop:
                records = [r for r in records if r.offset < stop]
            if records:
                yield records
            position = await consumer.position(tp)
    finally:
        await consumer.stop()
