"""Kafka's clients as the product uses them, on the broker in memory: the seam is `Kafka.producer` and `.consumer`.

So the product's own fenced writer, ingest writer, range reads, offsets, log and seeds run as they are.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, NamedTuple

from aiokafka.errors import KafkaTimeoutError, OutOfOrderSequenceNumber
from aiokafka.structs import OffsetAndTimestamp, TopicPartition

from eventhub.record import Outgoing
from tests.simulation.broker import Broker, Partition, Record
from tests.simulation.loop import Process

DELIVERY_TIMEOUT_S = 10.0


class Written(NamedTuple):
    """Where a row or the first row of a batch went."""

    offset: int


class Batch:
    """Rows that go out together; a small bound, so that a write needs several."""

    def __init__(self, limit: int) -> None:
        self.rows: list[Outgoing] = []
        self._limit = limit

    def append(self, *, key: Any, value: Any, timestamp: Any, headers: Any) -> object | None:
        """None when it is full."""
        if len(self.rows) == self._limit:
            return None
        self.rows.append(Outgoing(key, value, headers))
        return self

    def close(self) -> None:
        """Nothing more goes in."""


class _Lane:
    """Batches of one partition, one in flight at a time, each with its futures."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[list[Outgoing], list[asyncio.Future[Written]], bool]] = deque()
        self.busy = False
        self.sequence = 0
        self.broken = False


class Producer:
    """An idempotent producer; with a transactional id its epoch shuts out older ones."""

    def __init__(self, broker: Broker, process: Process, transactional_id: str | None) -> None:
        self._broker, self._process = broker, process
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._identity: tuple[int, int] | None = None
        self._closed = False
        self._idle: asyncio.Future[None] | None = None
        self._sender = SimpleNamespace(
            _maybe_wait_for_pid=self._initialise,
            _txn_manager=SimpleNamespace(transactional_id=transactional_id),
            close=self._end,
        )
        self.client = SimpleNamespace(close=self._end)

    async def _initialise(self) -> None:
        name = self._sender._txn_manager.transactional_id
        if name is not None:
            proof = self._process, name
            if proof not in self._broker.proofs:
                self._broker.loop.failures.append(f"{self._process.name} fences {name} without a proof")
            self._broker.proofs.discard(proof)
        self._identity = await self._broker.call(self._process, lambda: self._broker.initialise(name))

    async def start(self) -> None:
        """Connect and get an id."""
        await self._sender._maybe_wait_for_pid()

    async def stop(self) -> None:
        """Wait for what is under way, without limit; then send nothing again."""
        try:
            while any(lane.busy for lane in self._lanes.values()):
                self._idle = asyncio.get_running_loop().create_future()
                await self._idle
        finally:
            self._closed = True

    async def _end(self) -> None:
        """At once; what is under way arrives or does not."""
        self._closed = True

    def create_batch(self) -> Batch:
        """An empty batch."""
        return Batch(self._broker.batch_max)

    async def send(
        self, topic: str, value: bytes | None, *, key: bytes, partition: int, headers: Any
    ) -> asyncio.Future[Written]:
        """Queue one record; what is queued while a batch is in flight goes together."""
        lane = self._lane(topic, partition)
        future: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        last = lane.waiting[-1] if lane.waiting else None
        if last is not None and last[2] and len(last[0]) < self._broker.batch_max:
            last[0].append(Outgoing(key, value, headers))
            last[1].append(future)
        else:
            lane.waiting.append(([Outgoing(key, value, headers)], [future], True))
        self._next((topic, partition), lane)
        return future

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[Written]:
        """Queue a batch."""
        lane = self._lane(topic, partition)
        future: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        lane.waiting.append((batch.rows, [future], False))
        self._next((topic, partition), lane)
        return future

    def _lane(self, topic: str, partition: int) -> _Lane:
        return self._lanes.setdefault((topic, partition), _Lane())

    def _next(self, tp: tuple[str, int], lane: _Lane) -> None:
        if lane.busy or not lane.waiting:
            return
        lane.busy = True
        rows, futures, _ = lane.waiting.popleft()
        sequence, identity = lane.sequence, self._identity
        lane.sequence += 1
        assert identity is not None
        if lane.broken:
            self._done(tp, lane, futures, 0, OutOfOrderSequenceNumber())
            return
        settled = False
        expiry = self._broker.loop.call_later(DELIVERY_TIMEOUT_S, lambda: then(0, KafkaTimeoutError()))

        def then(offset: int, error: BaseException | None) -> None:
            nonlocal settled
            if not settled:
                settled = True
                expiry.cancel()
                lane.broken = lane.broken or error is not None
                self._done(tp, lane, futures, offset, error)

        self._broker.request(
            self._process,
            lambda: self._broker.append(tp, identity, sequence, rows),
            then,
            lambda: not settled and not self._closed,
        )

    def _done(
        self,
        tp: tuple[str, int],
        lane: _Lane,
        futures: list[asyncio.Future[Written]],
        offset: int,
        error: BaseException | None,
    ) -> None:
        for index, future in enumerate(futures):
            if not future.done():
                if error is not None:
                    future.set_exception(error)
                    # A producer that nobody asks any more is no failure.
                    future.exception()
                else:
                    future.set_result(Written(offset + index))
        lane.busy = False
        if not self._closed:
            self._next(tp, lane)
        if self._idle is not None and not self._idle.done() and not any(each.busy for each in self._lanes.values()):
            self._idle.set_result(None)


