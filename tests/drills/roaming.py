"""Subscribers that come and go by the thousand, while nodes die, end and come back: each stream is whole.

They are programs on the Python client. The network cuts their connections at random moments, or they end and begin
again with the cursors that they kept.
"""

import asyncio
import contextlib
import itertools
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple
from unittest import mock

import pytest
import websockets
from websockets.protocol import State as SocketState

from eventhub.tasks import end
from eventhub_client import Client, Event, Reset, Skipped, State
from tests.drills import streams
from tests.drills.crowd import WIDE
from tests.drills.playing import Play
from tests.drills.streams import ALL, TheLog, View
from tests.support.nodes import NodeProcess, running
from tests.support.wait import until
from tests.system.conftest import Platform

SEED = 20_180_715
ADDRESSES = 100
"""Loopback addresses that they come from: one address may shake hands 20 times a second."""
BEHIND = b'"event":'
RESTARTS = 0.2
"""So often it is the program that ends, not the connection."""
BACKOFF_S = 0.05, 0.5
Due = dict[str, dict[Any, Any]]


class Wish(NamedTuple):
    """What a subscriber follows, and through which view."""

    channels: tuple[str, ...]
    view: View


class Figures(NamedTuple):
    """Of a run that was judged."""

    reconnects: int
    by_program: int
    by_node: list[int]
    """How many connections each fault of a node took with it."""
    log: int
    delivered: int


class Network:
    """The connections of the clients, from many addresses in turn."""

    def __init__(self, rng: random.Random) -> None:
        self.made = 0
        self._rng = rng
        self._turns = itertools.cycle(f"127.0.1.{1 + n}" for n in range(ADDRESSES))
        self._connect: Any = websockets.connect
        self._sockets: list[Any] = []

    @contextlib.asynccontextmanager
    async def used(self) -> AsyncIterator[None]:
        """Whoever connects meanwhile does it here."""
        with mock.patch.object(websockets, "connect", self._open):
            yield

    def open_to(self, node: NodeProcess) -> int:
        """Connections to a node."""
        return Counter(one.remote_address[1] for one in self._living())[node.port]

    def cut(self) -> None:
        """Cut one of them, without a word."""
        living = self._living()
        if living:
            self._rng.choice(living).transport.abort()

    async def _open(self, url: str, **options: Any) -> Any:
        socket = await self._connect(url, local_addr=(next(self._turns), 0), **options)
        self.made += 1
        self._sockets.append(socket)
        return socket

    def _living(self) -> list[Any]:
        self._sockets = [one for one in self._sockets if one.state is SocketState.OPEN]
        return self._sockets


class Roamer:
    """A program that follows its channels, and keeps what it was given."""

    def __init__(self, platform: Platform, nodes: Sequence[NodeProcess], wish: Wish) -> None:
        self.wish = wish
        self.restarts = 0
        self.events: dict[str, list[int]] = {channel: [] for channel in wish.channels}
        self.sheets: dict[str, dict[str, Any]] = {}
        self.wrong: list[str] = []
        self._platform, self._urls = platform, [node.url for node in nodes]
        self._client: Client | None = None

    def follow(self) -> "asyncio.Task[None]":
        """Follow for ever; the task ends only when the client gives up."""
        return asyncio.create_task(self._run())

    @property
    def count(self) -> int:
        """Events that it has."""
        return sum(map(len, self.events.values()))

    async def _run(self) -> None:
        """A program that was ended begins again behind what it has."""
        cursors: dict[str, str] = {}
        while True:
            async with Client(self._urls, self._token, backoff_s=BACKOFF_S) as client:
                view = self.wish.view
                wanted = self.wish.channels
                await client.subscribe(*wanted, cursors=cursors, from_start=True, lanes=view.lanes, types=view.types)
                self._client = client
                async for message in client:
                    self._take(message)
            cursors = client.cursors
            self.restarts += 1

    async def restart(self) -> None:
        """The program ends."""
        if self._client is not None:
            await self._client.close()

    def _take(self, message: Any) -> None:
        if isinstance(message, Event):
            line = message.text.encode()
            self.events[message.channel].append(streams.mark(line[line.index(BEHIND) + len(BEHIND) : -1]))
        elif isinstance(message, State) and message.channel == "scores":
            sheet = message.state
            before = self.sheets.get(sheet["match_id"])
            if before is not None and _place(sheet) < _place(before):
                self.wrong.append(f"a sheet of {sheet['match_id']} that is older than the one before")
            self.sheets[sheet["match_id"]] = sheet
        elif isinstance(message, Reset | Skipped | State):
            self.wrong.append(f"{type(message).__name__} on {message.channel}")

    def plain(self) -> dict[str, Any]:
        """The sheets as aggregation made them."""
        return {match_id: streams.plain(sheet) for match_id, sheet in self.sheets.items()}

    async def _token(self) -> str:
        return self._platform.token()


