"""The writer of ingest: idempotent, acknowledged by every in-sync replica, gathered by partition.

A partition that is idle sends at once; while a batch is under way, what arrives for that partition gathers and goes
next as one batch. So order within a partition is arrival order, and the batch size follows the load without a linger.
What Kafka does not take in time fails, or is handed over in its order to whoever spills.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from eventhub.errors import TooLargeError, UnavailableError
from eventhub.kafka.batches import fill
from eventhub.kafka.clients import Kafka, abandon
from eventhub.record import Outgoing


class Group(NamedTuple):
    """Records that become durable together, and the future that their caller awaits.

    Its result is an offset at or behind the last of them, None where they were spilled.
    """

    topic: str
    key: str
    records: Sequence[Outgoing]
    done: asyncio.Future[int | None]


Spill = Callable[[Sequence[Group]], None]
"""Takes groups that Kafka did not acknowledge in time, in the order in which they came, and settles their futures."""


class _Lane:
    """What waits for one partition."""

    __slots__ = ("sender", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Group] = deque()
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
        self._spill: Spill | None = None
        self._deadline_s: float | None = None

    def spill(self, take: Spill, *, after_s: float) -> None:
        """Hand over what was not acknowledged `after_s` seconds after it was sent, and what waits behind it."""
        self._spill, self._deadline_s = take, after_s

    def busy(self, topic: str, partition: int) -> bool:
        """Whether anything for this partition is under way or waits."""
        lane = self._lanes.get((topic, partition))
        return lane is not None and lane.sender is not None

    async def open(self) -> None:
        """Connect; blocks until the cluster answers."""
        await self._live_producer()

    async def append(self, topic: str, partition: int, records: Sequence[Outgoing], *, timeout_s: float) -> None:
        """Write these records in this order; returns once all in-sync replicas have them.

        Raises UnavailableError after `timeout_s` or on a refusal; the records may or may not be on the topic then.
        """
        done = self.offer(topic, partition, "", records)
        try:
            await asyncio.wait_for(done, timeout_s)
        except TimeoutError as error:
            raise UnavailableError(
                f"Kafka did not acknowledge {len(records)} records for {topic}[{partition}] within {timeout_s:g} s;"
                " send them again, duplicates are dropped",
                retry_after_s=2,
            ) from error

    def offer(self, topic: str, partition: int, key: str, records: Sequence[Outgoing]) -> asyncio.Future[int | None]:
        """Queue records behind what waits for the partition; the future is done once they are durable.

        It fails with UnavailableError when Kafka refuses them and nobody spills.
        """
        lane = self._lanes.setdefault((topic, partition), _Lane())
        group = Group(topic, key, records, asyncio.get_running_loop().create_future())
        lane.waiting.append(group)
        if lane.sender is None:
            lane.sender = asyncio.create_task(self._drain(topic, partition, lane))
        return group.done

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
                groups = [group for group in groups if not group.done.done()]
                records = [record for group in groups for record in group.records]
                try:
                    last = await asyncio.wait_for(self._send(topic, partition, records), self._deadline_s)
                except Exception as error:
                    await self._discard_producer()
                    self._failed(lane, groups, f"{topic}[{partition}]", error)
                else:
                    for group in groups:
                        if not group.done.done():
                            group.done.set_result(last)
        finally:
            lane.sender = None

    def _failed(self, lane: _Lane, groups: list[Group], place: str, error: Exception) -> None:
        """Whether the groups reached the log is unknown. Nothing may overtake them on their way to the spool."""
        if self._spill is not None and not isinstance(error, TooLargeError):
            behind = [group for group in lane.waiting if not group.done.done()]
            lane.waiting.clear()
            self._spill([group for group in groups if not group.done.done()] + behind)
            return
        reason = UnavailableError(f"Kafka refused {place}: {type(error).__name__}; send again", retry_after_s=2)
        for group in groups:
            if not group.done.done():
                group.done.set_exception(reason)

    async def _send(self, topic: str, partition: int, records: Sequence[Outgoing]) -> int:
        producer, last = await self._live_producer(), -1
        for batch, count in fill(producer, records):
            written = await (await producer.send_batch(batch, topic, partition=partition))
            last = written.offset + count - 1
        return last

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
            await abandon(producer)
