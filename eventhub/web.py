"""The ASGI kit: problem+json for every error, bodies read under a limit."""

import zlib

import msgspec
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from eventhub.errors import EventhubError, MalformedError, TooLargeError

PROBLEM = "application/problem+json"
JSON = "application/json"
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
    return Response(msgspec.json.encode(body | more), error.status, headers, PROBLEM)


def reply(value: object, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(value), status, media_type=JSON)


async def on_error(_: Request, error: Exception) -> Response:
    """Exception handler of the application: named errors as they are, others as `internal` without their text."""
    if isinstance(error, EventhubError):
        return problem(error)
    if isinstance(error, ClientDisconnect):
        return Response(status_code=400)
    log.error("request failed", error=repr(error), exc_info=error)
    return problem(EventhubError("something went wrong here; it was logged"))


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The request's body, inflated when it is gzip; never holds more than the limit.

    Raises TooLargeError as soon as the limit is passed, MalformedError for a gzip stream that is cut or broken.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise MalformedError(f"content-encoding {encoding!r} is not understood; send gzip or none")
    inflate = zlib.decompressobj(31) if encoding == "gzip" else None
    parts: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            part = inflate.decompress(chunk, limit_bytes + 1) if inflate is not None else chunk
            size += len(part)
            if size > limit_bytes or (inflate is not None and inflate.unconsumed_tail):
                raise TooLargeError(f"the body is larger than {limit_bytes} bytes; send smaller batches")
            parts.append(part)
    except zlib.error as error:
        raise MalformedError("the gzip body is broken") from error
    if inflate is not None and not inflate.eof:
        raise MalformedError("the gzip body is cut short")
    return b"".join(parts)
