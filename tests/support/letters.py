"""An enrichment with a desk of dead letters, on a real Kafka, for one partition."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from eventhub import dead_letters, record, topics
from eventhub.dead_letters import Letter
from eventhub.events import Match, RawEvent, Team
from eventhub.identity import fingerprint, identity
from eventhub.kafka import Declared, Kafka, Offsets, Writer, read_range
from eventhub.record import Outgoing
from eventhub.streams.enrichment import Enrichment, Surroundings
from eventhub.streams.owner import Batch
from tests.streams.bench import Granted

PARTITION = 3
NOW = datetime.now(UTC)


class Desk:
    """One raw partition with its enrichment; a test sees only the letters of what it sent itself."""

    def __init__(self, cluster: Kafka, offsets: Offsets, writer: Writer, declared: Declared, match_id: str) -> None:
        self.cluster, self.offsets, self.writer = cluster, offsets, writer
        self.match_id = match_id
        self.registry: dict[str, Match] = {}
        self._start = self._log_start = 0

        async def caught_up() -> None:
            return

        self.duty = Enrichment(
            PARTITION,
            Surroundings(
                cluster, offsets, declared, self.registry, caught_up, writer, "desk", 3600, 3600, asyncio.Lock()
            ),
        )

    async def begin(self) -> None:
        await self.duty.acquire(Granted())
        await self.work()
        self._start = (await self.offsets.bounds(topics.BROADCAST, PARTITION)).end
        self._log_start = (await self.offsets.bounds(topics.LOG, PARTITION)).end

    def declare(self) -> None:
        self.registry[self.match_id] = Match(self.match_id, Team("h", "Home"), Team("a", "Away"), NOW)

    async def send(self, *rows: Outgoing) -> None:
        await self.writer.append(topics.BROADCAST, PARTITION, rows, timeout_s=10)

    async def send_events(self, count: int) -> None:
        """Good events of a match that nobody declared yet."""
        await self.send(*(self.event(number) for number in range(count)))

    def event(self, number: int) -> Outgoing:
        who = identity("broadcast", self.match_id, f"n{number}", 0, b"")
        event = RawEvent(
            event_id=who.text,
            source="broadcast",
            match_id=self.match_id,
            type="pass",
            occurred_at=NOW,
            accepted_at=NOW,
        )
        head = record.pack_tags(who.packed, fingerprint(b"%d" % number), b"n:pass")
        return Outgoing(self.match_id.encode(), msgspec.json.encode(event), [("h", head)])

    async def work(self) -> None:
        """Enrichment takes what is there."""
        start = self.duty.next_offsets()[topics.BROADCAST]
        found: list[Any] = []
        async for records in read_range(self.cluster, topics.BROADCAST, PARTITION, start):
            found += records
        if found:
            await self.duty.apply([Batch(topics.BROADCAST, found)])

    async def work_twice(self) -> None:
        """Enrichment dies between the letters and the log, and does it all again."""
        bury = self.duty._bury

        async def bury_and_die(dead: Any) -> None:
            await bury(dead)
            raise OSError("killed")

        self.duty._bury = bury_and_die  # type: ignore[method-assign]
        with pytest.raises(OSError, match="killed"):
            await self.work()
        self.duty._bury = bury  # type: ignore[method-assign]
        self.duty.forget()
        await self.duty.acquire(Granted())
        await self.work()

    async def letters(self) -> list[Letter]:
        """This test's, in the order of their origins."""
        found = await dead_letters.read(self.cluster, 8)
        mine = [(int(one.key.rpartition(".")[2]), one) for one in found if f".{PARTITION}." in one.key]
        return [one for offset, one in sorted(mine, key=lambda pair: pair[0]) if offset >= self._start]

    async def replay(self, letters: Sequence[Letter]) -> int:
        return await dead_letters.replay(
            self.cluster, letters, by="ann", now=lambda: NOW, progress=lambda _done, _of: None
        )

    async def on_log(self) -> list[str]:
        """The source's own ids of this match on the log, in its order."""
        found = []
        async for records in read_range(self.cluster, topics.LOG, PARTITION, self._log_start):
            for one in records:
                if one.value is not None and one.key.decode() == self.match_id:
                    found.append(msgspec.json.decode(one.value)["event_id"])
        return found

    def ids(self, count: int) -> list[str]:
        return [identity("broadcast", self.match_id, f"n{number}", 0, b"").text for number in range(count)]
