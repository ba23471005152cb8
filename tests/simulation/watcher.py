"""Clients of the stream: they subscribe, lose their connection, resume on any node, and note what they were told."""

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from eventhub.delivery.connection import Connection
from eventhub.delivery.messages import Frame

if TYPE_CHECKING:
    from tests.simulation.node import Node
    from tests.simulation.world import World

RETRY = frozenset(("unavailable", "spool_full"))
SILENCE_S = 12.0
"""A client that has heard nothing for this long, not even a heartbeat, takes its connection for dead."""


class Told(NamedTuple):
    """What a client was told: `begin`, `state`, `reset`, `event` or `cursor`; with the cursor that came with it."""

    kind: str
    cursor: str | None
    event_id: str = ""
    sheet: Any = None


class Session:
    """One connection of a client: the wire that its outbox is pumped to."""

    def __init__(self, watcher: "Watcher", node: "Node") -> None:
        self.watcher, self.node = watcher, node
        self.over = asyncio.Event()
        self.connection: Connection | None = None
        self.heard_at = watcher.world.loop.now
        self._pump: asyncio.Task[None] | None = None

    def open(self, subscribe: dict[str, Any]) -> None:
        """In the node's process: shake hands and subscribe."""
        delivery = self.node.delivery
        assert delivery is not None
        self.connection = delivery._enter(None)
        self._pump = asyncio.create_task(self.connection.outbox.pump(self))
        self.connection.open()
        self.connection.handle(msgspec.json.encode({"id": 1, "type": "connect", "token": "good"}))
        self.connection.handle(msgspec.json.encode({"id": 2, "type": "subscribe", **subscribe}))

    def end(self) -> None:
        """In the node's process: the client is gone."""
        assert self.connection is not None and self.node.delivery is not None and self._pump is not None
        self.connection.end()
        self._pump.cancel()
        self.node.delivery._leave(self.connection)

    async def send(self, frame: Frame) -> None:
        """A frame comes."""
        await asyncio.sleep(self.watcher.pace_s)
        self.heard_at = self.watcher.world.loop.now
        if not self.over.is_set():
            for line in frame.data.split(b"\n"):
                self.watcher.hear(msgspec.json.decode(line), self)

    async def close(self, code: int, reason: str) -> None:
        """The node closed."""
        self.over.set()


class Watcher:
    """One client with one subscription."""

    def __init__(self, world: "World", rng: Random, name: str) -> None:
        self.world, self.name = world, name
        self.channel = rng.choice(("match:m0", "match:m1", "team:t0", "team:t0"))
        self.lanes = rng.choice(([], [], ["critical"], ["critical", "normal"]))
        self.start = rng.choice((None, "start"))
        self.pace_s = rng.choice((0.0, 0.0, 0.02))
        self.told: list[Told] = []
        self.cursor: str | None = None
        self.session: Session | None = None
        self._rng = rng

    async def run(self) -> None:
        """Stay connected, to one node or another."""
        while True:
            nodes = [node for node in self.world.nodes if node.open]
            if not nodes:
                await asyncio.sleep(0.2)
                continue
            session = self._connect(self._rng.choice(nodes))
            while not session.over.is_set():
                silent_s = self.world.loop.now - session.heard_at
                if session.node.process.dead or silent_s > SILENCE_S:
                    break
                try:
                    async with asyncio.timeout(1.0):
                        await session.over.wait()
                except TimeoutError:
                    continue
            self.drop()
            await asyncio.sleep(0.1)

    def drop(self) -> None:
        """The connection is lost; what was on its way is, too."""
        session, self.session = self.session, None
        if session is not None:
            session.over.set()
            self.world.loop.call_soon(session.end, context=session.node.process.context)

    def forget(self) -> None:
        """Begin anew, without a cursor."""
        self.cursor = None
        self.drop()

    def hear(self, message: dict[str, Any], session: Session) -> None:
        """Note a message."""
        kind, cursor = message["type"], message.get("cursor")
        if kind == "event":
            self._note(Told("event", cursor, message["event"]["event_id"]))
        elif kind in ("state", "reset"):
            self._note(Told(kind, cursor, sheet=message["state"]))
        elif kind in ("heartbeat", "reconnect") and self.channel in message["cursors"]:
            self._note(Told("cursor", message["cursors"][self.channel]))
        elif kind == "error":
            self.world.say(None, f"{self.name} was refused: {message['code']} {message['message']}")
            if message.get("retry_after_ms") is None:
                self.world.loop.failures.append(f"{self.name} was refused: {message}")
            session.over.set()

    @property
    def caught_up(self) -> bool:
        """Live, and nothing waits for this client."""
        if self.session is None or self.session.connection is None or self.session.over.is_set():
            return False
        follower = self.session.connection._followers.get(self.channel)
        return follower is not None and follower.live and self.session.connection.outbox.queued_bytes == 0

    def _note(self, told: Told) -> None:
        self.told.append(told)
        self.cursor = told.cursor
        self.world.say(None, f"{self.name} {told.kind} {told.cursor} {told.event_id[-6:]}")

    def _connect(self, node: "Node") -> Session:
        session = self.session = Session(self, node)
        wanted: dict[str, Any] = {"channel": self.channel}
        if self.lanes:
            wanted["lanes"] = self.lanes
        if self.cursor is not None:
            wanted["cursor"] = self.cursor
        elif self.start is not None:
            wanted["from"] = self.start
        self.world.say(None, f"{self.name} connects to {node.name} {wanted}")
        self.told.append(Told("begin", wanted.get("cursor"), "" if self.start is None else "start"))
        node.process.run(session.open, wanted)
        return session
