"""The owner of one partition in one family: acquire, seek, work; any failure goes back to the start.

What a family does with a partition is its `Duty`: it says where to begin, and applies batches. The owner feeds it
records of each topic without a hole and in order, whatever Faust, a rebalance or committed offsets do: a batch begins
where the last one ended; what lies lower is skipped, what lies higher means seek again, or an alarm if the broker no
longer has what is missing.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import structlog

from eventhub import topics
from eventhub.errors import UnavailableError
from eventhub.kafka import Offsets
from eventhub.streams.lease import Changed, Consumer, Lease, Membership
from eventhub.streams.progress import Progress
from eventhub.tasks import end

LOOK_MAX = 8
"""Chunks of one topic in one look; of sensors only one (500 records), so that positions never delay a goal."""
HOLD_AT = 6_000
FLOW_AT = 2_000
"""Records queued of one topic at which fetching stops, and at which it goes on."""
BACKOFF_S = (0.05, 2.0)

log = structlog.get_logger(__name__)


class Gap(Exception):  # noqa: N818
    """Records are missing between the position and this batch, or were dropped, or the seek was not possible yet."""


class Batch(NamedTuple):
    """Consumed records of one topic, contiguous and ascending."""

    topic: str
    records: Sequence[Any]


class Duty(Protocol):
    """What a family does with one partition. `ready` is True while its state can be trusted and extended."""

    ready: bool
    topics: tuple[str, ...]
    refresh_s: float | None

    def next_offsets(self) -> dict[str, int]:
        """Per topic the next offset to apply."""

    async def acquire(self, lease: Lease) -> None:
        """Become the partition's only writer and load its state; sets `ready`."""

    async def apply(self, batches: Sequence[Batch]) -> None:
        """Apply these records; returns once their effect is durable."""

    def forget(self) -> None:
        """Distrust the state; clears `ready`."""

    async def release(self) -> None:
        """The partition is another's now."""


