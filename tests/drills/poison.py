"""Poison, by size: events that raise in a step of the path, and events that end the node that works on them.

The nodes have defects (tests/drills/defects.py) until they are mended: ended, and started without them.
"""

import asyncio
import contextlib
import itertools
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import httpx2

from eventhub import dead_letters, topics
from eventhub.kafka import Offsets, Partitioner, Writer
from eventhub.watchdog import EXIT_CODE
from tests.drills import checks, marked
from tests.drills.defects import CRASHING, KINDS, RAISING
from tests.drills.marked import Marked, Press, Seen
from tests.drills.submissions import declaration
from tests.support.desk import Desk
from tests.support.nodes import NodeProcess, running, supervised
from tests.support.wait import until
from tests.system.checks import quiet
from tests.system.conftest import Platform

SEED = 20_261_124
MATCHES = 16
REPAIRED = (sys.executable, "-m", "eventhub")
CODES = {"unknown-type": "unknown_type", "unknown-match": "unknown_match", **dict.fromkeys(CRASHING, "crash_poison")}
"""What the letter of a defect says, where it is not that the step failed."""
EXITS = {"kill": -signal.SIGKILL, "hang": EXIT_CODE}
SHARE_S = 60
DEATHS_MOST = 6
"""Nodes that one event may end before it is parked."""
LAST = 40
"""Events of a run that follow when the others are through: they flow, and state is stored behind them."""
FLOW_S = 0.5
SIZE = 400
"""Events before the crash poison, and behind it."""


class Figures(NamedTuple):
    """Of runs with events that raise: how many were stored before the fix and after the replay, and how fast it went.

    `waited_s` is the longest that a healthy event was on the raw topic before it was on the log; `per_s` are the events
    stored a second in each run, from the first append to the raw topic to the last append to the log.
    """

    stored: int
    mended: int
    waited_s: float
    per_s: list[float]


class Crashes(NamedTuple):
    """Of a run with crash poison, by defect: how many nodes it ended, and seconds from its append until it was parked.

    `behind_s` is the longest that an event behind them in their partitions waited for the log, `aside_s` one of others.
    """

    deaths: dict[str, int]
    parked_s: dict[str, float]
    behind_s: float
    aside_s: float
    mended: int


class Ward(NamedTuple):
    """Nodes with defects, a press, a way onto the raw topics, and the file in which the defects are told."""

    platform: Platform
    nodes: list[NodeProcess]
    press: Press
    writer: Writer
    offsets: Offsets
    desk: Desk
    record: Path

    async def put(self, matches: Sequence[str], defects: Sequence[str | None]) -> list[Marked]:
        """Make events of these matches, put them on the raw topic at once, and wait until they are durable."""
        made = self.press.make(matches, defects)
        await marked.put(self.writer, self.platform.partitions, made)
        return made

    async def declare(self, match_ids: Iterable[str]) -> None:
        """Declare these matches through a node."""
        headers = {"Authorization": f"Bearer {self.platform.admin_key}"}
        starts_at = datetime.now(UTC) - timedelta(hours=3)
        async with httpx2.AsyncClient(timeout=30, headers=headers) as http:
            for match_id in match_ids:
                url = f"{self.nodes[0].url}/v1/matches/{match_id}"
                answer = await http.put(url, content=declaration(match_id, starts_at))
                assert answer.status_code in (200, 201), answer.text

    async def shared(self) -> bool:
        """Every partition has exactly one owner, and each node owns some."""
        try:
            owned = [await node.owns("enrichment") for node in self.nodes]
        except (httpx2.HTTPError, KeyError):
            # Dead, or not begun yet.
            return False
        return all(owned) and sorted(p for one in owned for p in one) == list(range(self.platform.partitions))

    def happened(self) -> list[tuple[str, int]]:
        """Defect and number, each time that a defect was met."""
        if not self.record.exists():
            return []
        return [(line.split()[0], int(line.split()[1])) for line in self.record.read_text().splitlines()]


