"""Nodes are ended and started again one after another under a crowd: it comes back at a bounded rate, without a gap."""

import asyncio
import os
import signal
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from eventhub.tasks import end
from tests.drills import streams
from tests.drills.crowd import WIDE, Subscriber
from tests.drills.playing import Play
from tests.support.nodes import NodeProcess, running
from tests.support.wait import until
from tests.system.conftest import Platform

MATCHES = 10
AT_ONCE = 100
"""So many of the crowd come at a time in the beginning, which is no part of what is judged."""
LEEWAY = 1.5
BACK_S = 120


class Left(NamedTuple):
    """A node was ended: how many it sent away, the most of them that knocked in a second, and until all were back."""

    clients: int
    peak_per_s: int
    back_s: float


class Rolled(NamedTuple):
    """Of a run that was judged."""

    restarts: list[Left]
    log: int
    delivered: int


async def roll(
    platform: Platform,
    *,
    clients: int,
    reconnects_per_s: int,
    per_s: float,
    drain_s: float,
    program: tuple[str, ...] = (),
) -> Rolled:
    """Each of two nodes ends by SIGTERM and comes back, and its clients go to the other meanwhile."""
    more = {
        **WIDE,
        "EVENTHUB_DELIVERY__RECONNECTS_PER_S": str(reconnects_per_s),
        "EVENTHUB_DELIVERY__DRAIN_S": str(drain_s),
    }
    platform = platform._replace(environ={**platform.environ, **more})
    nodes = [platform.node(f"node{n}", *program) for n in range(2)]
    play = Play(platform, nodes, matches=MATCHES, per_s=per_s)
    crowd = [Subscriber(number, [f"match:m{number % MATCHES}"]) for number in range(clients)]
    tasks: list[asyncio.Task[None]] = []
    async with running(*nodes):
        await play.declare()
        try:
            async with play.going():
                await _come(platform, nodes, crowd, tasks)
                left = [await _restart(node, crowd, reconnects_per_s) for node in nodes]
            log = await streams.settled(platform, play)
            due = {m: log.wanted([m], streams.ALL, {}) for m in play.matches}
            sizes = {m: sum(map(len, wanted.values())) for m, wanted in due.items()}
            everybody = "everybody to have as much as the log"
            await until(lambda: all(len(got) >= sizes[m] for one in crowd for m, got in _got(one)), everybody)
        finally:
            await end(*tasks)
    for one in crowd:
        assert not one.wrong, f"client {one.number}: {one.wrong[:3]}"
        for match_id, got in _got(one):
            who = f"client {one.number} on {match_id}"
            streams.same(who, log.by_partition(who, got), due[match_id])
    return Rolled(left, len(log.at), sum(len(got) for one in crowd for _, got in _got(one)))


def _got(one: Subscriber) -> list[tuple[str, list[int]]]:
    return [(channel.removeprefix("match:"), got) for channel, got in one.events.items()]


async def _come(
    platform: Platform, nodes: Sequence[NodeProcess], crowd: Sequence[Subscriber], tasks: list["asyncio.Task[None]"]
) -> None:
    for start in range(0, len(crowd), AT_ONCE):
        some = crowd[start : start + AT_ONCE]
        for one in some:
            ports = [nodes[(one.number + n) % len(nodes)].port for n in range(len(nodes))]
            tasks.append(asyncio.create_task(one.follow(ports, platform.token)))
        await until(lambda some=some: all(one.ready for one in some), "some of the crowd to be there")  # type: ignore[misc]


async def _restart(node: NodeProcess, crowd: Sequence[Subscriber], bound_per_s: int) -> Left:
    """One node goes and comes back; everybody on it is told to wait, and comes to the other one at the bounded rate."""
    there = [one for one in crowd if one.port == node.port]
    told = [len(one.told) for one in there]
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert there, f"nobody is on {node.name}"
    os.kill(node.pid, signal.SIGTERM)
    await until(lambda: node.exit_code is not None, f"{node.name} to end", BACK_S)
    assert node.exit_code == 0
    await until(lambda: all(one.ready and one.port != node.port for one in there), "everybody to be back", BACK_S)
    back_s = loop.time() - began
    untold = sum(len(one.told) == before for one, before in zip(there, told, strict=True))
    assert not untold, f"{untold} of {len(there)} clients were sent away without a word"
    peak = peak_per_s([at for one in there for at in one.attempts if at >= began])
    assert peak <= LEEWAY * bound_per_s, f"{peak} clients knocked within a second, bounded at {bound_per_s}"
    node.start()
    await node.ready()
    return Left(len(there), peak, back_s)


def peak_per_s(times: Sequence[float]) -> int:
    """The most of these times that lie within one second. Pure."""
    rising = sorted(times)
    return max((index + 1 - bisect_left(rising, at - 1) for index, at in enumerate(rising)), default=0)