class Owner:
    """Runs one duty for as long as its partition is assigned to this node."""

    def __init__(
        self,
        family: str,
        partition: int,
        duty: Duty,
        consumer: Consumer,
        offsets: Offsets,
        progress: Progress | None = None,
    ) -> None:
        self.family, self.partition, self.duty = family, partition, duty
        self._consumer, self._offsets = consumer, offsets
        self._progress = progress
        self._lease: Lease | None = None
        self._membership: Membership | None = None
        self._distrusted = self._missed = False
        self._changed, self._wake = asyncio.Event(), asyncio.Event()
        self._queues: dict[str, deque[Sequence[Any]]] = {t: deque() for t in duty.topics}
        self._queued = dict.fromkeys(duty.topics, 0)
        self._held: set[str] = set()
        self._expected: dict[str, int] = {}
        self._token = -1
        self._refresh_at: float | None = None
        self.task = asyncio.create_task(self._run(), name=f"{family}[{partition}]")

    @property
    def proving(self) -> bool:
        """Waiting for the coordinator to accept a commit of this assignment."""
        return self.proving_since is not None

    @property
    def proving_since(self) -> float | None:
        """Since when (of the loop's clock); None when it does not wait for that."""
        return self._lease.proving_since if self._lease is not None else None

    def assign(self, membership: Membership | None) -> None:
        """Called at each rebalance; None when the partition is not ours, or not whole.

        State is kept only over a generation directly before, as the same member: if one was missed, another node may
        have owned the partition. Generations begin at 1 again when a group was deleted.
        """
        before = self._membership
        kept = (
            membership is not None
            and before is not None
            and membership.member == before.member
            and membership.generation - before.generation in (0, 1)
        )
        if not kept:
            self._distrusted = True
        self._membership = membership
        self._changed.set()
        self._wake.set()

    def offer(self, topic: str, token: int, records: Sequence[Any]) -> None:
        """Queue a fetched chunk; one of before our seek is dropped, it comes again."""
        if token != self._token:
            if self._token < 0:
                # It may be of behind a seek that is under way, and if nothing followed it nobody would miss it.
                self.miss()
            return
        self._queues[topic].append(records)
        self._queued[topic] += len(records)
        if self._queued[topic] > HOLD_AT and topic not in self._held:
            self._held.add(topic)
            self._consumer.hold({(topic, self.partition)})
        self._wake.set()

    def miss(self) -> None:
        """Fetched records were dropped: where nothing follows them no hole would show, so seek again."""
        self._missed = True
        self._wake.set()

    async def close(self) -> None:
        """Stop working at once; what was not acknowledged is redone by the next owner."""
        await end(self.task)
        await self.duty.release()

    async def _run(self) -> None:
        backoff_s = BACKOFF_S[0]
        while True:
            self._changed.clear()
            if self._distrusted:
                # Not in `assign`: amid a rebuild or a batch the duty would go on with half a state.
                self._distrusted = False
                self.duty.forget()
            if self._membership is None:
                await self.duty.release()
                await self._changed.wait()
                continue
            lease = self._lease = Lease(self._consumer, self._membership, self._changed)
            try:
                if not self.duty.ready:
                    await self.duty.acquire(lease)
                    self._reached()
                    self._refresh_at = self._in(self.duty.refresh_s)
                await self._work(lease)
                backoff_s = BACKOFF_S[0]
            except asyncio.CancelledError:
                raise
            except (Changed, Gap):
                pass
            except Exception as error:
                log.warning(
                    "partition starts over", family=self.family, partition=self.partition, error=repr(error)[:300]
                )
                self.duty.forget()
                self._pause()
                await self._sleep(backoff_s)
                backoff_s = min(backoff_s * 2, BACKOFF_S[1])

    async def _work(self, lease: Lease) -> None:
        await self._seek()
        loop = asyncio.get_running_loop()
        # A quiet partition is woken for its refresh too.
        wake = loop.call_at(self._refresh_at, self._wake.set) if self._refresh_at is not None else None
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._changed.is_set():
                    return
                if self._missed:
                    self._pause()
                    raise Gap
                if self._refresh_at is not None and loop.time() >= self._refresh_at:
                    self._pause()
                    self.duty.ready = False
                    return
                batches = await self._take()
                if batches:
                    await self.duty.apply(batches)
                    self._reached()
                if self._changed.is_set():
                    return
        finally:
            if wake is not None:
                wake.cancel()

    def _reached(self) -> None:
        if self._progress is not None:
            self._progress.reach(self.duty.next_offsets(), asyncio.get_running_loop().time())

    async def _seek(self) -> None:
        for queue in self._queues.values():
            queue.clear()
        self._queued = dict.fromkeys(self._queues, 0)
        self._held.clear()
        self._missed = False
        self._expected = self.duty.next_offsets()
        self._token = -1
        wanted = {(topic, self.partition): offset for topic, offset in self._expected.items()}
        try:
            self._token = await self._consumer.seek_partition(self.partition, wanted)
        except Exception as error:
            # A rebalance is under way (IllegalStateError): state and fence stay as they are.
            log.debug("seek refused", family=self.family, partition=self.partition, error=repr(error))
            await self._sleep(0.05)
            raise Gap from error

    async def _take(self) -> list[Batch]:
        """What is due in this look, in the order of the duty's topics."""
        batches = []
        for topic, queue in self._queues.items():
            records: list[Any] = []
            for _ in range(min(len(queue), 1 if topic == topics.SENSORS else LOOK_MAX)):
                chunk = queue.popleft()
                self._queued[topic] -= len(chunk)
                records += await self._continue(topic, chunk)
            if topic in self._held and self._queued[topic] < FLOW_AT:
                self._held.discard(topic)
                self._consumer.flow({(topic, self.partition)})
            if records:
                batches.append(Batch(topic, records))
        if any(self._queues.values()):
            self._wake.set()
        return batches

    async def _continue(self, topic: str, chunk: Sequence[Any]) -> Sequence[Any]:
        """The part of the chunk that continues what was applied."""
        expected, first, last = self._expected[topic], chunk[0].offset, chunk[-1].offset
        if first < expected:
            await self._not_cut(topic, expected)
        if last < expected:
            return ()
        if first > expected:
            # Only the broker can tell whether a fetch of before the seek slipped through or the records are gone.
            beginning = (await self._offsets.bounds(topic, self.partition)).beginning
            if first > max(beginning, expected):
                self._pause()
                raise Gap
            log.error(
                "records lost to retention",
                family=self.family,
                topic=topic,
                partition=self.partition,
                first_lost=expected,
                last_lost=first - 1,
                hint="this family was behind for longer than the topic keeps records: raise retention.ms",
            )
        self._expected[topic] = last + 1
        return chunk if first >= expected else [r for r in chunk if r.offset >= expected]

    async def _not_cut(self, topic: str, expected: int) -> None:
        """Raise UnavailableError when the topic ends before what is expected of it: the duty then starts over.

        Kafka's client begins at the first record of a topic that ends before its position, without a word, and all that
        comes up to that position would be skipped.
        """
        end = (await self._offsets.bounds(topic, self.partition)).end
        if end < expected:
            raise UnavailableError(f"{topic}[{self.partition}] was cut: it ends at {end}, and {expected} was reached")

    def _pause(self) -> None:
        self._token = -1
        self._consumer.hold({(topic, self.partition) for topic in self._queues})

    async def _sleep(self, delay_s: float) -> None:
        # Not wait_for: Python 3.11's loses a cancellation that comes together with the event.
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._changed.wait()

    def _in(self, delay_s: float | None) -> float | None:
        return asyncio.get_running_loop().time() + delay_s if delay_s is not None else None
