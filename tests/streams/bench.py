"""One raw partition and its log partition on a real Kafka, and duties of enrichment that work on it."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from eventhub import record, topics
from eventhub.events import Match, RawEvent, Team
from eventhub.identity import fingerprint, identity
from eventhub.kafka import Declared, Kafka, Offsets, Writer, read_range
from eventhub.record import Outgoing
from eventhub.streams.enrichment import Enrichment, Surroundings
from eventhub.streams.lease import Lease
from eventhub.streams.owner import Batch

PARTITION = 5
Around = Callable[[str], Surroundings]


class Granted(Lease):
    """A lease whose proof is always accepted: what a zombie had just before it was frozen."""

    def __init__(self) -> None:
        super().__init__(None, None, asyncio.Event())  # type: ignore[arg-type]

    async def prove(self, offsets: dict[tuple[str, int], int]) -> None:
        return


class Bench:
    """One raw partition and its log partition, of which a test sees only what it adds itself."""

    def __init__(
        self,
        cluster: Kafka,
        offsets: Offsets,
        writer: Writer,
        declared: Declared,
        name: str,
        partition: int = PARTITION,
    ) -> None:
        self.cluster, self.offsets, self.writer, self.declared = cluster, offsets, writer, declared
        self.partition = partition
        self.match_id = f"bench-{name}"
        now = datetime.now(UTC)
        self.registry = {self.match_id: Match(self.match_id, Team("h", "Home"), Team("a", "Away"), now)}
        self._now = now
        self._start = 0
        self.numbers = 0

    async def begin(self) -> None:
        """What is on the log by now is of other tests, some of which break it on purpose."""
        self._start = (await self.offsets.bounds(topics.LOG, self.partition)).end

    async def caught_up(self) -> None:
        """The registry is whole."""

    def duty(self, node: str, *, snapshot_s: float = 3600, one_try: asyncio.Lock | None = None) -> Enrichment:
        """An owner's duty; those of one process share `one_try`."""
        return Enrichment(
            self.partition,
            Surroundings(
                self.cluster,
                self.offsets,
                self.declared,
                self.registry,
                self.caught_up,
                self.writer,
                node,
                3600,
                snapshot_s,
                one_try or asyncio.Lock(),
            ),
        )

    async def send(self, count: int, *, content: bytes = b"", first: int | None = None) -> None:
        """Put raw events on the topic; numbered on, or again from `first`."""
        start = self.numbers if first is None else first
        rows = [self._raw(number, content) for number in range(start, start + count)]
        if first is None:
            self.numbers += count
        await self.writer.append(topics.BROADCAST, self.partition, rows, timeout_s=10)

    async def due(self, duty: Enrichment) -> list[Batch]:
        """What the owner would hand to this duty now."""
        start = duty.next_offsets()[topics.BROADCAST]
        found: list[Any] = []
        async for records in read_range(self.cluster, topics.BROADCAST, self.partition, start):
            found += records
        return [Batch(topics.BROADCAST, found)] if found else []

    async def work(self, duty: Enrichment) -> None:
        for batch in await self.due(duty):
            await duty.apply([batch])

    async def ids(self) -> Counter[str]:
        """How often each of this bench's events is on the log; fails when a vector goes backwards."""
        counts: Counter[str] = Counter()
        last: tuple[int, ...] = ()
        async for records in read_range(self.cluster, topics.LOG, self.partition, self._start):
            for one in records:
                head = record.head(one.headers)
                if head:
                    vector = record.applied(head)
                    assert not any(a < b for a, b in zip(vector, last, strict=False)), "a vector went backwards"
                    last = vector
                if one.value is not None and one.key.decode() == self.match_id:
                    counts[record.log_tags(head).event_id.hex()] += 1
        return counts

    def _raw(self, number: int, content: bytes) -> Outgoing:
        who = identity("broadcast", self.match_id, f"n{number}", 0, b"")
        event = RawEvent(
            event_id=who.text,
            source="broadcast",
            match_id=self.match_id,
            type="pass",
            occurred_at=self._now,
            accepted_at=self._now,
        )
        head = record.pack_tags(who.packed, fingerprint(b"%d" % number + content), b"n:pass")
        return Outgoing(self.match_id.encode(), msgspec.json.encode(event), [("h", head)])


def once(counts: Counter[str], number: int) -> None:
    assert len(counts) == number, f"{number - len(counts)} events are missing"
    assert set(counts.values()) == {1}, "an event is on the log twice"
