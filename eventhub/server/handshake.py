"""A WebSocket from its request to the application's answer; from then on the application's own protocol has it.

The application is asked by ASGI, so that its middleware and its refusals are those of every other request. When it has
accepted, it calls `scope["extensions"]["eventhub.hand_over"]` with a function that makes its protocol, and returns:
no task stays behind, and this object goes as well.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

import structlog
from uvicorn.protocols.utils import ClientDisconnected, get_local_addr, get_remote_addr, is_ssl
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request
from websockets.server import ServerProtocol

from eventhub.errors import EventhubError, MalformedError
from eventhub.web import problem

log = structlog.get_logger(__name__)
QUIET = logging.Logger(__name__, logging.WARNING)
"""websockets says of each connection that it was opened and closed."""
Make = Callable[[asyncio.Transport, Sequence[Extension]], asyncio.Protocol]
"""Makes the protocol of an accepted connection, from its transport and the extensions that were agreed on."""


class Handshake(asyncio.Protocol):
    """What uvicorn calls its WebSocket class."""

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any]) -> None:
        self._app, self._state, self._app_state = config.loaded_app, server_state, app_state
        # Without context takeover both ways: a frame is compressed once for all, and nothing is kept between frames.
        deflate = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)
        self._parser = ServerProtocol(extensions=[deflate], logger=QUIET)
        self._transport: asyncio.Transport | None = None
        self._began = self._answered = self._over = False
        self._refusal: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self._gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """uvicorn's HTTP connection hands over its transport."""
        self._transport = cast(asyncio.Transport, transport)
        self._state.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went before it was answered."""
        self._over = True
        self._state.connections.discard(self)
        self._gone.set()

    def shutdown(self) -> None:
        """The server ends."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """The request's head; whatever comes before it is answered is dropped."""
        if self._began:
            return None
        self._began = True
        self._parser.receive_data(data)
        requests = self._parser.events_received()
        if not requests:
            return self._refuse(MalformedError("this is not a WebSocket handshake"))
        request = cast(Request, requests[0])
        self._response = self._parser.accept(request)
        if self._response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._parser.send_response(self._response)
            return self._end(b"".join(self._parser.data_to_send()))
        task = asyncio.get_running_loop().create_task(self._ask(self._scope(request)))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)
        return None

    def _scope(self, request: Request) -> dict[str, Any]:
        transport = self._transport
        path, _, query = request.path.partition("?")
        protocols = [one for value in request.headers.get_all("Sec-WebSocket-Protocol") for one in value.split(",")]
        return {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if is_ssl(cast(Any, transport)) else "ws",
            "server": get_local_addr(cast(Any, transport)),
            "client": get_remote_addr(cast(Any, transport)),
            "root_path": "",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [
                (name.lower().encode(), value.encode("latin-1")) for name, value in request.headers.raw_items()
            ],
            "subprotocols": [one.strip() for one in protocols],
            "state": self._app_state.copy(),
            "extensions": {"websocket.http.response": {}, "eventhub.hand_over": self._hand_over},
        }

    async def _ask(self, scope: dict[str, Any]) -> None:
        said = [{"type": "websocket.connect"}]

        async def receive() -> dict[str, Any]:
            if not said:
                await self._gone.wait()
            return said.pop() if said else {"type": "websocket.disconnect", "code": 1006}

        try:
            await self._app(scope, receive, self._send)
        except ClientDisconnected:
            return
        except Exception as error:
            hint = "a defect: the client got 500; report it with this trace"
            log.error("handshake failed", error=repr(error), exc_info=error, hint=hint)
        if not self._over:
            # Accepted and not taken, or not answered at all.
            self._refuse(EventhubError("something went wrong here; it was logged"))

    async def _send(self, message: Any) -> None:
        kind = message["type"]
        if self._over:
            raise ClientDisconnected
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.http.response.start":
            self._refusal = message["status"], list(message.get("headers", []))
        elif kind == "websocket.http.response.body" and self._refusal is not None:
            # Refusals of this application are one piece.
            self._deny(*self._refusal, message.get("body", b""))
        else:
            self._deny(403, [], b"")

    def _accept(self, message: Any) -> None:
        headers = self._response.headers
        del headers["Date"]
        if message.get("subprotocol"):
            headers["Sec-WebSocket-Protocol"] = message["subprotocol"]
        for name, value in message.get("headers", []):
            headers[name.decode("latin-1")] = value.decode("latin-1")
        self._parser.send_response(self._response)
        self._answered = True
        self._write(b"".join(self._parser.data_to_send()))

    def _hand_over(self, make: Make) -> None:
        """From here on the made protocol has the transport, as if it had been there from the beginning."""
        transport = self._transport
        if transport is None or self._over or not self._answered:
            raise ClientDisconnected
        self._over = True
        self._state.connections.discard(self)
        transport.set_protocol(make(transport, self._parser.extensions))
        self._transport = None

    def _refuse(self, error: EventhubError) -> None:
        answer = problem(error)
        self._deny(answer.status_code, answer.raw_headers, bytes(answer.body))

    def _deny(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Answer with a problem, unless it was accepted: then there is nothing to say but to go."""
        lines = [
            b"%s: %s" % header for header in headers if header[0].lower() not in (b"connection", b"content-length")
        ]
        head = [b"HTTP/1.1 %d " % status, *lines, b"connection: close", b"content-length: %d" % len(body), b"", body]
        self._end(b"" if self._answered else b"\r\n".join(head))

    def _end(self, data: bytes) -> None:
        self._over = True
        self._write(data)
        if self._transport is not None:
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and data:
            self._transport.write(data)
