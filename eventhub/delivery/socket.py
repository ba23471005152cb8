"""`GET /v1/stream` on the ASGI server: the handshake, frames in, frames out."""

import asyncio
from collections.abc import Callable

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from eventhub.auth import bearer
from eventhub.delivery.connection import Connection
from eventhub.delivery.messages import SUBPROTOCOL, Frame
from eventhub.delivery.ports import Check, Principal
from eventhub.errors import EventhubError, MalformedError
from eventhub.tasks import end
from eventhub.web import problem

Enter = Callable[[Principal | None], Connection]
"""Makes the connection of a client that came through the handshake. Raises UnavailableError while draining."""


class AsgiWire:
    """A client on an ASGI server; later a raw transport takes its place."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def send(self, frame: Frame) -> None:
        """Write a text frame; waits while the server's buffer for this client is full."""
        await self._socket.send({"type": "websocket.send", "text": frame.text})

    async def close(self, code: int, reason: str) -> None:
        """Send the close frame."""
        await self._socket.close(code, reason)


def stream_route(check: Check, enter: Enter, leave: Callable[[Connection], None]) -> WebSocketRoute:
    """The route; `leave` is called once for every connection that `enter` made."""

    async def stream(socket: WebSocket) -> None:
        try:
            connection = enter(_handshake(socket, check))
        except EventhubError as error:
            return await socket.send_denial_response(problem(error))
        try:
            await socket.accept(SUBPROTOCOL)
            connection.open()
            await _serve(socket, connection)
        finally:
            connection.end()
            leave(connection)
        return None

    return WebSocketRoute("/v1/stream", stream, name="stream")


def _handshake(socket: WebSocket, check: Check) -> Principal | None:
    if SUBPROTOCOL not in socket.scope["subprotocols"]:
        raise MalformedError(f"the stream speaks the subprotocol {SUBPROTOCOL}; ask for it in Sec-WebSocket-Protocol")
    authorization = socket.headers.get("authorization")
    return None if authorization is None else check(bearer(authorization))


async def _serve(socket: WebSocket, connection: Connection) -> None:
    tasks = [
        asyncio.create_task(connection.outbox.pump(AsgiWire(socket))),
        asyncio.create_task(_listen(socket, connection)),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(*tasks)
    for task in done:
        # The client went, or did not take its last frames: both are ends, not errors.
        if not task.cancelled() and not isinstance(task.exception(), (WebSocketDisconnect, TimeoutError, type(None))):
            task.result()


async def _listen(socket: WebSocket, connection: Connection) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        if text is None:
            connection.refuse(MalformedError("the stream takes text frames, this one is binary"))
        else:
            connection.handle(text)
