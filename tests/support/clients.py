"""A WebSocket client that keeps what it got, byte for byte, and resumes by cursor as INTERFACE says."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import websockets

from eventhub.documents import frames
from eventhub.tasks import end

EVENT = b'"event":'


class Client:
    """Subscribes to channels on any of several nodes and collects every event's bytes in the order of arrival."""

    def __init__(self, urls: Sequence[str], token: Callable[[], str]) -> None:
        self.urls, self._token = list(urls), token
        self.events: dict[str, list[bytes]] = {}
        self.states: dict[str, list[dict[str, Any]]] = {}
        self.resets: list[dict[str, Any]] = []
        self.errors: list[dict[str, Any]] = []
        self.recovered: list[bool] = []
        self.connections = 0
        self.heartbeats: list[dict[str, Any]] = []
        self.connects: list[dict[str, Any]] = []
        self.notices: list[tuple[float, dict[str, Any]]] = []
        """Each with the loop's time of its arrival."""
        self._unasked: list[str] = []
        self._cursors: dict[str, str | None] = {}
        self._starts: dict[str, str | None] = {}
        self._socket: Any = None
        self._task: asyncio.Task[None] | None = None
        self._id = 1
        self._documented: msgspec.json.Decoder[Any] = msgspec.json.Decoder(frames.AnySent)

    async def __aenter__(self) -> "Client":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        if self._task.done():
            # It never ends by itself: a client that died has shown nothing since, and says why.
            self._task.result()
        await end(self._task)

    async def subscribe(self, channel: str, *, start: str | None = None, cursor: str | None = None) -> None:
        """From the start, after a cursor, or (neither) with a state."""
        self.events.setdefault(channel, [])
        self.states.setdefault(channel, [])
        self._cursors[channel], self._starts[channel] = cursor, start
        self._unasked.append(channel)
        if self._socket is not None and len(self._unasked) == 1:
            # Those that are subscribed at once go in one command, which counts as one change.
            asyncio.get_running_loop().call_soon(lambda: asyncio.create_task(self._ask_all()))

    def cursor(self, channel: str) -> str | None:
        return self._cursors[channel]

    async def drop(self) -> None:
        """Cut the connection; it comes back by itself and resumes."""
        if self._socket is not None:
            await self._socket.close()

    async def _run(self) -> None:
        turn = 0
        while True:
            url = self.urls[turn % len(self.urls)]
            turn += 1
            try:
                await self._session(url)
            except (OSError, websockets.WebSocketException, TimeoutError):
                await asyncio.sleep(0.05)
            finally:
                self._socket = None

    async def _session(self, url: str) -> None:
        address = url.replace("http", "ws", 1) + "/v1/stream"
        async with websockets.connect(
            address,
            subprotocols=[websockets.Subprotocol("eventhub.v1+json")],
            open_timeout=5,
            max_size=None,
            proxy=None,
            ping_interval=None,
        ) as socket:
            await socket.send(json.dumps({"id": 0, "type": "connect", "token": self._token()}))
            self.connections += 1
            self._socket = socket
            self._unasked = list(self._cursors)
            await self._ask_all()
            while True:
                # A node that is frozen or gone without a word is left after a while, as an SDK would.
                # Not wait_for: Python 3.11's loses a cancellation that comes together with a frame.
                async with asyncio.timeout(10):
                    frame = await socket.recv(decode=False)
                for line in frame.split(b"\n"):
                    self._take(line)

    async def _ask_all(self) -> None:
        channels, self._unasked = self._unasked, []
        if self._socket is None or not channels:
            return
        self._id += 1
        command = {"id": self._id, "type": "subscribe", "channels": [self._wanted(channel) for channel in channels]}
        with contextlib.suppress(websockets.ConnectionClosed):
            await self._socket.send(json.dumps(command))

    def _wanted(self, channel: str) -> dict[str, Any]:
        wanted = {"channel": channel}
        if (cursor := self._cursors[channel]) is not None:
            wanted["cursor"] = cursor
        elif (start := self._starts[channel]) is not None:
            wanted["from"] = start
        return wanted

    def _take(self, line: bytes) -> None:
        message = json.loads(line)
        kind = message["type"]
        # What the documents say of messages is held by every test with a client; of events one is enough.
        if kind != "event" or not self.events[message["channel"]]:
            self._documented.decode(line)
        if kind == "event":
            channel = message["channel"]
            self._cursors[channel] = message["cursor"]
            # The bytes as they stand in the frame: from behind the field's name to the message's last brace.
            self.events[channel].append(line[line.index(EVENT) + len(EVENT) : -1])
        elif kind == "state":
            self._cursors[message["channel"]] = message["cursor"]
            self.states[message["channel"]].append(message)
        elif kind == "reset":
            self._cursors[message["channel"]] = message["cursor"]
            self.resets.append(message)
        elif kind == "subscribed":
            self.recovered.append(message["recovered"])
        elif kind == "error":
            self.errors.append(message)
        elif kind == "heartbeat":
            self.heartbeats.append(message)
        elif kind == "connected":
            self.connects.append(message)
        elif kind == "notice":
            self.notices.append((asyncio.get_running_loop().time(), message))
