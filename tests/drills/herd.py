"""Thousands resume at once what the ring no longer holds, beside those who watch live.

The live sockets are in this process, the herd is in one of its own. The node notes each page that it asks PostgreSQL
for (tests/drills/live.py).
"""

import asyncio
import json
import random
import statistics
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from benchmarks.beside import Beside
from tests.drills import streams, wire
from tests.drills.crowd import WIDE, Subscriber
from tests.drills.live import PAGES
from tests.drills.playing import USUAL, Play
from tests.drills.streams import ALL, TheLog, View
from tests.support.nodes import running
from tests.support.wait import until
from tests.system.conftest import Platform

SEED = 20_180_711
LIVE, PAST_ID = "match:m0", "m1"
PAST = f"match:{PAST_ID}"
VIEWS = (ALL, View(lanes=("critical",)), View(types=("goal", "shot")))
RING_BYTES, RECORD_BYTES = 200_000, 600
"""Some seconds of the load; and what one record takes of it at least."""
AT_ONCE = 400
COME_S, STORED_S = 300, 120
ACCEPTED = b'"accepted_at":"'


class Place(NamedTuple):
    """Where one of the herd resumes, and how far it must come before it leaves."""

    number: int
    cursor: str
    after: int
    view: View
    upto: int


class Came(NamedTuple):
    """What one of the herd got."""

    got: list[int]
    wrong: list[str]


class Pair(NamedTuple):
    """p99 of the live sockets in ms: calm, and while the herd came; how long that took, and the pages asked for."""

    calm_ms: float
    herd_ms: float
    took_s: float
    pages: int


class Herded(NamedTuple):
    """Of a run that was judged. `delivered`: events that the herds got in all."""

    pairs: list[Pair]
    delivered: int
    log: int


class Watcher:
    """A live socket that times every event from its acceptance."""

    def __init__(self) -> None:
        self.late_ms: list[float] = []
        self.ended: asyncio.Future[int | None] | None = None

    async def open(self, port: int, token: str, number: int) -> None:
        """Follow the live match from now on."""
        made = await wire.connect(port, token, self._take, number=number)
        made.say(id=2, type="subscribe", channel=LIVE)
        self.ended = made.ended

    def _take(self, line: bytes) -> None:
        if line.startswith(b'{"type":"event"'):
            start = line.index(ACCEPTED) + len(ACCEPTED)
            accepted = datetime.fromisoformat(line[start : line.index(b'"', start)].decode())
            self.late_ms.append((datetime.now(accepted.tzinfo) - accepted).total_seconds() * 1000)
        else:
            assert json.loads(line)["type"] not in ("error", "reset", "skipped", "reconnect"), line[:200]


class Resumer(Subscriber):
    """One of the herd. `there` is set when it has what is due to it, or something is wrong."""

    def __init__(self, place: Place) -> None:
        super().__init__(place.number, [PAST], place.view)
        self.cursors[PAST] = place.cursor
        self.there = asyncio.Event()
        self._upto = place.upto

    def take(self, line: bytes) -> None:
        super().take(line)
        if self.wrong or (self.subscribed and int(self.cursors[PAST].rpartition(".")[2]) >= self._upto):
            self.there.set()

    def closed(self, ended: "asyncio.Future[int | None]") -> None:
        """The node, or the drill, is done with it."""
        self.wrong.append(f"closed with {ended.result()}")
        self.there.set()


