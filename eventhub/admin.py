"""`GET|PUT /v1/admin/mode` on the admin port: the operators' switch. A change is durable before it is answered."""

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from eventhub import web
from eventhub.errors import EventhubError, MalformedError, PreconditionError
from eventhub.mode import Mode, Setting, Wanted

MAX_BYTES = 16_384
Change = Callable[[Wanted], Awaitable[Setting]]
"""Makes the change for the whole platform, and returns once this node has it."""

_wanted = msgspec.json.Decoder(Wanted)


def routes(mode: Mode, change: Change) -> list[BaseRoute]:
    """The route; ETag and If-Match carry the revision (RFC 9110)."""

    async def get(_: Request) -> Response:
        return _reply(mode.current)

    async def put(request: Request) -> Response:
        try:
            wanted = _wanted.decode(await web.read_body(request, MAX_BYTES))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedError(f"the mode cannot be read: {str(error)[:200]}") from error
        wanted.revision = _revision(request.headers.get("if-match"), wanted.revision)
        wanted.actor = wanted.actor.strip() or f"admin port, {request.client.host if request.client else 'unknown'}"
        return _reply(await change(wanted))

    async def by_method(request: Request) -> Response:
        try:
            return await (get if request.method in ("GET", "HEAD") else put)(request)
        except EventhubError as error:
            return web.problem(error)

    return [Route("/v1/admin/mode", by_method, methods=["GET", "PUT"])]


def _reply(setting: Setting) -> Response:
    answer = web.reply(setting)
    answer.headers["ETag"] = f'"{setting.revision}"'
    return answer


def _revision(if_match: str | None, told: int | None) -> int | None:
    """The revision that is to be replaced; None for `*`."""
    if if_match is None:
        if told is None:
            raise PreconditionError("send If-Match with the ETag that GET gave, or * to replace whatever is there")
        return told
    text = if_match.strip().removeprefix("W/").strip('"')
    if text == "*":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise MalformedError(f'If-Match is {if_match[:40]!r}; it is the ETag that GET gave, such as "3"')
    return int(text)
