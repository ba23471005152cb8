"""`GET /v1/stream`: the handshake, after which a wire on the transport is all that is left of the request."""

import asyncio
from collections.abc import Sequence

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.extensions import Extension

from eventhub.delivery.door import Door
from eventhub.delivery.messages import SUBPROTOCOL
from eventhub.delivery.wire import SocketWire
from eventhub.errors import EventhubError, MalformedError
from eventhub.web import problem


def stream_route(door: Door, max_bytes: int) -> WebSocketRoute:
    """The route; a message of a client has at most `max_bytes`."""

    async def stream(socket: WebSocket) -> None:
        try:
            address = door.come(socket)
            _speaks_ours(socket)
            connection = door.enter(door.named(socket), address)
        except EventhubError as error:
            return await socket.send_denial_response(problem(error))

        def take_over(transport: asyncio.Transport, extensions: Sequence[Extension]) -> SocketWire:
            wire = SocketWire(transport, connection, extensions=extensions, max_bytes=max_bytes)
            connection.outbox.attach(wire)
            connection.open()
            return wire

        try:
            await socket.accept(SUBPROTOCOL)
            socket.scope["extensions"]["eventhub.hand_over"](take_over)
        except BaseException:
            connection.end()
            raise
        return None

    return WebSocketRoute("/v1/stream", stream, name="stream")


def _speaks_ours(socket: WebSocket) -> None:
    if SUBPROTOCOL not in socket.scope["subprotocols"]:
        raise MalformedError(f"the stream speaks the subprotocol {SUBPROTOCOL}; ask for it in Sec-WebSocket-Protocol")
