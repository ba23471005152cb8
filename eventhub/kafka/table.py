"""A compacted topic, folded by this node from its first record on and followed for as long as the node lives."""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from aiokafka import TopicPartition

from eventhub.errors import UnavailableError
from eventhub.kafka.clients import Kafka

Fold = Callable[[str, bytes | None], None]
"""Takes a key and its newest value; None deletes the key."""

log = structlog.get_logger(__name__)


class Table:
    """Follows every partition of one compacted topic. The fold runs on the event loop and must not block."""

    def __init__(self, kafka: Kafka, topic: str, partitions: int, fold: Fold) -> None:
        self.topic = topic
        self._tps = [TopicPartition(topic, p) for p in range(partitions)]
        self._fold = fold
        self._kafka = kafka
        self._consumer: Any = None
        self._position: dict[Any, int] = {}
        self._moved = asyncio.Condition()

    async def open(self) -> None:
        """Fold everything that is on the topic now; blocks until Kafka has given it."""
        self._consumer = self._kafka.consumer(fetch_max_wait_ms=200)
        await self._consumer.start()
        self._consumer.assign(self._tps)
        await self._consumer.seek_to_beginning(*self._tps)
        ends = await self._consumer.end_offsets(self._tps)
        # Compaction leaves holes, so the consumer's own position counts and not the last record.
        while any([await self._consumer.position(tp) < ends[tp] for tp in self._tps]):
            await self._take(await self._consumer.getmany(timeout_ms=200))

    async def run(self) -> None:
        """Follow the topic until cancelled; a failure of Kafka is logged and waited out."""
        while True:
            try:
                await self._take(await self._consumer.getmany(timeout_ms=1000))
            except asyncio.CancelledError:
                raise
            except Exception as error:
                log.warning("table cannot be read", topic=self.topic, error=repr(error))
                await asyncio.sleep(0.5)

    async def catch_up(self, timeout_s: float) -> None:
        """Return once everything is folded that was on the topic when this was called.

        Raises UnavailableError after `timeout_s`.
        """
        try:
            async with asyncio.timeout(timeout_s):
                ends = await self._consumer.end_offsets(self._tps)
                async with self._moved:
                    await self._moved.wait_for(lambda: all(self._position.get(tp, 0) >= ends[tp] for tp in self._tps))
        except TimeoutError as error:
            raise UnavailableError(f"{self.topic} could not be read to its end within {timeout_s:g} s") from error

    async def close(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def _take(self, batches: dict[Any, list[Any]]) -> None:
        for records in batches.values():
            for record in records:
                if record.key is not None:
                    self._take_one(record)
        for tp in self._tps:
            self._position[tp] = await self._consumer.position(tp)
        async with self._moved:
            self._moved.notify_all()

    def _take_one(self, record: Any) -> None:
        try:
            self._fold(record.key.decode(), record.value)
        except Exception as error:
            # One unreadable record must not hide all later ones of a topic that a node cannot do without.
            log.error("record cannot be folded", topic=self.topic, offset=record.offset, error=repr(error))