async def raising(
    platform: Platform, runs: Sequence[int], *, size: int, mutant: str = "intact", applied_s: float = 60
) -> Figures:
    """Runs of `size` events one after another, of which so many raise, of ten kinds; then the fix and the replay.

    Each run is put on the raw topics in one go, so that enrichment works as fast as it can, but for its last events.
    """
    async with _ward(platform, mutant) as on:
        matches: list[str] = []
        for turn, ill in enumerate(runs):
            fresh = [f"r{turn}m{i}" for i in range(MATCHES)]
            await on.declare(fresh)
            matches += fresh
            await on.put(fresh, on.press.spread(size - LAST, ill, KINDS))
            await quiet(platform, applied_s)
            await on.put(fresh, [None] * LAST)
            await quiet(platform, applied_s)
        made = on.press.made
        await _check_letters(on, made)
        written, read = await _check_stored(on, matches, [one for one in made if one.defect is None])
        met = {number for _, number in on.happened()}
        assert met == {one.number for one in made if one.defect in RAISING}, "a defect was not met"
        mended = await _mend(on, matches)
        starts = range(0, size * len(runs), size)
        return Figures(
            stored=len(written),
            mended=mended,
            waited_s=_longest_wait_s(written, read),
            per_s=[_per_s(written, read, range(start, start + size - LAST)) for start in starts],
        )


async def crashing(platform: Platform, kinds: Sequence[str], *, parked_s: float, mutant: str = "intact") -> Crashes:
    """One event for each of these defects, which end the node that works on them, under a load; then fix and replay.

    A node that has ended is started again at once. Each such event is in a partition of its own.
    """
    async with _ward(platform, mutant) as on:
        matches = _one_match_each(platform.partitions)
        await on.declare(matches)
        await on.put(matches, [None] * SIZE)
        await quiet(platform)
        async with supervised(*on.nodes) as ends:
            ill = [(await on.put([match_id], [kind]))[0] for match_id, kind in zip(matches, kinds, strict=False)]
            async with _flowing(on, matches):
                await until(lambda: _parked(on, len(kinds), len(ends)), f"{' and '.join(kinds)} to be parked", parked_s)
            await until(on.shared, "the nodes to share the partitions", SHARE_S)
            before = len(ends)
            await on.put(matches, [None] * SIZE)
            written, read = await _check_stored(on, matches, [one for one in on.press.made if one.defect is None])
            await until(on.shared, "the nodes to share the partitions", SHARE_S)
            assert len(ends) == before, "a node ended after everything was parked"
            assert set(ends) == {EXITS[kind] for kind in kinds}, "a node ended in another way than the defects end it"
        await _check_letters(on, ill)
        deaths = Counter(defect for defect, _ in on.happened())
        assert deaths.total() == len(ends)
        letters = await dead_letters.read(platform.cluster, platform.partitions)
        put = {one.number: one for one in read}
        hit = {put[one.number].partition for one in ill}
        parked = {one.event_id: one.first_at.timestamp() * 1000 for one in letters}
        mended = await _mend(on, matches)
        return Crashes(
            deaths=dict(deaths),
            parked_s={str(one.defect): (parked[one.event_id] - put[one.number].at_ms) / 1000 for one in ill},
            behind_s=_longest_wait_s([one for one in written if one.partition in hit], read),
            aside_s=_longest_wait_s([one for one in written if one.partition not in hit], read),
            mended=mended,
        )


@contextlib.asynccontextmanager
async def _ward(platform: Platform, mutant: str) -> AsyncIterator[Ward]:
    """Two nodes with defects that share the partitions."""
    record = platform.folder / "defects"
    # So often that what enrichment remembers of a failed event would outlive the restart.
    platform = platform._replace(environ=platform.environ | {"EVENTHUB_STREAMS__SNAPSHOT_S": "1"})
    program = ("tests.drills.defects", str(record), mutant)
    nodes = [platform.node(name, *program) for name in ("one", "two")]
    writer, offsets = Writer(platform.cluster), Offsets(platform.cluster)
    async with running(*nodes):
        await writer.open()
        await offsets.open()
        desk = Desk(platform, platform.folder / "desk")
        on = Ward(platform, nodes, Press(seed=SEED), writer, offsets, desk, record)
        try:
            await until(on.shared, "the nodes to share the partitions", SHARE_S)
            yield on
        finally:
            await offsets.close()
            await writer.close()


