"""A writer that shuts out every older writer of the same partition.

Kafka's transactional id is used for its epoch only: initialising it makes the broker refuse producers of an older
epoch from the first record of the new one on (the fence). After that come plain idempotent batches, which every reader
sees at once. Private attributes of aiokafka 0.14 are used; tests/streams/test_contract.py holds them.
Kafka forgets an idle id (7 days) and an idle producer (24 h), so owners fence again on a timer.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from aiokafka.errors import NodeNotReadyError

from eventhub.errors import UnavailableError
from eventhub.kafka.batches import fill
from eventhub.kafka.clients import Kafka, abandon
from eventhub.record import FENCE_KEY, Lost, Outgoing

ACKNOWLEDGED_S = 30.0
"""For so long an acknowledgement is waited for. aiokafka itself has no limit for an idempotent producer, and seen once
after two of three brokers had died, one waited on when all were back."""
T = TypeVar("T")


class FencedError(Exception):
    """Another owner has fenced this writer; nothing more of it is accepted."""


class FencedWriter:
    """The one writer of one partition, with one batch in flight at a time.

    `lost` is set once an acknowledgement shows that Kafka no longer has what it acknowledged before.
    """

    def __init__(self, kafka: Kafka, transactional_id: str, topic: str, partition: int) -> None:
        self._kafka = kafka
        self._id = transactional_id
        self.topic, self.partition = topic, partition
        self._producer: Any = None
        self.last: int | None = None
        self.lost: Lost | None = None
        self._furthest = -1
        self._stopping: set[asyncio.Task[None]] = set()

    async def fence(self, node: str) -> int:
        """Initialise the id and write the fence; returns its offset. Older owners are refused from here on."""
        self.drop()
        producer = self._kafka.producer(
            transactional_id=self._id, transaction_timeout_ms=10_000, enable_idempotence=True
        )
        sender = producer._sender
        initialise = sender._maybe_wait_for_pid

        async def initialise_then_forget_the_id() -> None:
            try:
                await initialise()
            except AssertionError as error:
                # aiokafka asserts that the cluster names a broker; for a moment after a freeze it names none.
                raise NodeNotReadyError("the cluster names no broker now") from error
            # Without the id the sender never waits for a transaction; this runs before its task starts.
            sender._txn_manager.transactional_id = None

        sender._maybe_wait_for_pid = initialise_then_forget_the_id
        self._producer = producer
        await producer.start()
        written = await self._in_time(self._send_fence(producer, node))
        offset: int = written.offset
        self._reach(offset, 1)
        return offset

    async def write(self, records: Sequence[Outgoing]) -> int:
        """Append these records in order, each batch acknowledged before the next is sent; returns the last offset.

        Any exception leaves it unknown what was written: the owner discards its state and starts over at the fence.
        UnavailableError: a batch was not acknowledged within 30 s.
        FencedError: something that this owner did not write lies between its batches.
        """
        for batch, count in fill(self._producer, records):
            written = await self._in_time(self._send(batch))
            self._reach(written.offset, count)
            if self.last is not None and written.offset != self.last + 1:
                raise FencedError(f"{self.topic}[{self.partition}]: expected {self.last + 1}, wrote {written.offset}")
            self.last = written.offset + count - 1
        assert self.last is not None
        return self.last

    async def write_aside(self, topic: str, records: Sequence[Outgoing]) -> None:
        """Write to the same partition of another topic, by the same producer; returns when acknowledged."""
        await self._in_time(self._send_aside(topic, records))

    async def _send_fence(self, producer: Any, node: str) -> Any:
        headers = [("n", node.encode())]
        return await (await producer.send(self.topic, None, key=FENCE_KEY, partition=self.partition, headers=headers))

    async def _send(self, batch: Any) -> Any:
        return await (await self._producer.send_batch(batch, self.topic, partition=self.partition))

    async def _send_aside(self, topic: str, records: Sequence[Outgoing]) -> None:
        sent = [
            await self._producer.send(topic, value, key=key, partition=self.partition, headers=list(headers))
            for key, value, headers in records
        ]
        await asyncio.gather(*sent)

    async def _in_time(self, sending: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(ACKNOWLEDGED_S):
                return await sending
        except TimeoutError as error:
            told = f"{self.topic}[{self.partition}]: not acknowledged within {ACKNOWLEDGED_S:g} s"
            told += "; its owner starts over, look at the brokers if it comes again"
            raise UnavailableError(told) from error

    def _reach(self, offset: int, count: int) -> None:
        # A log only grows: an offset that is acknowledged for the second time stands where something is gone.
        if offset <= self._furthest:
            self.lost = Lost(self.partition, self._furthest, offset)
        self._furthest = max(self._furthest, offset + count - 1)

    def drop(self) -> None:
        """Let go of the producer without waiting: its last batch may never be answered."""
        producer, self._producer = self._producer, None
        if producer is not None:
            task = asyncio.create_task(abandon(producer))
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)
