"""Joins by state under load: whoever comes, at whatever moment, gets each event behind the state's cursor, once."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.drills import streams, wire
from tests.drills.crowd import WIDE, Subscriber
from tests.drills.playing import USUAL, Play
from tests.drills.streams import ALL, TheLog, View
from tests.support.nodes import NodeProcess, running
from tests.support.wait import until
from tests.system.conftest import Platform

SEED = 20_180_710
MATCHES, BATCH = 4, 20
VIEWS = (ALL, ALL, View(lanes=("critical", "normal")), View(types=("goal", "shot", "pass")))
STAYS_S = 0.5
CYCLE_S = 0.21
"""A connection may send 10 commands a second for long, and each join and leave is one."""
ANSWER_S = 30


class Visit(NamedTuple):
    """A stay on a channel: the sheet of each match that it began with, what came, and up to where, by partition."""

    channel: str
    view: View
    sheets: list[dict[str, Any]]
    got: list[int]
    upto: dict[int, int]


class Joined(NamedTuple):
    """Of a run that was judged. `empty`: visits that were over before anything came."""

    joins: int
    empty: int
    delivered: int
    log: int
    per_s: float


class Visitor:
    """A connection that joins by state and leaves, again and again."""

    def __init__(self, number: int, play: Play) -> None:
        self.visits: list[Visit] = []
        self._number, self._play = number, play
        self._rng = random.Random(SEED + number)
        self._last: dict[str, object] = {}

    async def run(self, port: int, token: str, visits: int) -> None:
        """So many visits, one after another. Raises what the node answers but what was asked for."""
        self._now = Subscriber(self._number, [], start=False)
        loop = asyncio.get_running_loop()
        made = await wire.connect(port, token, self._take, number=self._number)
        for turn in range(visits):
            next_at = loop.time() + CYCLE_S
            await asyncio.wait_for(self._visit(made, turn), ANSWER_S)
            # Not a wait for anything: a moment that nobody has chosen.
            await asyncio.sleep(next_at - loop.time())
        made.cut()

    async def _visit(self, made: wire.Wire, turn: int) -> None:
        channel = self._rng.choice([*(f"match:{m}" for m in self._play.matches), "team:reds", "team:greens"])
        matches = _matches(channel, self._play)
        view = self._rng.choice(VIEWS)
        self._now = now = Subscriber(self._number, [channel], view, start=False)
        self._answered, self._left = asyncio.Event(), asyncio.Event()
        told = {name: list(value) for name, value in view._asdict().items() if value}
        made.say(id=3 + 2 * turn, type="subscribe", channel=channel, **told)
        await self._answered.wait()
        await asyncio.sleep(self._rng.uniform(0, STAYS_S))
        made.say(id=4 + 2 * turn, type="unsubscribe", channel=channel)
        await self._left.wait()
        assert not now.wrong, now.wrong
        sheets = [one["state"] for one in now.states]
        assert [one["match_id"] for one in sheets] == matches, f"{channel}: states of others"
        upto = _places(now.cursors[channel]) if now.events[channel] else {}
        self.visits.append(Visit(channel, view, sheets, now.events[channel], upto))

    def _take(self, line: bytes) -> None:
        """Events between the two answers are the visit's; none may come at any other time."""
        if line.startswith(b'{"type":"event"'):
            assert not self._left.is_set(), "an event came after `unsubscribed`"
        self._now.take(line)
        if b'"type":"unsubscribed"' in line:
            self._left.set()
        elif line.startswith(b'{"type":"state"'):
            channel = next(iter(self._now.events))
            if len(self._now.states) == len(_matches(channel, self._play)):
                self._answered.set()


async def join(
    platform: Platform,
    *,
    joins: int,
    connections: int,
    per_s: float,
    program: tuple[str, ...] = (),
) -> Joined:
    """`joins` visits over so many connections, while `per_s` events a second flow through the node."""
    platform = platform._replace(environ={**platform.environ, **WIDE})
    node = platform.node("node0", *program)
    play = Play(platform, [node], matches=MATCHES, per_s=per_s, batch=BATCH, shares=USUAL)
    visitors = [Visitor(number, play) for number in range(connections)]
    loop = asyncio.get_running_loop()
    async with running(node):
        await play.declare()
        async with play.going():
            await until(lambda: _have_states(platform, node, play), "every match to have a state")
            began, before = loop.time(), len(play.accepted)
            async with asyncio.TaskGroup() as group:
                for one in visitors:
                    group.create_task(one.run(node.port, platform.token(), joins // connections))
            play.check()
            flowed = (len(play.accepted) - before) / (loop.time() - began)
        log = await streams.settled(platform, play)
    visits = [visit for one in visitors for visit in one.visits]
    for number, visit in enumerate(visits):
        judge(f"join {number} of {visit.channel}", visit, log, _matches(visit.channel, play))
    empty = sum(not visit.got for visit in visits)
    assert empty < len(visits) / 2, f"nothing came within {empty} of {len(visits)} visits"
    return Joined(len(visits), empty, sum(len(v.got) for v in visits), len(log.at), flowed)


async def _have_states(platform: Platform, node: NodeProcess, play: Play) -> bool:
    sheets = [await platform.get(node, f"/v1/matches/{match_id}") for match_id in play.matches]
    return all(one["status"] == "live" for one in sheets)


def judge(who: str, visit: Visit, log: TheLog, matches: Sequence[str]) -> None:
    """What came is what the log has behind the state, up to the cursor of what came last, in every partition."""
    after = {one["match_id"]: _offset(one["cursor"]) for one in visit.sheets}
    for one in visit.sheets:
        place = one["match_id"], after[one["match_id"]]
        # The load flows already, so that every match has a state.
        assert place in log.states, f"{who}: no state of {place[0]} holds just what is up to {place[1]}"
        assert streams.plain(one) == log.states[place], f"{who}: another state than the log has"
    wanted = log.wanted(matches, visit.view, after, visit.upto)
    streams.same(who, log.by_partition(who, visit.got), wanted)


def _matches(channel: str, play: Play) -> list[str]:
    kind, _, subject = channel.partition(":")
    return [subject] if kind == "match" else play.of_team(subject)


def _places(cursor: str) -> dict[int, int]:
    pairs = (pair.partition(".") for pair in cursor.partition(".")[2].split(","))
    return {int(partition): int(offset) for partition, _, offset in pairs}


def _offset(cursor: str) -> int:
    (offset,) = _places(cursor).values()
    return offset
