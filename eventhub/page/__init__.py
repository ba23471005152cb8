"""The live page: static files at `/`, its client at `/eventhub.js`, in development an access token of its own.

It stands beside the path: the page is a client of `/v1/stream` and of the reads like any other, and gets nothing
that they do not give.
"""

import hashlib
import ipaddress
import re
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from eventhub.errors import ForbiddenError, NotFoundError
from eventhub.web import reply

MakeToken = Callable[[], tuple[str, datetime]]
"""Makes an access token for the page, with the moment of its end."""

INDEX = "index.html"
CLIENT = "eventhub.js"
CONTENT_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}
_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")


class StaticFile(NamedTuple):
    """A file of the page, read once."""

    content: bytes
    content_type: str
    etag: str


def routes(make_token: MakeToken | None) -> list[BaseRoute]:
    """The page's routes; without `make_token` the page asks its reader for a token.

    Reads the static files (under 100 KB). The handlers raise NotFoundError and ForbiddenError.
    """
    files, module = _read(), _client()

    async def index(request: Request) -> Response:
        return _send(files[INDEX], request)

    async def file(request: Request) -> Response:
        # A name is looked up, never joined to a path.
        found = files.get(request.path_params["name"])
        if found is None:
            raise NotFoundError(f"the page has no file {request.path_params['name'][:80]!r}")
        return _send(found, request)

    async def client(request: Request) -> Response:
        return _send(module, request)

    async def token(request: Request) -> Response:
        if make_token is None:
            raise NotFoundError("this node gives no tokens to the page; make one with `eventhub token create`")
        _same_origin(request)
        made, expires_at = make_token()
        answer = reply({"token": made, "expires_at": expires_at, "server_time": datetime.now(UTC)})
        answer.headers["Cache-Control"] = "no-store"
        return answer

    return [
        Route("/", index, methods=["GET"], name="page"),
        Route(f"/{CLIENT}", client, methods=["GET"], name="client"),
        Route("/page/token", token, methods=["POST"], name="page-token"),
        Route("/page/{name}", file, methods=["GET"], name="page-file"),
    ]


def _read() -> dict[str, StaticFile]:
    """The files by name; through importlib, so that they are found in a wheel too."""
    found = {}
    for entry in resources.files(__name__).joinpath("static").iterdir():
        if entry.name.rpartition(".")[2] in CONTENT_TYPES:
            found[entry.name] = _file(entry)
    return found


def _client() -> StaticFile:
    """The JavaScript client: in a wheel beside this file, in the repository where it is kept."""
    packed = resources.files(__name__) / CLIENT
    return _file(packed if packed.is_file() else Path(__file__).parents[2] / "clients" / "js" / CLIENT)


def _file(entry: Traversable) -> StaticFile:
    content = entry.read_bytes()
    content_type = CONTENT_TYPES[entry.name.rpartition(".")[2]]
    return StaticFile(content, content_type, f'"{hashlib.sha256(content).hexdigest()[:24]}"')


def _send(file: StaticFile, request: Request) -> Response:
    """The file, or 304 when the browser has it."""
    headers = {
        "ETag": file.etag,
        "Cache-Control": "no-cache",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Content-Security-Policy": _policy(request.headers.get("host", "")),
    }
    known = request.headers.get("if-none-match", "")
    if file.etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.content_type)


def _policy(host: str) -> str:
    """The page may load and call its own node, and nothing else."""
    # Not every browser counts WebSockets of the same host as 'self'. A strange Host must not write the policy.
    sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            f"connect-src 'self'{sockets}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _same_origin(request: Request) -> None:
    """Refuse a token to a page of another origin, also to one whose name was pointed at this node (DNS rebinding).

    Raises ForbiddenError.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        raise ForbiddenError(f"Sec-Fetch-Site is {site[:40]!r}: only the page of this node gets a token here")
    host = request.headers.get("host", "")
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
        raise ForbiddenError("the request comes from another origin: only the page of this node gets a token here")
    if not _is_literal(host):
        raise ForbiddenError(f"the host {host[:80]!r} is a name; open the page by localhost or by the node's address")


def _is_literal(host: str) -> bool:
    """Whether a Host header names localhost or an IP address, with or without a port."""
    if _HOST.fullmatch(host) is None:
        return False
    name = host[1 : host.index("]")] if host.startswith("[") else host.partition(":")[0]
    if name.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