@contextlib.asynccontextmanager
async def _flowing(on: Ward, matches: Sequence[str]) -> AsyncIterator[None]:
    """An event in each match again and again."""

    over = asyncio.Event()

    async def flow() -> None:
        # Not a wait for anything: the load of a source. It is not cancelled, for else nobody knows what it has put.
        while not over.is_set():
            await on.put(matches, [None] * len(matches))
            await asyncio.sleep(FLOW_S)

    flowing = asyncio.create_task(flow())
    try:
        yield
    finally:
        over.set()
        await flowing


def _one_match_each(partitions: int) -> list[str]:
    """A match in each partition, in their order."""
    partition_of, found = Partitioner(partitions), dict[int, str]()
    for number in itertools.count():
        found.setdefault(partition_of(f"m{number}"), f"m{number}")
        if len(found) == partitions:
            break
    return [found[p] for p in range(partitions)]


async def _parked(on: Ward, wanted: int, ended: int) -> bool:
    """Whether there are so many records in the dead letters; fails when too many nodes have ended for them."""
    ends = await on.offsets.ends(topics.DEAD, on.platform.partitions)
    assert ended <= DEATHS_MOST * wanted, f"{ended} nodes were ended, and not everything is parked"
    return sum(ends.values()) >= wanted


async def _check_letters(on: Ward, made: Sequence[Marked]) -> None:
    """Each event that met a defect is a letter with the fitting code, tried once and open, and there is no other."""
    wanted = {one.event_id: CODES.get(str(one.defect), "enrichment_failed") for one in made if one.defect is not None}
    letters = await on.desk.letters()
    missing = wanted.keys() - {one["event_id"] for one in letters}
    assert not missing, f"{len(missing)} of {len(wanted)} events that failed are no dead letters"
    assert len(letters) == len(wanted), f"{len(letters)} dead letters of {len(wanted)} events that failed"
    assert {one["event_id"]: one["code"] for one in letters} == wanted
    assert {(one["stage"], one["attempts"], one["state"]) for one in letters} == {("enrichment", 1, "open")}


async def _check_stored(on: Ward, matches: Sequence[str], wanted: Sequence[Marked]) -> tuple[list[Seen], list[Seen]]:
    """These events and no other are on the log once, in order, and in history; returns what log and raw topic have."""
    log = await checks.settled(on.platform, matches)
    checks.check_log(log)
    written = await marked.seen(on.platform.cluster, topics.LOG, on.platform.partitions)
    missing = {one.number for one in wanted} - {one.number for one in written}
    assert not missing, f"{len(missing)} of {len(wanted)} events are missing on the log"
    await checks.check_history(on.platform, {one.number for one in wanted}, log)
    assert marked.in_order(written), "the events of a match are in another order than they were sent"
    return written, await marked.seen(on.platform.cluster, topics.BROADCAST, on.platform.partitions)


async def _mend(on: Ward, matches: Sequence[str]) -> int:
    """All nodes come back without the defects, what nobody declared is declared, every letter is sent again.

    Returns how many events are stored then: all, once.
    """
    for node in on.nodes:
        assert await node.end() == 0
        node.program = REPAIRED
    async with running(*on.nodes):
        unknown = sorted({one.match_id for one in on.press.made if one.defect == "unknown-match"})
        await on.declare(unknown)
        ill = sum(one.defect is not None for one in on.press.made)
        assert await on.desk.ok("dlq", "replay", "--all", "--yes") == f"{ill}\n"
        log = await checks.settled(on.platform, [*matches, *unknown])
        checks.check_log(log)
        numbers = {one.number for one in on.press.made}
        await checks.check_history(on.platform, numbers, log)
        letters = await on.desk.letters("--state", "all")
        assert [one["state"] for one in letters] == ["replayed"] * ill
        return len(numbers)


def _longest_wait_s(written: Iterable[Seen], read: Iterable[Seen]) -> float:
    """The longest that an event was on the raw topic before it was on the log."""
    since = {one.number: one.at_ms for one in read}
    return max(one.at_ms - since[one.number] for one in written) / 1000


def _per_s(written: Iterable[Seen], read: Iterable[Seen], numbers: range) -> float:
    """How many of these events reached the log a second."""
    first = min(one.at_ms for one in read if one.number in numbers)
    reached = [one.at_ms for one in written if one.number in numbers]
    return len(reached) / (max(reached) - first) * 1000
