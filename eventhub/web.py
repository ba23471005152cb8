"""The ASGI kit: problem+json for every error, bodies read under a limit."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eventhub.errors import (
    EventhubError,
    MalformedError,
    NotAllowedError,
    NotFoundError,
    TooLargeError,
    TooSlowError,
)

PROBLEM = "application/problem+json"
JSON = "application/json"
READ_TIMEOUT_S = 10
"""The longest silence within a body."""
BODY_GRACE_S, BODY_MIN_RATE = 10, 16_384
"""A body has 10 s, and a second more for every 16 KiB of it that came: a byte a second is not progress."""
INFLATE_BYTES = 65_536
"""How much is inflated at a time, so that a small body that inflates to a large one does not hold up the live feed."""
log = structlog.get_logger(__name__)


def problem(error: EventhubError, **more: object) -> Response:
    """The error as RFC 9457 wants it; `type` names the code's place in the documents."""
    body: dict[str, object] = {
        "type": f"urn:eventhub:problem:{error.name}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.name,
        "errors": [{"pointer": error.pointer, "detail": error.detail}] if error.pointer is not None else [],
    }
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status == 408:
        headers["Connection"] = "close"
    return Response(msgspec.json.encode(body | more), error.status, headers, PROBLEM)


def reply(value: object, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(value), status, media_type=JSON)


async def on_error(request: Request, error: Exception) -> Response:
    """Exception handler of the application: named errors as they are, others as `internal` without their text."""
    if isinstance(error, EventhubError):
        return problem(error)
    if isinstance(error, HTTPException):
        return _routing(request, error)
    if isinstance(error, ClientDisconnect):
        return Response(status_code=400)
    log.error("request failed", error=repr(error), exc_info=error)
    return problem(EventhubError("something went wrong here; it was logged"))


def handlers() -> dict[Any, Any]:
    """The exception handlers of an application: every refusal is a problem, also those of the router."""
    # A client that goes is named here: what only the handler of `Exception` takes is raised again, and logged.
    return dict.fromkeys((EventhubError, HTTPException, ClientDisconnect), on_error)


def _routing(request: Request, error: HTTPException) -> Response:
    """What the router says for a path or method that is not there."""
    if error.status_code == 404:
        return problem(NotFoundError(f"there is no {request.scope['path'][:80]!r}; see the paths in /openapi.json"))
    if error.status_code == 405:
        allowed = ", ".join(sorted(_methods(request)))
        answer = problem(NotAllowedError(f"{request.method[:20]} is not allowed here; {allowed} is"))
        answer.headers["Allow"] = allowed
        return answer
    return problem(MalformedError(str(error.detail)[:200]))


def _methods(request: Request) -> set[str]:
    """Every method of this path; the router's own answer names those of one route only."""
    found: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return found


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The request's body, inflated when it is gzip; never holds more than the limit.

    Raises TooLargeError as soon as the limit is passed, MalformedError for a gzip stream that is cut, broken or
    followed by anything, TooSlowError when the body does not progress.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise MalformedError(f"content-encoding {encoding[:40]!r} is not understood; send gzip or none")
    declared = request.headers.get("content-length", "0")
    size = int(declared) if declared.isdecimal() and len(declared) < 20 else 0
    too_large = TooLargeError(f"the body is larger than {limit_bytes} bytes; send smaller batches")
    if size > limit_bytes:
        raise too_large
    gunzip = _Gunzip() if encoding == "gzip" else None
    parts: list[bytes] = []
    size = 0
    async for chunk in _arriving(request):
        for part in (chunk,) if gunzip is None else gunzip.parts(chunk):
            size += len(part)
            if size > limit_bytes:
                raise too_large
            parts.append(part)
            if gunzip is not None:
                await asyncio.sleep(0)
    if gunzip is not None:
        gunzip.check()
    return b"".join(parts)


async def _arriving(request: Request) -> AsyncIterator[bytes]:
    """The body's bytes as they come. Raises TooSlowError."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + BODY_GRACE_S
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout_at(min(ends, loop.time() + READ_TIMEOUT_S)):
                chunk = await anext(stream, None)
        except TimeoutError as error:
            raise TooSlowError("the body came too slowly; send it again, in smaller batches") from error
        if chunk is None:
            return
        ends += len(chunk) / BODY_MIN_RATE
        yield chunk


class _Gunzip:
    """One gzip stream, a part at a time. Raises MalformedError."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(31)

    def parts(self, data: bytes) -> Iterator[bytes]:
        """Inflate these bytes, each part at most INFLATE_BYTES."""
        stream = self._stream
        while True:
            try:
                part = stream.decompress(data, INFLATE_BYTES)
            except zlib.error as error:
                raise MalformedError("the gzip body is broken") from error
            yield part
            data = stream.unconsumed_tail
            if stream.unused_data:
                raise MalformedError("bytes follow the end of the gzip body; send one gzip stream")
            if not data and len(part) < INFLATE_BYTES:
                return

    def check(self) -> None:
        """The stream is over: it must be whole."""
        if not self._stream.eof:
            raise MalformedError("the gzip body is cut short")


class ModeHeader:
    """ASGI middleware: every answer names the mode that it was given in, as `Eventhub-Mode`."""

    def __init__(self, app: ASGIApp, mode: Callable[[], str]) -> None:
        self._app, self._mode = app, mode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, with the header added where an answer starts."""

        async def named(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start", "websocket.accept"):
                headers = [*message.get("headers", ()), (b"eventhub-mode", self._mode().encode())]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, named)


class Guard:
    """ASGI middleware: a failure without a name is logged here, and answered as a problem that tells nothing of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on; a failure after the answer has begun goes to the server, which cuts the connection."""
        begun = scope["type"] != "http"

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            if begun:
                raise
            await (await on_error(Request(scope), error))(scope, receive, send)
