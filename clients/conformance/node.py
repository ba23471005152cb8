"""The scripted node: plays scenarios on loopback, each under a path of its own, and notes what it is asked for."""

import asyncio
import http
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import websockets
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode
from websockets.http11 import Request, Response

from clients.conformance.scenarios import Scenario
from clients.conformance.steps import (
    ANSWER,
    Close,
    Connection,
    Cut,
    Frame,
    Half,
    Heard,
    Json,
    Left,
    Step,
    end,
    subscribed,
)

SUBPROTOCOL = websockets.Subprotocol("eventhub.v1+json")
STREAM = re.compile(r"/(\d+)/v1/stream")
ENOUGH = Connection((Frame((subscribed(), end())),))
"""What a client gets that comes more often than it should: its transcript is then another one."""


class Asked(NamedTuple):
    """One subscribe of a client: for what, when by the loop's clock, and with which view."""

    channels: list[Json]
    at: float
    view: Json


class Played:
    """A scenario under way: what was asked for, and with which tokens."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.asked: list[Asked] = []
        self.tokens: list[str] = []
        self.complaints: list[str] = []
        self._left = list(scenario.connections)

    def next_connection(self) -> Connection:
        return self._left.pop(0) if self._left else ENOUGH


class Peer:
    """One connection as the node has it."""

    def __init__(self, socket: ServerConnection, played: Played) -> None:
        self._socket, self._played = socket, played
        self._answers: Any = None

    async def play(self, connection: Connection) -> None:
        await self._hear("connect")
        connected = {"session": "s", "node": "n", "ping_s": connection.ping_s, "mode": connection.mode, "limits": {}}
        await self._say([{"id": self._answers, "type": "connected", **connected}])
        await self._hear("subscribe")
        for step in connection.steps:
            await self._do(step)
        # The client ends it, or has been told to.
        await self._socket.wait_closed()

    async def _do(self, step: Step) -> None:
        match step:
            case Frame(messages):
                await self._say(messages)
            case Half(messages):
                self._cut_in(messages)
            case Close(code, reason):
                await self._socket.close(code, reason)
            case Heard(kind):
                await self._hear(kind)
            case Left():
                await self._socket.wait_closed()
            case Cut():
                self._socket.transport.abort()

    async def _hear(self, kind: str) -> None:
        while True:
            command = json.loads(await self._socket.recv())
            self._note(command)
            if command["type"] == kind:
                self._answers = command["id"]
                return

    def _note(self, command: Json) -> None:
        if "token" in command:
            self._played.tokens.append(command["token"])
        if command["type"] == "subscribe":
            one = {k: command[k] for k in ("channel", "cursor", "from") if command.get(k) is not None}
            channels = ([one] if one else []) + command.get("channels", [])
            view = {k: command[k] for k in ("lanes", "types", "languages") if command.get(k)}
            self._played.asked.append(Asked(channels, asyncio.get_running_loop().time(), view))

    async def _say(self, messages: Sequence[Json]) -> None:
        await self._socket.send(self._text(messages))

    def _text(self, messages: Sequence[Json]) -> str:
        return "\n".join(json.dumps({**m, "id": self._answers} if m.get("id") == ANSWER else m) for m in messages)

    def _cut_in(self, messages: Sequence[Json]) -> None:
        whole = WireFrame(Opcode.TEXT, self._text(messages).encode()).serialize(mask=False)
        self._socket.transport.write(whole[: len(whole) // 2])
        # Not abort: what was written is to arrive.
        self._socket.transport.close()


@asynccontextmanager
async def playing(scenarios: Sequence[Scenario], files: Mapping[str, bytes]) -> AsyncIterator[tuple[str, list[Played]]]:
    """A node that plays them, each at its number: its address, and what it notes. `files` are served by their path."""
    games = [Played(one) for one in scenarios]

    def give(_: ServerConnection, request: Request) -> Response | None:
        if STREAM.fullmatch(request.path):
            return None
        content = files.get(request.path)
        kind = "text/javascript" if request.path.endswith(".js") else "text/html"
        if content is None:
            return Response(404, "Not Found", Headers({"Content-Length": "0"}), b"")
        headers = Headers({"Content-Type": kind, "Content-Length": str(len(content)), "Connection": "close"})
        return Response(http.HTTPStatus.OK, "OK", headers, content)

    async def take(socket: ServerConnection) -> None:
        assert socket.request is not None
        found = STREAM.fullmatch(socket.request.path)
        assert found is not None
        game = games[int(found[1])]
        try:
            await Peer(socket, game).play(game.next_connection())
        except websockets.ConnectionClosed:
            pass
        except (ValueError, KeyError) as error:
            game.complaints.append(f"the client said something that is no command: {error!r}")

    async with serve(
        take, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL], process_request=give, compression=None, ping_interval=None
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"http://127.0.0.1:{port}", games
