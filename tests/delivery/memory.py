"""The ports of delivery in memory: a log of real offsets with fences between, history behind it, and seeds."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from eventhub.auth import Principal
from eventhub.delivery.ports import Seed
from eventhub.errors import UnauthorizedError, UnavailableError
from eventhub.events import Match, Team
from eventhub.record import LogRecord

STARTS = datetime(2026, 5, 30, 18, 45, tzinfo=UTC)


class Row(NamedTuple):
    offset: int
    body: bytes
    revises: str = ""


class MemoryLog:
    """Partitions of records; match `m3` lies in partition 3 modulo their number."""

    def __init__(self, partitions: int = 2, epoch: str = "e1") -> None:
        self.epoch = epoch
        self.partitions = partitions
        self.records: dict[int, list[LogRecord]] = {p: [] for p in range(partitions)}
        self.first = dict.fromkeys(range(partitions), 0)
        self.start = dict.fromkeys(range(partitions), 0)
        self.hidden = dict.fromkeys(range(partitions), 0)
        self.down = False
        self.broken = False
        self.reads = 0
        self._news = asyncio.Event()

    @property
    def partition_of(self) -> Callable[[str], int]:
        return lambda match_id: int(match_id[1:]) % self.partitions

    def append(
        self, match_id: str, kind: str = "n:pass", raw: tuple[int, ...] = (), revises: str = "", **fields: object
    ) -> LogRecord:
        lane = {"c": "critical", "n": "normal", "b": "bulk"}[kind[0]]
        p = self.partition_of(match_id)
        event = {
            "event_id": f"{p}-{len(self.records[p])}",
            "type": kind[2:].partition("/")[0],
            "match_id": match_id,
            "lane": lane,
        }
        return self._add(p, match_id, kind, msgspec.json.encode(event | fields), raw, revises)

    def state(self, match_id: str, cause: int, **sheet: object) -> LogRecord:
        body = {"match_id": match_id, "status": "live"} | sheet
        return self.append(match_id, "n:state", payload={"sheet": body, "cause": cause})

    def fence(self, partition: int) -> LogRecord:
        return self._add(partition, "", "", None, ())

    def _add(
        self, p: int, match_id: str, kind: str, value: bytes | None, raw: tuple[int, ...], revises: str = ""
    ) -> LogRecord:
        record = LogRecord(p, len(self.records[p]), match_id, kind, value, 0, raw, revises=revises)
        self.records[p].append(record)
        self._news.set()
        return record

    def of(self, match_id: str) -> list[LogRecord]:
        return [r for r in self.records[self.partition_of(match_id)] if r.match_id == match_id]

    def shown(self, partition: int) -> int:
        """End of what the tail sees; the log itself is `hidden` records further."""
        return len(self.records[partition]) - self.hidden[partition]

    def show(self) -> None:
        self.hidden = dict.fromkeys(range(self.partitions), 0)
        self._news.set()

    async def offsets_at(self, seconds_back: float) -> dict[int, int]:
        return dict(self.start)

    async def ends(self) -> dict[int, int]:
        self._check()
        return {p: len(records) for p, records in self.records.items()}

    async def beginnings(self) -> dict[int, int]:
        self._check()
        return dict(self.first)

    async def tail(self, start: dict[int, int]) -> AsyncIterator[list[LogRecord]]:
        position = dict(start)
        while True:
            if self.broken:
                self.broken = False
                raise UnavailableError("the log broke off")
            self._news.clear()
            batch = [r for p, records in self.records.items() for r in records[position[p] : self.shown(p)]]
            for record in batch:
                position[record.partition] = record.offset + 1
            yield batch
            if not batch:
                await self._news.wait()

    def break_off(self) -> None:
        self.broken = True
        self._news.set()

    async def read(self, partition: int, start: int, end: int) -> AsyncIterator[list[LogRecord]]:
        self._check()
        self.reads += 1
        start = max(start, self.first[partition])
        for at in range(start, end, 3):
            await asyncio.sleep(0)
            yield self.records[partition][at : min(at + 3, end)]

    def _check(self) -> None:
        if self.down:
            raise UnavailableError("the log is down")


class MemoryHistory:
    """History of a log, stored up to `stored[partition]`."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.stored = dict.fromkeys(range(log.partitions), 0)
        self.down = False
        self.pages = 0
        self.gaps: dict[int, int] = {}

    def store(self) -> None:
        self.stored = {p: len(records) for p, records in self.log.records.items()}

    async def progress(self, partition: int) -> int:
        await self._answer()
        return self.stored[partition]

    async def lost_above(self, partition: int, after: int) -> int | None:
        await self._answer()
        lost = self.gaps.get(partition, -1)
        return lost if lost > after else None

    async def page(self, match_id: str, *, after: int, limit: int, types: Sequence[str] = ()) -> list[Row]:
        await self._answer()
        self.pages += 1
        end = self.stored[self.log.partition_of(match_id)]
        stored = [r for r in self.log.of(match_id) if after < r.offset < end]
        wanted = set(types)
        rows = [
            r
            for r in stored
            if not types or {k[2:].partition("/")[0] for k in (r.kind, *r.revises.split(","))} & wanted
        ]
        return [Row(r.offset, r.value or b"", r.revises) for r in rows[:limit]]

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.down:
            raise UnavailableError("history is down")


class MemorySeeds:
    def __init__(self) -> None:
        self.sheets: dict[str, Seed] = {}
        self.applied: dict[int, int] = {}

    async def read(self) -> tuple[dict[str, Seed], dict[int, int]]:
        return self.sheets, self.applied


def match(match_id: str, home: str = "t1", away: str = "t2", competition: str = "cup") -> Match:
    return Match(match_id, Team(home, home.upper()), Team(away, away.upper()), STARTS, competition=competition)


def check(token: str) -> Principal:
    """`good…` names a user; a plan may follow behind an @, then patterns of channels, each behind a bar."""
    if not token.startswith("good"):
        raise UnauthorizedError("the token is not valid")
    named, *patterns = token.split("|")
    user, _, plan = named.partition("@")
    channels = tuple(patterns) if patterns else None
    return Principal(user, plan or "free", datetime.now(UTC) + timedelta(minutes=15), channels=channels)
