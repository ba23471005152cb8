"""`/v1/auth/…`: login, refresh, logout, and the public keys. Tokens go in bodies only, never in a URL."""

from collections.abc import Callable
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from eventhub import web
from eventhub.accounts.service import Granted, Service
from eventhub.errors import MalformedError

MAX_BYTES = 8192
KEYS_AGE_S = 300
T = TypeVar("T")
AddressOf = Callable[[str | None, str], str]
"""From the peer and X-Forwarded-For to the address that is counted."""


class Login(msgspec.Struct, forbid_unknown_fields=True):
    """Who logs in, with the password."""

    user: str
    password: str


class Refresh(msgspec.Struct, forbid_unknown_fields=True):
    """The refresh token of the last login or refresh."""

    refresh_token: str


def routes(service: Service, address_of: AddressOf) -> list[BaseRoute]:
    """The routes."""

    async def login(request: Request) -> Response:
        wanted = await _body(request, Login)
        peer = request.client.host if request.client is not None else None
        address = address_of(peer, ",".join(request.headers.getlist("x-forwarded-for")))
        return _granted(await service.login(wanted.user, wanted.password, address))

    async def refresh(request: Request) -> Response:
        return _granted(await service.refresh((await _body(request, Refresh)).refresh_token))

    async def logout(request: Request) -> Response:
        await service.logout((await _body(request, Refresh)).refresh_token)
        return Response(status_code=204)

    async def jwks(_: Request) -> Response:
        answer = web.reply(service.jwks())
        answer.headers["Cache-Control"] = f"public, max-age={KEYS_AGE_S}"
        return answer

    return [
        Route("/v1/auth/login", login, methods=["POST"], name="login"),
        Route("/v1/auth/refresh", refresh, methods=["POST"], name="refresh"),
        Route("/v1/auth/logout", logout, methods=["POST"], name="logout"),
        Route("/v1/auth/jwks.json", jwks, methods=["GET"], name="jwks"),
    ]


async def _body(request: Request, kind: type[T]) -> T:
    """The body. Raises MalformedError, which tells nothing of what was in it."""
    body = await web.read_body(request, MAX_BYTES)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        fields = ", ".join(field.name for field in msgspec.structs.fields(kind))  # type: ignore[arg-type]
        raise MalformedError(f"the body is not the expected JSON object; it has these texts: {fields}") from error


def _granted(granted: Granted) -> Response:
    answer = web.reply(granted._asdict())
    answer.headers["Cache-Control"] = "no-store"
    return answer


__all__ = ["Login", "Refresh", "routes"]