async def stampede(port: int, token: str, places: Sequence[Place]) -> list[Came]:
    """The herd, in a process of its own: all resume as fast as they can, and leave when everybody has it all."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def resume(one: Resumer) -> wire.Wire:
        async with turn:
            made = await one.connect(port, token)
        made.ended.add_done_callback(one.closed)
        await one.there.wait()
        return made

    herd = [Resumer(place) for place in places]
    async with asyncio.timeout(COME_S):
        wires = await asyncio.gather(*map(resume, herd))
    came = [Came(list(one.events[PAST]), list(one.wrong)) for one in herd]
    for one in wires:
        one.cut()
    return came


async def herd(
    platform: Platform,
    *,
    resumers: int,
    past: int,
    live: int,
    per_s: float,
    calm_s: float,
    pairs: int,
    pages_most: int,
    mutant: str = "pages-told",
) -> Herded:
    """`resumers` come at once to a node whose ring holds none of the `past` events that they want."""
    pages = platform.folder / "pages"
    more = {**WIDE, "EVENTHUB_DELIVERY__RING_BYTES": str(RING_BYTES), PAGES: str(pages)}
    platform = platform._replace(environ={**platform.environ, **more})
    node = platform.node("node0", "tests.drills.mutants", mutant)
    play = Play(platform, [node], matches=2, rests=1, per_s=per_s, batch=2, shares=USUAL)
    watchers = [Watcher() for _ in range(live)]
    beside = Beside()
    found: list[tuple[Pair, list[Place], list[Came]]] = []
    async with running(node):
        try:
            await play.declare()
            await play.fill(PAST_ID, past)
            async with play.going():
                for number, one in enumerate(watchers):
                    await one.open(node.port, platform.token(), number)
                log = await _stored(platform, past)
                sheet = await platform.get(node, f"/v1/matches/{PAST_ID}")
                epoch = sheet["cursor"].partition(".")[0]
                for turn in range(pairs):
                    places = _places(log, epoch, resumers, past, SEED + turn)
                    found.append(await _pair(platform, node.port, play, watchers, beside, places, calm_s, pages))
            log = await streams.settled(platform, play)
        finally:
            beside.close()
    for pair, places, came in found:
        for place, got in zip(places, came, strict=True):
            _check(log, place, got)
        assert pair.pages <= pages_most, f"{pair.pages} pages were asked for, by {resumers} who want the same"
        assert pair.pages > 0, "history was not asked: the ring had it all"
    return Herded([pair for pair, _, _ in found], sum(len(one.got) for _, _, c in found for one in c), len(log.at))


async def _pair(
    platform: Platform,
    port: int,
    play: Play,
    watchers: Sequence[Watcher],
    beside: Beside,
    places: Sequence[Place],
    calm_s: float,
    pages: Path,
) -> tuple[Pair, list[Place], list[Came]]:
    """A calm window, then the herd."""
    loop = asyncio.get_running_loop()
    calm = await _watched(watchers, asyncio.sleep(calm_s))
    before, began = _asked(pages), loop.time()
    came: list[Came] = []

    async def come() -> None:
        came.extend(await beside.run(stampede, port, platform.token(), places))

    herded = await _watched(watchers, come())
    took_s = loop.time() - began
    play.check()
    return Pair(calm, herded, took_s, _asked(pages) - before), list(places), came


async def _watched(watchers: Sequence[Watcher], meanwhile: Any) -> float:
    """p99 of what came to all live sockets meanwhile, none of which may be sent away."""
    for one in watchers:
        one.late_ms.clear()
    await meanwhile
    late = [ms for one in watchers for ms in one.late_ms]
    gone = sum(one.ended is None or one.ended.done() for one in watchers)
    assert not gone, f"{gone} live sockets were sent away"
    assert len(late) > 100, "hardly anything came to the live sockets"
    return statistics.quantiles(late, n=100)[98]


async def _stored(platform: Platform, past: int) -> TheLog:
    """The log once history has the past, and the ring has it no more."""

    async def has_it() -> bool:
        async with await psycopg.AsyncConnection.connect(platform.dsn) as connection:
            found = await connection.execute("select match_id, count(*) from events group by match_id")
            rows: dict[str, int] = dict(await found.fetchall())
        behind = rows.get(LIVE.removeprefix("match:"), 0) * RECORD_BYTES
        return rows.get(PAST_ID, 0) >= past and behind > RING_BYTES

    await until(has_it, "the past to leave the ring", STORED_S)
    return await streams.read(platform.cluster, platform.partitions)


def _places(log: TheLog, epoch: str, resumers: int, past: int, seed: int) -> list[Place]:
    """Cursors all over the first half of the past; each goes on to its end at least."""
    rng, rows, places = random.Random(seed), log.of[PAST_ID], []
    ends = {view: max(row.offset for row in rows[:past] if view.passes(row.kinds)) for view in VIEWS}
    for number in range(resumers):
        one, view = rows[rng.randrange(past // 2)], VIEWS[number % len(VIEWS)]
        places.append(Place(number, f"{epoch}.{one.partition}.{one.offset}", one.offset, view, ends[view]))
    return places


def _check(log: TheLog, place: Place, one: Came) -> None:
    who = f"resumer {place.number}"
    assert not one.wrong, f"{who}: {one.wrong[:3]}"
    assert one.got, f"{who} got nothing"
    last = log.at[one.got[-1]]
    assert last.offset >= place.upto, f"{who} did not get as far as it said"
    wanted = log.wanted([PAST_ID], place.view, {PAST_ID: place.after}, {last.partition: last.offset})
    streams.same(who, log.by_partition(who, one.got), wanted)


def _asked(path: Path) -> int:
    """Pages that PostgreSQL was asked for so far, by the node's own account."""
    return path.read_text().count("\n") if path.exists() else 0
