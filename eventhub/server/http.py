"""uvicorn around an ASGI application: sockets bound before anything is served, signals left to the node.

What uvicorn leaves unbounded is bounded here: how large and how slow a request's head may be, how long a client may go
on sending what nobody reads, and how many connections may wait without a request.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from eventhub.errors import (
    ConfigError,
    EventhubError,
    HeadTooLargeError,
    MalformedError,
    TooSlowError,
    UnavailableError,
)
from eventhub.web import problem

NEXT_PORTS = 20
START_TIMEOUT_S = 10
STOP_TIMEOUT_S = 5
HEAD_TIMEOUT_S = 10
"""From the connection, or from a later request's first byte, to the end of its head."""
LINGER_S = 5
"""How long a client may go on sending after its answer, so that it can read the answer."""
URL_BYTES = 8_000
HEADER_BYTES = 8_000
HEADERS = 100
"""A line and their number stay below what websockets takes (8,192 and 128), whose refusals say nothing."""
HEAD_BYTES = 65_536
WAITING = 2_000
"""Connections without a request; one more, and the one that waits longest goes."""
FRAGMENTS = 1_000
"""Frames of one WebSocket message; its bytes are limited by `ws_max_size`, and an empty frame has none."""


def bind(host: str, port: int, *, exact: bool, setting: str) -> socket.socket:
    """A listening socket; the next free port when `exact` is False. Raises ConfigError when the port is taken."""
    for candidate in range(port, port + (1 if exact or port == 0 else NEXT_PORTS)):
        try:
            return socket.create_server((host, candidate), backlog=2048, reuse_port=False)
        except OSError as error:
            refusal = error
    raise ConfigError(f"cannot listen on {host}:{port} ({refusal.strerror}); choose another port by {setting}")


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The node handles signals for both of its listeners."""
        yield


class _Http(HttpToolsProtocol):
    """One HTTP connection. `waiting` holds this listener's connections without a request, the oldest first."""

    def __init__(self, *args: Any, waiting: dict["_Http", None], **more: Any) -> None:
        super().__init__(*args, **more)
        self._waiting = waiting
        self._timer: asyncio.TimerHandle | None = None
        self._refusal: EventhubError | None = None
        self._refused = False
        self._began = self._in_head = self._moved = False
        self._still_bytes = self._header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._set_timer(HEAD_TIMEOUT_S, self._head_is_late)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._waiting.pop(self, None)
        self._clear_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._moved = False
        super().data_received(data)
        if self._refused or self.transport.is_closing() or self.transport.get_protocol() is not self:
            return
        # Neither a new request nor a part of a body: a head, trailer or chunk extension that grows.
        self._still_bytes = 0 if self._moved else self._still_bytes + len(data)
        if self._still_bytes > HEAD_BYTES:
            self._refuse(HeadTooLargeError(f"the request's head is larger than {HEAD_BYTES} bytes"))
        elif self._timer is None and (self._in_head or self._is_idle()):
            self._set_timer(HEAD_TIMEOUT_S, self._head_is_late)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._began = self._in_head = self._moved = True
        self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if not url.isascii():
            self._stop(MalformedError("the URL has bytes that are not ASCII; write them as %XX"))
        if len(self.url) > URL_BYTES:
            self._stop(HeadTooLargeError(f"the URL is longer than {URL_BYTES} bytes"))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        size = len(name) + len(value)
        self._header_bytes += size
        if size > HEADER_BYTES:
            self._stop(HeadTooLargeError(f"a header has {size} bytes; at most {HEADER_BYTES} are taken"))
        if len(self.headers) > HEADERS or self._header_bytes > HEAD_BYTES:
            self._stop(HeadTooLargeError(f"at most {HEADERS} headers of {HEAD_BYTES} bytes together are taken"))

    def on_headers_complete(self) -> None:
        self._in_head, self._moved = False, True
        self._waiting.pop(self, None)
        self._clear_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self.cycle is not None and self.cycle.response_complete:
            self._clear_timer()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self.cycle.more_body and self.cycle.response_complete:
            # Answered before the body was read; what still comes is thrown away, but not for ever.
            self._set_timer(LINGER_S, self._close)
        elif not self._in_head:
            self._wait()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came on a connection that was kept."""
        self._close()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls when the parser stops."""
        self._refuse(self._refusal or MalformedError("this is not an HTTP request"))

    def _stop(self, refusal: EventhubError) -> None:
        """Stop the parser from inside one of its callbacks."""
        self._refusal = refusal
        raise refusal

    def _refuse(self, error: EventhubError) -> None:
        """Answer, end our side, and throw away what comes until the client has gone or LINGER_S are over."""
        self._refused = True
        self._waiting.pop(self, None)
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body and not self.pipeline:
                # The request before this one is whole and at work: it gets its own answer, and then it ends.
                cycle.keep_alive = False
                return None
            if cycle.response_started or self.pipeline:
                return self._close()
            cycle.disconnected = True
            cycle.message_event.set()
        answer = problem(error)
        head = [b"HTTP/1.1 %d \r\n" % answer.status_code]
        head += [b"%s: %s\r\n" % header for header in answer.raw_headers if header[0] != b"connection"]
        self.transport.write(b"".join([*head, b"connection: close\r\n\r\n", bytes(answer.body)]))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._set_timer(LINGER_S, self._close)
        return None

    def _head_is_late(self) -> None:
        self._timer = None
        if self._in_head and (self.cycle is None or self.cycle.response_complete):
            self._refuse(TooSlowError(f"the request's head took longer than {HEAD_TIMEOUT_S} s"))
        elif self._in_head:
            self.cycle.keep_alive = False
        else:
            self._close()

    def _is_idle(self) -> bool:
        return self.cycle is None or (self.cycle.response_complete and not self.cycle.more_body)

    def _wait(self) -> None:
        self._waiting[self] = None
        if len(self._waiting) > WAITING:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest._close()

    def _close(self) -> None:
        """Close once all is written; whoever does not read it loses the rest after LINGER_S."""
        self.transport.close()
        self.loop.call_later(LINGER_S, self.transport.abort)

    def _set_timer(self, after_s: float, then: Any) -> None:
        self._clear_timer()
        self._timer = self.loop.call_later(after_s, then)

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _WebSocket(WebSocketsSansIOProtocol):
    """One WebSocket connection; its pongs and its fragments are bounded, and a text that is no UTF-8 is no alarm."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # The handshake cannot be read, which is told to nobody: the connection would stay open for ever.
            self.handshake_initiated = self.handshake_complete = self.close_sent = True
            body = bytes(problem(MalformedError("this is not a WebSocket handshake")).body)
            self.transport.write(
                b"HTTP/1.1 400 \r\ncontent-type: application/problem+json\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\n%s" % (len(body), body)
            )
            self.transport.close()

    def handle_cont(self, event: Any) -> None:
        if len(self.frames) >= FRAGMENTS:
            self._end(1009, "too many fragments")
        else:
            super().handle_cont(event)

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:
            # Whoever pings and does not read would fill our memory with pongs.
            self.conn.data_to_send()

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self._end(1007, "not UTF-8")
                return
        super().send_receive_event_to_app()

    def _end(self, code: int, reason: str) -> None:
        self.frames = []
        if not self.close_sent:
            self.conn.send_close(code, reason)
            self.handle_parser_exception()


class Listener:
    """Serves one application on one bound socket, between `async with`."""

    def __init__(self, app: Any, bound: socket.socket) -> None:
        waiting: dict[_Http, None] = {}
        config = uvicorn.Config(
            app,
            # uvicorn calls it like a class and asks nothing else of it.
            http=cast(type[asyncio.Protocol], partial(_Http, waiting=waiting)),
            ws=_WebSocket,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            ws_max_size=65_536,
            ws_ping_interval=None,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
        )
        self._server = _Server(config)
        self._bound = bound
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it serves."""
        host, port = self._bound.getsockname()[:2]
        return f"http://{host}:{port}"

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._server.serve(sockets=[self._bound]))
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
        while not self._server.started:
            if self._task.done() or asyncio.get_running_loop().time() > deadline:
                raise UnavailableError(f"the server on {self.url} did not start")
            await asyncio.sleep(0.005)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.wait([self._task], timeout=STOP_TIMEOUT_S + 1)
