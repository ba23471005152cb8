"""One HTTP connection. What uvicorn leaves unbounded is bounded here: how large and how slow a request's head may be,
how long a client may go on sending what nobody reads, and how many connections may wait without a request.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from eventhub.errors import EventhubError, HeadTooLargeError, MalformedError, TooSlowError
from eventhub.web import problem

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


class Http(HttpToolsProtocol):
    """One HTTP connection. `waiting` holds this listener's connections without a request, the oldest first."""

    def __init__(self, *args: Any, waiting: dict["Http", None], **more: Any) -> None:
        super().__init__(*args, **more)
        self._waiting = waiting
        self._timer: asyncio.TimerHandle | None = None
        self._refusal: EventhubError | None = None
        self._refused = False
        self._began = self._in_head = self._moved = False
        self._still_bytes = self._header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there; its first request is waited for."""
        super().connection_made(transport)
        self._set_timer(HEAD_TIMEOUT_S, self._head_is_late)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._waiting.pop(self, None)
        self._clear_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came: uvicorn parses them, and what does not move on is bounded."""
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
        """A request begins."""
        super().on_message_begin()
        self._began = self._in_head = self._moved = True
        self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part of the URL."""
        super().on_url(url)
        if not url.isascii():
            self._stop(MalformedError("the URL has bytes that are not ASCII; write them as %XX"))
        if len(self.url) > URL_BYTES:
            self._stop(HeadTooLargeError(f"the URL is longer than {URL_BYTES} bytes"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        super().on_header(name, value)
        size = len(name) + len(value)
        self._header_bytes += size
        if size > HEADER_BYTES:
            self._stop(HeadTooLargeError(f"a header has {size} bytes; at most {HEADER_BYTES} are taken"))
        if len(self.headers) > HEADERS or self._header_bytes > HEAD_BYTES:
            self._stop(HeadTooLargeError(f"at most {HEADERS} headers of {HEAD_BYTES} bytes together are taken"))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head, self._moved = False, True
        self._waiting.pop(self, None)
        self._clear_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        super().on_message_complete()
        if self.cycle is not None and self.cycle.response_complete:
            self._clear_timer()

    def on_response_complete(self) -> None:
        """The answer is written."""
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
