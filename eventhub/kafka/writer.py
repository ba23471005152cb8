"""The writer of ingest: idempotent, acknowledged by every in-sync replica, gathered by partition.

A partition that is idle sends at once; while a batch is under way, what arrives for that partition gathers and goes
next as one batch. So order within a partition is arrival order, and the batch size follows the load without a linger.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from eventhub.errors import UnavailableError
from eventhub.kafka.batches import fill
from eventhub.kafka.clients import Kafka
from eventhub.record import Outgoing


class _Lane:
    """What waits for one partition: groups of records, each with the future that its caller awaits."""

    __slots__ = ("sender", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[Sequence[Outgoing], asyncio.Future[None]]] = deque()
        self.sender: asyncio.Task[None] | None = None


class Writer:
    """Appends records to partitions and answers when they are durable.

    A failed batch fails every group in it; whether it reached the log is then unknown, and the caller's source sends it
    again. After a failure the producer is replaced, because aiokafka 0.14 can stay out of sequence for ever.
    """

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._producer: Any = None
        self._opening = asyncio.Lock()

    async def open(self) -> None:
        """Connect; blocks until the cluster answers."""
        await self._live_producer()

    async def append(self, topic: str, partition: int, records: Sequence[Outgoing], *, timeout_s: float) -> None:
        """Write these records in this order; returns once all in-sync replicas have them.

        Raises UnavailableError after `timeout_s` or on a refusal; the records may or may not be on the topic then.
        """
        lane = self._lanes.setdefault((topic, partition), _Lane())
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lane.waiting.append((records, done))
        if lane.sender is None:
            lane.sender = asyncio.create_task(self._drain(topic, partition, lane))
        try:
            await asyncio.wait_for(done, timeout_s)
        except TimeoutError as error:
            raise UnavailableError(
                f"Kafka did not acknowledge {len(records)} records for {topic}[{partition}] within {timeout_s:g} s;"
                " send them again, duplicates are dropped",
                retry_after_s=2,
            ) from error

    async def close(self, timeout_s: float = 5) -> None:
        """Wait for what is under way, at most `timeout_s`, and disconnect."""
        senders = [lane.sender for lane in self._lanes.values() if lane.sender]
        if senders:
            await asyncio.wait(senders, timeout=timeout_s)
        if self._producer is not None:
            with suppress(Exception, asyncio.CancelledError):
                await asyncio.wait_for(self._producer.stop(), timeout_s)

    async def _drain(self, topic: str, partition: int, lane: _Lane) -> None:
        try:
            while lane.waiting:
                groups = [lane.waiting.popleft() for _ in range(min(len(lane.waiting), 256))]
                groups = [group for group in groups if not group[1].done()]
                try:
                    await self._send(topic, partition, [record for group, _ in groups for record in group])
                except Exception as error:
                    await self._discard_producer()
                    reason = UnavailableError(
                        f"Kafka refused {topic}[{partition}]: {type(error).__name__}; send again", retry_after_s=2
                    )
                    for _, done in groups:
                        if not done.done():
                            done.set_exception(reason)
                else:
                    for _, done in groups:
                        if not done.done():
                            done.set_result(None)
        finally:
            lane.sender = None

    async def _send(self, topic: str, partition: int, records: Sequence[Outgoing]) -> None:
        producer = await self._live_producer()
        for batch, _ in fill(producer, records):
            await (await producer.send_batch(batch, topic, partition=partition))

    async def _live_producer(self) -> Any:
        async with self._opening:
            if self._producer is None:
                producer = self._kafka.producer()
                await producer.start()
                self._producer = producer
            return self._producer

    async def _discard_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(Exception, asyncio.CancelledError):
                await asyncio.wait_for(producer.stop(), 2)
