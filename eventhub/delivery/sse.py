"""`GET /v1/stream/sse?channel=`: the stream of one channel as Server-Sent Events, for networks that break WebSocket.

The same connection, outbox and messages; only the wire is another. The id of each event is the cursor to go on from, so
that a browser's own reconnect, by `Last-Event-ID`, is a resume (WHATWG HTML, 9.2). Tokens come in the header only.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from eventhub.delivery.connection import Connection
from eventhub.delivery.door import Door
from eventhub.delivery.frame import Frame
from eventhub.delivery.messages import Subscribe
from eventhub.errors import MalformedError

ENOUGH_BYTES = 65_536
"""What waits for the server at most, as in a transport; behind that it waits in the outbox."""
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
MEDIA_TYPE = "text/event-stream"
Known = Callable[[str], Awaitable[None]]
"""Returns when a channel of this name exists. Raises NotFoundError."""


class _Told(msgspec.Struct):
    """What of a message decides its id."""

    type: str
    cursor: str | None = None
    cursors: dict[str, str] = {}
    in_ms: int | None = None


_told = msgspec.json.Decoder(_Told).decode


class EventsWire:
    """Frames as they are taken by the response of one request."""

    def __init__(self, connection: Connection, channel: str) -> None:
        self._connection, self._channel = connection, channel
        self._parts: deque[bytes] = deque()
        self._held_bytes = 0
        self._over = False
        self._news = asyncio.Event()

    def write(self, frame: Frame) -> None:
        """Keep a frame for the response."""
        part = b"".join(event(line, self._channel) for line in frame.data.split(b"\n"))
        self._parts.append(part)
        self._held_bytes += len(part)
        self._news.set()
        if self._held_bytes > ENOUGH_BYTES:
            self._connection.outbox.pause()

    def waiting_bytes(self) -> int:
        """What the server has not taken."""
        return self._held_bytes

    def end(self, code: int, reason: str) -> None:
        """Nothing more comes."""
        self._over = True
        self._news.set()

    def abort(self) -> None:
        """Nothing more comes, and what is kept is lost."""
        self._parts.clear()
        self.end(0, "")

    async def parts(self) -> AsyncIterator[bytes]:
        """The response's body; the server asks for the next part when it has written the last."""
        while self._parts or not self._over:
            while self._parts:
                part = self._parts.popleft()
                yield part
                self._held_bytes -= len(part)
            if self._held_bytes == 0:
                self._connection.outbox.resume()
            self._news.clear()
            if not self._parts and not self._over:
                await self._news.wait()


class _Events(StreamingResponse):
    """The response, at whose end, and be it before its first part, the client is gone."""

    def __init__(self, wire: EventsWire, connection: Connection) -> None:
        super().__init__(wire.parts(), media_type=MEDIA_TYPE, headers=HEADERS)
        self._connection = connection

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write until the stream is over or the client has gone."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._connection.end()


def event(message: bytes, channel: str) -> bytes:
    """A message as an event of the stream: its type, the cursor to go on from, and the message as it is."""
    told = _told(message)
    cursor = told.cursor or told.cursors.get(channel)
    place = b"" if cursor is None else b"id: %s\n" % cursor.encode()
    retry = b"" if told.in_ms is None else b"retry: %d\n" % told.in_ms
    return b"%s%sevent: %s\ndata: %s\n\n" % (place, retry, told.type.encode(), message)


def events_route(door: Door, known: Known) -> Route:
    """The route."""

    async def stream(request: Request) -> Response:
        address, principal = door.come(request), door.holder(request)
        query, lost = request.query_params, request.headers.get("last-event-id")
        channel = query.get("channel")
        if not channel or len(query.getlist("channel")) > 1:
            raise MalformedError("name one channel: ?channel=match:ID", pointer="/channel")
        principal.allow(channel)
        await known(channel)
        if request.method == "HEAD":
            return Response(media_type=MEDIA_TYPE, headers=HEADERS)
        connection = door.enter(principal, address)
        wire = EventsWire(connection, channel)
        connection.outbox.attach(wire)
        connection.open()
        place = {"cursor": lost or query.get("cursor"), "from": query.get("from")}
        lists = {name: query[name].split(",") for name in ("lanes", "types", "languages") if query.get(name)}
        try:
            command = msgspec.convert({"type": "subscribe", "channel": channel, **place, **lists}, Subscribe)
            connection.follow(command)
        except BaseException as error:
            connection.end()
            if isinstance(error, msgspec.ValidationError):
                raise MalformedError(f"this is not understood: {error}") from error
            raise
        return _Events(wire, connection)

    return Route("/v1/stream/sse", stream, methods=["GET"], name="stream-sse")
