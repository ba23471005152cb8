"""A crowd of subscribers: each one keeps what it got and where it is, over any number of connections."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from tests.drills import wire
from tests.drills.streams import ALL, View, mark
from tests.drills.wire import Wire

WIDE = {
    "EVENTHUB_DELIVERY__CONNECTIONS_PER_ADDRESS": "20000",
    "EVENTHUB_DELIVERY__CONNECTIONS_PER_USER": "20000",
}
"""A crowd has one user. How often an address shakes hands is no setting: it comes from many."""
HEAD, CURSOR, EVENT = b'{"type":"event","channel":"', b'","cursor":"', b'","event":'
AGAIN_S = 0.05


class Subscriber:
    """One of the crowd. `number` decides its address."""

    def __init__(self, number: int, channels: Sequence[str], view: View = ALL, *, start: bool = True) -> None:
        self.number, self.view = number, view
        self.events: dict[str, list[int]] = {channel: [] for channel in channels}
        self.cursors: dict[str, str] = {}
        self.states: list[dict[str, Any]] = []
        self.subscribed = 0
        """How many of its channels are, on this connection."""
        self.told: list[float] = []
        """Each time that a node asked it to come back: in how many seconds."""
        self.attempts: list[float] = []
        """The loop's time whenever it knocked."""
        self.wrong: list[str] = []
        self.port = 0
        self._start = start
        self._away_s: float | None = None
        self._wire: Wire | None = None

    @property
    def ready(self) -> bool:
        """Whether it has all its channels now."""
        return self._wire is not None and self.subscribed == len(self.events)

    async def connect(self, port: int, token: str) -> Wire:
        """A connection with all its channels asked for, each behind what it has. Raises OSError."""
        self.attempts.append(asyncio.get_running_loop().time())
        self.subscribed, self._away_s = 0, None
        made = await wire.connect(port, token, self.take, number=self.number)
        self._wire, self.port = made, port
        view = {name: list(value) for name, value in self.view._asdict().items() if value}
        made.say(id=2, type="subscribe", channels=[self._wanted(channel) for channel in self.events], **view)
        return made

    async def follow(self, ports: Sequence[int], token: Callable[[], str]) -> None:
        """Follow for ever, on the first of these nodes, and on the next one whenever a connection ends."""
        turn = 0
        while True:
            try:
                made = await self.connect(ports[turn % len(ports)], token())
                await made.ended
            except OSError:
                await asyncio.sleep(AGAIN_S)
            self._wire = None
            turn += 1
            if self._away_s is not None:
                # The node has spread its clients over these times.
                await asyncio.sleep(self._away_s)

    def take(self, line: bytes) -> None:
        """A message came."""
        if not line.startswith(HEAD):
            self._other(json.loads(line))
            return
        at = line.index(CURSOR)
        behind = line.index(EVENT, at)
        channel = line[len(HEAD) : at].decode()
        self.cursors[channel] = line[at + len(CURSOR) : behind].decode()
        self.events[channel].append(mark(line[behind + len(EVENT) : -1]))

    def _wanted(self, channel: str) -> dict[str, str]:
        cursor = self.cursors.get(channel)
        if cursor is not None:
            return {"channel": channel, "cursor": cursor}
        return {"channel": channel, "from": "start"} if self._start else {"channel": channel}

    def _other(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "subscribed":
            self.subscribed += 1
        elif kind == "state":
            self.states.append(message)
        elif kind == "heartbeat":
            self.cursors.update(message["cursors"])
        elif kind == "reconnect":
            self.cursors.update(message["cursors"])
            self._away_s = message["in_ms"] / 1000
            self.told.append(self._away_s)
        elif kind in ("error", "reset", "skipped"):
            self.wrong.append(json.dumps(message)[:200])
