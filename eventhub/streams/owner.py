"""The owner of one partition in one family: acquire, seek, work; any failure goes back to the start.

What a family does with a partition is its `Duty`: it says where to begin, and applies batches. The owner feeds it
records of each topic without a hole and in order, whatever Faust, a rebalance or committed offsets do: a batch begins
where the last one ended; what lies lower is skipped, what lies higher means seek again, or an alarm if the broker no
longer has what is missing.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import structlog

from eventhub import topics
from eventhub.kafka import Offsets

LOOK_MAX = 8
"""Chunks of one topic in one look; of sensors only one (500 records), so that positions never delay a goal."""
HOLD_AT = 6_000
FLOW_AT = 2_000
"""Records queued of one topic at which fetching stops, and at which it goes on."""
PROOF_AGAIN_S = 0.2
BACKOFF_S = (0.05, 2.0)

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Changed(Exception):  # noqa: N818 - a signal, not an error
    """The assignment changed while waiting."""


class Gap(Exception):  # noqa: N818
    """Records are missing between the position and this batch, or the seek was not possible yet."""


class Batch(NamedTuple):
    """Consumed records of one topic, contiguous and ascending."""

    topic: str
    records: Sequence[Any]


class Membership(NamedTuple):
    """Generation and member id under which partitions were assigned."""

    generation: int
    member: str


class Duty(Protocol):
    """What a family does with one partition. `ready` is True while its state can be trusted and extended."""

    ready: bool
    topics: tuple[str, ...]
    refresh_s: float | None

    def next_offsets(self) -> dict[str, int]:
        """Per topic the next offset to apply."""

    async def acquire(self, lease: "Lease") -> None:
        """Become the partition's only writer and load its state; sets `ready`."""

    async def apply(self, batches: Sequence[Batch]) -> None:
        """Apply these records; returns once their effect is durable."""

    def forget(self) -> None:
        """Distrust the state; clears `ready`."""

    async def release(self) -> None:
        """The partition is another's now."""


class Consumer(Protocol):
    """What an owner needs of the group consumer."""

    def membership(self) -> Membership:
        """Of now."""

    async def prove(self, membership: Membership, offsets: dict[tuple[str, int], int]) -> bool:
        """True only if the coordinator accepted a commit made under this membership."""

    async def seek_partition(self, partition: int, offsets: dict[tuple[str, int], int]) -> int:
        """Seek and resume; returns the token of what is fetched from then on."""

    def hold(self, tps: set[tuple[str, int]]) -> None:
        """Stop fetching."""

    def flow(self, tps: set[tuple[str, int]]) -> None:
        """Fetch again."""


class Lease:
    """One assignment of one partition, as the duty sees it."""

    def __init__(self, consumer: Consumer, membership: Membership, changed: asyncio.Event) -> None:
        self._consumer, self._membership, self._changed = consumer, membership, changed

    def check(self) -> None:
        """Raise Changed when the assignment is no longer the one of this lease."""
        if self._changed.is_set():
            raise Changed

    async def prove(self, offsets: dict[tuple[str, int], int]) -> None:
        """Return once the coordinator has accepted a commit under this lease.

        Refused or unanswered: asks again, without limit, until the assignment changes (Changed). So a node that was
        frozen and has lost the partition never goes on to fence its successor.
        """
        while not await self.or_changed(self._consumer.prove(self._membership, offsets)):
            await self.or_changed(asyncio.sleep(PROOF_AGAIN_S))

    async def or_changed(self, awaitable: Awaitable[T]) -> T:
        """Wait without limit, except that a new assignment ends the wait with Changed."""
        work = asyncio.ensure_future(awaitable)
        change = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({work, change}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
        finally:
            change.cancel()
            if not work.done():
                work.cancel()
        raise Changed


class Owner:
    """Runs one duty for as long as its partition is assigned to this node."""

    def __init__(self, family: str, partition: int, duty: Duty, consumer: Consumer, offsets: Offsets) -> None:
        self.family, self.partition, self.duty = family, partition, duty
        self._consumer, self._offsets = consumer, offsets
        self._membership: Membership | None = None
        self._changed, self._wake = asyncio.Event(), asyncio.Event()
        self._queues: dict[str, deque[Sequence[Any]]] = {t: deque() for t in duty.topics}
        self._queued = dict.fromkeys(duty.topics, 0)
        self._held: set[str] = set()
        self._expected: dict[str, int] = {}
        self._token = -1
        self._refresh_at: float | None = None
        self.task = asyncio.create_task(self._run(), name=f"{family}[{partition}]")

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
            self.duty.forget()
        self._membership = membership
        self._changed.set()
        self._wake.set()

    def offer(self, topic: str, token: int, records: Sequence[Any]) -> None:
        """Queue a fetched chunk; one of before our seek is dropped, it comes again."""
        if token != self._token:
            return
        self._queues[topic].append(records)
        self._queued[topic] += len(records)
        if self._queued[topic] > HOLD_AT and topic not in self._held:
            self._held.add(topic)
            self._consumer.hold({(topic, self.partition)})
        self._wake.set()

    async def close(self) -> None:
        """Stop working at once; what was not acknowledged is redone by the next owner."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.duty.release()

    async def _run(self) -> None:
        backoff_s = BACKOFF_S[0]
        while True:
            self._changed.clear()
            if self._membership is None:
                await self.duty.release()
                await self._changed.wait()
                continue
            lease = Lease(self._consumer, self._membership, self._changed)
            try:
                if not self.duty.ready:
                    await self.duty.acquire(lease)
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
                if self._refresh_at is not None and loop.time() >= self._refresh_at:
                    self._pause()
                    self.duty.ready = False
                    return
                batches = await self._take()
                if batches:
                    await self.duty.apply(batches)
                if self._changed.is_set():
                    return
        finally:
            if wake is not None:
                wake.cancel()

    async def _seek(self) -> None:
        for queue in self._queues.values():
            queue.clear()
        self._queued = dict.fromkeys(self._queues, 0)
        self._held.clear()
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

    def _pause(self) -> None:
        self._token = -1
        self._consumer.hold({(topic, self.partition) for topic in self._queues})

    async def _sleep(self, delay_s: float) -> None:
        try:
            await asyncio.wait_for(self._changed.wait(), delay_s)
        except TimeoutError:
            return

    def _in(self, delay_s: float | None) -> float | None:
        return asyncio.get_running_loop().time() + delay_s if delay_s is not None else None