class Consumer:
    """A consumer without a group, assigned by hand."""

    def __init__(self, broker: Broker, process: Process) -> None:
        self._broker, self._process = broker, process
        self._positions: dict[TopicPartition, int] = {}
        self._client = SimpleNamespace(send=None)

    async def start(self) -> None:
        """Connect."""
        await self._broker.call(self._process, lambda: None)

    async def stop(self) -> None:
        """Disconnect."""

    def assign(self, tps: Iterable[TopicPartition]) -> None:
        """Read these."""
        self._positions = dict.fromkeys(tps, 0)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Go on there."""
        self._positions[tp] = offset

    async def position(self, tp: TopicPartition) -> int:
        """The next offset."""
        return self._positions[tp]

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        """First offsets that are there."""
        found = await self._broker.call(self._process, lambda: {tp: self._part(tp).beginning for tp in tps})
        return dict(found)

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Next offsets."""
        return dict(await self._broker.call(self._process, lambda: {tp: self._part(tp).end for tp in tps}))

    async def offsets_for_times(self, wanted: dict[TopicPartition, int]) -> dict[TopicPartition, Any]:
        """First offset at or after a time; None where there is none."""

        def look() -> dict[TopicPartition, Any]:
            return {tp: _at(self._part(tp), since_ms) for tp, since_ms in wanted.items()}

        return dict(await self._broker.call(self._process, look))

    async def getmany(
        self, *only: TopicPartition, timeout_ms: int, max_records: int = 0
    ) -> dict[TopicPartition, list[Record]]:
        """Records from the positions on; waits for news, and for as long as the broker does not answer, not longer."""
        tps = only or tuple(self._positions)
        fetch = self._broker.call(self._process, lambda: self._fetch(tps))
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                found: dict[TopicPartition, tuple[list[Record], int]] = await fetch
        except TimeoutError:
            return {}
        if not found:
            await self._news(tps)
            return {}
        for tp, (_, position) in found.items():
            self._positions[tp] = position
        return {tp: records for tp, (records, _) in found.items() if records}

    def _fetch(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[list[Record], int]]:
        found = {}
        for tp in tps:
            partition, position = self._part(tp), self._positions[tp]
            if position < partition.end:
                found[tp] = partition.slice(position, self._broker.fetch_max)
        return found

    async def _news(self, tps: Iterable[TopicPartition]) -> None:
        if any(self._positions[tp] < self._part(tp).end for tp in tps):
            return
        news: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not news.done():
                news.set_result(None)

        for tp in tps:
            self._part(tp).waiting.append((self._process, wake))
        await news

    def _part(self, tp: TopicPartition) -> Partition:
        return self._broker.partition(tp.topic, tp.partition)


class SimKafka:
    """How one process reaches the broker in memory; stands in for `eventhub.kafka.Kafka`."""

    bootstrap_servers = "simulated"

    def __init__(self, broker: Broker, process: Process) -> None:
        self._broker, self._process = broker, process

    def producer(self, *, transactional_id: str | None = None, **_: Any) -> Producer:
        """A producer; not started."""
        return Producer(self._broker, self._process, transactional_id)

    def consumer(self, **_: Any) -> Consumer:
        """A consumer; not started."""
        return Consumer(self._broker, self._process)


def _at(partition: Partition, since_ms: int) -> Any:
    for record in partition.records[partition.beginning :]:
        if record is not None and record.timestamp >= since_ms:
            return OffsetAndTimestamp(record.offset, record.timestamp)
    return None
