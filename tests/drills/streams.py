"""What a subscriber must have got: the log as Kafka has it, by channel and view; told apart from it byte for byte."""

import json
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from eventhub import topics
from eventhub.kafka import Kafka, read_range
from tests.drills.playing import Play
from tests.support import oracle
from tests.support.wait import until
from tests.system.conftest import Platform

SETTLE_S = 60
Kind = tuple[str, str]
"""A lane and a type."""


class View(NamedTuple):
    """What a subscriber asks for; empty: everything."""

    lanes: tuple[str, ...] = ()
    types: tuple[str, ...] = ()

    def passes(self, kinds: Iterable[Kind]) -> bool:
        """Whether one of the kinds that an event has or had is wanted."""
        return any(
            (not self.lanes or lane in self.lanes) and (not self.types or name in self.types) for lane, name in kinds
        )


ALL = View()


class Stored(NamedTuple):
    """An event of the log: its place, its bytes' mark, and the kinds that it and what it revises have."""

    partition: int
    offset: int
    match_id: str
    mark: int
    kinds: frozenset[Kind]


class TheLog:
    """Every event, by match and by its bytes; the last sheet of each match, and whether its end is in that."""

    def __init__(self) -> None:
        self.of: dict[str, list[Stored]] = {}
        self.at: dict[int, Stored] = {}
        self.ids: Counter[str] = Counter()
        self.sheets: dict[str, dict[str, Any]] = {}
        self.states: dict[tuple[str, int], dict[str, Any]] = {}
        """Every sheet, by its match and the last offset that is in it."""
        self._ends: dict[str, int] = {}
        self._causes: dict[str, int] = {}
        self._kinds: dict[str, frozenset[Kind]] = {}

    def take(self, partition: int, offset: int, value: bytes) -> None:
        """The next event of a partition."""
        event = json.loads(value)
        match_id, first = event["match_id"], event.get("of") or event["event_id"]
        # Whoever was shown it as it was is told what became of it.
        kinds = self._kinds[first] = self._kinds.get(first, frozenset()) | {(event["lane"], event["type"])}
        one = Stored(partition, offset, match_id, mark(value), kinds)
        self.of.setdefault(match_id, []).append(one)
        assert one.mark not in self.at, "two events of the log have the same mark"
        self.at[one.mark] = one
        self.ids[event["event_id"]] += 1
        if event["type"] == "match_end":
            self._ends[match_id] = offset
        if event["type"] == "state":
            cause, sheet = event["payload"]["cause"], event["payload"]["sheet"]
            self._causes[match_id], self.sheets[match_id] = cause, sheet
            self.states[match_id, cause] = sheet

    def ended(self, matches: Sequence[str]) -> bool:
        """Whether nothing follows: the last state of each match is of its end."""
        return all(self._causes.get(m, -1) == self._ends.get(m, -2) for m in matches)

    def wanted(
        self, matches: Sequence[str], view: View, after: Mapping[str, int], upto: Mapping[int, int] | None = None
    ) -> dict[int, list[int]]:
        """By partition and in its order the marks of what follows behind a place of each match (from the start).

        With `upto` only what lies no further than that in its partition, and nothing where it has no place.
        """
        found: dict[int, list[Stored]] = {}
        for match_id in matches:
            rows = self.of.get(match_id, [])
            first = bisect_right(rows, after.get(match_id, -1), key=lambda one: one.offset)
            last = len(rows)
            if upto is not None and rows:
                last = bisect_right(rows, upto.get(rows[0].partition, -1), key=lambda one: one.offset)
            for one in rows[first:last]:
                if view.passes(one.kinds):
                    found.setdefault(one.partition, []).append(one)
        return {p: [one.mark for one in sorted(rows)] for p, rows in found.items()}

    def by_partition(self, who: str, got: Sequence[int]) -> dict[int, list[int]]:
        """What somebody got, by partition, in the order in which it came."""
        found: dict[int, list[int]] = {}
        for one in got:
            stored = self.at.get(one)
            assert stored is not None, f"{who} got an event that is not on the log"
            found.setdefault(stored.partition, []).append(one)
        return found


def plain(sheet: Mapping[str, Any]) -> dict[str, Any]:
    """A sheet as aggregation made it: the node adds where it is from."""
    return {key: value for key, value in sheet.items() if key not in ("cursor", "stale")}


def mark(value: bytes) -> int:
    """The same for the same bytes, in every process, and hardly ever for others."""
    return zlib.crc32(value) << 32 | zlib.adler32(value)


async def read(cluster: Kafka, partitions: int) -> TheLog:
    """Every partition from its beginning to its end."""
    log = TheLog()
    for partition in range(partitions):
        async for records in read_range(cluster, topics.LOG, partition, 0):
            for one in records:
                if one.value is not None:
                    log.take(partition, one.offset, one.value)
    return log


async def settled(platform: Platform, play: Play) -> TheLog:
    """The log once all that was accepted is on it, once, and the matches are over."""
    logs: list[TheLog] = []

    async def is_over() -> bool:
        if await oracle.backlog(platform.cluster, platform.partitions):
            return False
        logs[:] = [await read(platform.cluster, platform.partitions)]
        return logs[0].ended(play.matches)

    await until(is_over, "the log to have the end of every match", SETTLE_S)
    missing, twice = play.accepted - logs[0].ids.keys(), [i for i, n in logs[0].ids.items() if n > 1]
    assert not missing and not twice, f"on the log {len(missing)} are missing and {len(twice)} are twice"
    return logs[0]


def same(who: str, got: Mapping[int, Sequence[int]], wanted: Mapping[int, Sequence[int]]) -> None:
    """Fail, and say how, unless both have the same events in the same order in each partition."""
    for partition in got.keys() | wanted.keys():
        have, want = list(got.get(partition, [])), list(wanted.get(partition, []))
        if have == want:
            continue
        twice, here = len(have) - len(set(have)), set(have)
        missing, foreign = [i for i, one in enumerate(want) if one not in here], len(here - set(want))
        where = f" (the {missing[0]}th to the {missing[-1]}th)" if missing else ""
        raise AssertionError(
            f"{who}: of {len(want)} events in partition {partition} {len(missing)} are missing{where}, {foreign} should"
            f" not be there, {twice} came twice" + ("" if missing or foreign or twice else ", and the order is another")
        )
