"""`GET /v1/stream`: the handshake, after which a wire on the transport is all that is left of the request."""

import asyncio
from collections.abc import Callable, Sequence

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.extensions import Extension

from eventhub.auth import bearer
from eventhub.delivery.connection import Connection
from eventhub.delivery.messages import SUBPROTOCOL
from eventhub.delivery.origin import Origins
from eventhub.delivery.ports import Check, Principal
from eventhub.delivery.wire import SocketWire
from eventhub.errors import EventhubError, MalformedError
from eventhub.web import problem

Enter = Callable[[Principal | None, str], Connection]
"""Makes the connection of a client that came through the handshake, from this address.

Raises UnavailableError while draining, LimitError for an address that has too many.
"""
AddressOf = Callable[[str | None, str], str]
"""From the peer's address and X-Forwarded-For to the address that is counted."""


def stream_route(check: Check, enter: Enter, address_of: AddressOf, origins: Origins, max_bytes: int) -> WebSocketRoute:
    """The route; a message of a client has at most `max_bytes`."""

    async def stream(socket: WebSocket) -> None:
        try:
            origins.check(socket.headers.get("origin"), socket.headers.get("host"))
            peer = socket.client.host if socket.client is not None else None
            address = address_of(peer, ",".join(socket.headers.getlist("x-forwarded-for")))
            connection = enter(_handshake(socket, check), address)
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


def _handshake(socket: WebSocket, check: Check) -> Principal | None:
    if SUBPROTOCOL not in socket.scope["subprotocols"]:
        raise MalformedError(f"the stream speaks the subprotocol {SUBPROTOCOL}; ask for it in Sec-WebSocket-Protocol")
    authorization = socket.headers.get("authorization")
    return None if authorization is None else check(bearer(authorization))
