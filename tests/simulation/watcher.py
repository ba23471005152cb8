"""Clients of the stream: they subscribe, lose their connection, resume on any node, and note what they were told."""

import asyncio
from collections import deque
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from eventhub.delivery.connection import Connection
from eventhub.delivery.frame import Frame

if TYPE_CHECKING:
    from tests.simulation.node import Node
    from tests.simulation.world import World

RETRY = frozenset(("unavailable", "spool_full"))
SILENCE_S = 12.0
"""A client that has heard nothing for this long, not even a heartbeat, takes its connection for dead."""


class Told(NamedTuple):
    """What a client was told: `begin`, `state`, `reset`, `event`, `skipped` or `cursor`; with the cursor of it.

    Of `skipped` that is where it ends, with its lane, where it begins, and how many events it is about.
    """

    kind: str
    cursor: str | None
    event_id: str = ""
    sheet: Any = None
    lane: str = ""
    first: str = ""
    events: int = 0


HELD = 2
"""Frames that a slow client's transport holds before it has enough."""


class Session:
    """One connection of a client, and its wire: frames arrive one after another, at the client's pace."""

    def __init__(self, watcher: "Watcher", node: "Node") -> None:
        self.watcher, self.node = watcher, node
        self.over = asyncio.Event()
        self.connection: Connection | None = None
        self.heard_at = watcher.world.loop.now
        self.coming: deque[Frame] = deque()

    def open(self, subscribe: dict[str, Any]) -> None:
        """In the node's process: shake hands and subscribe."""
        delivery = self.node.delivery
        assert delivery is not None
        self.connection = delivery._enter(None)
        self.connection.outbox.attach(self)
        self.connection.open()
        self.connection.handle(msgspec.json.encode({"id": 1, "type": "connect", "token": "good"}))
        self.connection.handle(msgspec.json.encode({"id": 2, "type": "subscribe", **subscribe}))

    def drop(self) -> None:
        """In the node's process: the client is gone."""
        assert self.connection is not None
        self.coming.clear()
        self.connection.end()

    def write(self, frame: Frame) -> None:
        """A frame is on its way."""
        self.coming.append(frame)
        if len(self.coming) == 1:
            asyncio.get_running_loop().call_later(self.watcher.pace_s, self._arrive)
        assert self.connection is not None
        if len(self.coming) >= HELD:
            self.connection.outbox.pause()

    def waiting_bytes(self) -> int:
        """What has not arrived."""
        return sum(frame.size_bytes for frame in self.coming)

    def end(self, code: int, reason: str) -> None:
        """The node closed, behind what it had written."""
        asyncio.get_running_loop().call_later(self.watcher.pace_s * (1 + len(self.coming)), self.over.set)

    def abort(self) -> None:
        """The node cut the connection."""
        self.over.set()

    def _arrive(self) -> None:
        if not self.coming:
            return
        frame = self.coming.popleft()
        self.heard_at = self.watcher.world.loop.now
        if not self.over.is_set():
            for line in frame.data.split(b"\n"):
                self.watcher.hear(msgspec.json.decode(line), self)
        if self.coming:
            asyncio.get_running_loop().call_later(self.watcher.pace_s, self._arrive)
        elif self.connection is not None:
            self.connection.outbox.resume()


class Watcher:
    """One client with one subscription."""

    def __init__(self, world: "World", rng: Random, name: str) -> None:
        self.world, self.name = world, name
        self.channel = rng.choice(("match:m0", "match:m1", "team:t0", "team:t0"))
        self.lanes = rng.choice(([], [], ["critical"], ["critical", "normal"]))
        self.languages = {"client0": ["de"], "client1": ["*"]}.get(name, [])
        self.start = rng.choice((None, "start"))
        self.pace_s = rng.choice((0.0, 0.0, 0.02, 0.2))
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
            self.world.loop.call_soon(session.drop, context=session.node.process.context)

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
        elif kind == "skipped":
            self.told.append(Told(kind, message["to"], "", None, message["lane"], message["from"], message["count"]))
            self.world.say(None, f"{self.name} skipped {message}")
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
        follower = self.session.connection.subscriptions._followers.get(self.channel)
        return follower is not None and follower.live and not self.session.coming and not self._waits()

    def _waits(self) -> bool:
        """Whether the node has something for this client that is not on its way yet."""
        assert self.session is not None and self.session.connection is not None
        return self.session.connection.outbox.queued_bytes > 0

    def _note(self, told: Told) -> None:
        self.told.append(told)
        self.cursor = told.cursor
        self.world.say(None, f"{self.name} {told.kind} {told.cursor} {told.event_id[-6:]}")

    def _connect(self, node: "Node") -> Session:
        session = self.session = Session(self, node)
        wanted: dict[str, Any] = {"channel": self.channel}
        if self.lanes:
            wanted["lanes"] = self.lanes
        if self.languages:
            wanted["languages"] = self.languages
        if self.cursor is not None:
            wanted["cursor"] = self.cursor
        elif self.start is not None:
            wanted["from"] = self.start
        self.world.say(None, f"{self.name} connects to {node.name} {wanted}")
        self.told.append(Told("begin", wanted.get("cursor"), "" if self.start is None else "start"))
        node.process.run(session.open, wanted)
        return session