async def roam(
    platform: Platform,
    *,
    subscribers: int,
    reconnects: int,
    kills: int,
    ends: int,
    per_s: float,
    cuts_per_s: float,
    program: tuple[str, ...] = (),
    nodes: int = 2,
    settle_s: float = streams.SETTLE_S,
) -> Figures:
    """Connections end `reconnects` times in all, and nodes by kill -9 and by SIGTERM; every stream is the log's."""
    rng = random.Random(SEED)
    platform = platform._replace(environ={**platform.environ, **WIDE})
    made = [platform.node(f"node{n}", *program) for n in range(nodes)]
    play = Play(platform, made, matches=8, per_s=per_s)
    network = Network(rng)
    async with running(*made), network.used():
        await play.declare()
        roamers = [_roamer(platform, made, n) for n in range(subscribers)]
        tasks = [one.follow() for one in roamers]
        try:
            async with play.going():
                await until(lambda: network.made >= subscribers, "everybody to be connected")
                async with _restless(network, roamers, rng, cuts_per_s):
                    kinds = [True] * kills + [False] * ends
                    rng.shuffle(kinds)
                    lost = [await _fault(made, network, rng, kill=k, at_least=subscribers // 4) for k in kinds]
                    enough = subscribers + reconnects
                    await until(lambda: network.made >= enough or _gone(tasks), "the reconnects", 600)
            assert not _gone(tasks), f"{len(_gone(tasks))} clients gave up: {_gone(tasks)[0]!r}"
            log = await streams.settled(platform, play)
            wanted = [due(one.wish, log, play) for one in roamers]
            # What is wrong with a stream may be why it never gets so far, and says more.
            with contextlib.suppress(pytest.fail.Exception):
                await until(lambda: not any(map(_behind, roamers, wanted)), "everybody to have it all", settle_s)
        finally:
            await end(*tasks)
    for number, one in enumerate(roamers):
        check(f"subscriber {number}", one, log, wanted[number])
    assert play.revisions > 0
    return Figures(
        reconnects=network.made - subscribers,
        by_program=sum(one.restarts for one in roamers),
        by_node=lost,
        log=len(log.at),
        delivered=sum(one.count for one in roamers),
    )


def wish(number: int) -> Wish:
    """Whole matches and teams, with scores and without, and views."""
    match_id = f"match:m{number % 8}"
    return (
        Wish((match_id, "scores"), ALL),
        Wish((match_id, "team:greens"), View(lanes=("critical",))),
        Wish((match_id,), View(types=("goal", "shot"))),
        Wish(("team:reds",), ALL),
        Wish((match_id, "match:m0" if number % 8 else "match:m1"), View(lanes=("critical", "normal"))),
    )[number % 5]


def due(of: Wish, log: TheLog, play: Play) -> Due:
    """What it must have in the end, by channel: marks by partition, or the sheets of all matches."""
    found: Due = {}
    for channel in of.channels:
        kind, _, subject = channel.partition(":")
        matches = {"match": [subject], "scores": play.matches}.get(kind) or play.of_team(subject)
        sheets = kind == "scores"
        found[channel] = {m: log.sheets[m] for m in matches} if sheets else log.wanted(matches, of.view, {})
    return found


def check(who: str, one: Roamer, log: TheLog, wanted: Due) -> None:
    """Each event once and in order, of each channel; of `scores` the sheets as they stand in the end."""
    assert not one.wrong, f"{who}: {one.wrong[:3]}"
    for channel, due_here in wanted.items():
        name = f"{who} on {channel}"
        if channel == "scores":
            assert one.plain() == due_here, f"{name}: a sheet is not as it stands in the end"
        else:
            streams.same(name, log.by_partition(name, one.events[channel]), due_here)


def _roamer(platform: Platform, nodes: Sequence[NodeProcess], number: int) -> Roamer:
    turned = [nodes[(number + n) % len(nodes)] for n in range(len(nodes))]
    return Roamer(platform, turned, wish(number))


@contextlib.asynccontextmanager
async def _restless(
    network: Network, roamers: Sequence[Roamer], rng: random.Random, per_s: float
) -> AsyncIterator[None]:
    """Connections and programs end at random moments, so many a second."""

    async def disturb() -> None:
        while True:
            # Not a wait for anything: how often it happens.
            await asyncio.sleep(rng.expovariate(per_s))
            if rng.random() < RESTARTS:
                await rng.choice(roamers).restart()
            else:
                network.cut()

    task = asyncio.create_task(disturb())
    try:
        yield
        if task.done():
            task.result()
    finally:
        await end(task)


async def _fault(
    nodes: Sequence[NodeProcess], network: Network, rng: random.Random, *, kill: bool, at_least: int
) -> int:
    """A node dies or ends, with whoever is connected to it, and comes back; returns how many were."""
    node = rng.choice(nodes)
    # After the fault before, all of them were on the other one.
    await until(lambda: network.open_to(node) >= at_least, f"{at_least} to be connected to {node.name}")
    lost = network.open_to(node)
    if kill:
        node.kill()
    else:
        os.kill(node.pid, signal.SIGTERM)
        await until(lambda: node.exit_code is not None, f"{node.name} to end")
        assert node.exit_code == 0
    node.start()
    await node.ready()
    return lost


def _gone(tasks: Sequence["asyncio.Task[None]"]) -> list[BaseException | None]:
    return [one.exception() for one in tasks if one.done()]


def _behind(one: Roamer, wanted: Due) -> bool:
    return any(
        one.plain() != due_here if channel == "scores" else len(one.events[channel]) < sum(map(len, due_here.values()))
        for channel, due_here in wanted.items()
    )


def _place(sheet: Mapping[str, Any]) -> int:
    return int(sheet["cursor"].rpartition(".")[2])
