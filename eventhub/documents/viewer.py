"""`/openapi.json` and `/asyncapi.json`, and `/docs`, which shows the first to people.

The viewer is vendored and asks no other server for anything.
"""

import gzip
import hashlib
from collections.abc import Callable, Coroutine
from importlib import resources
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from eventhub.documents import asyncapi, openapi
from eventhub.web import JSON

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]

FILES = {
    "index.html": "text/html; charset=utf-8",
    "init.js": "text/javascript; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
}
SAFE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def routes(version: str) -> list[BaseRoute]:
    """The documents of this version and their viewer; reads the viewer's files and makes the documents once, here."""
    files = {name: _file(name, media) for name, media in FILES.items()}
    return [
        Route("/openapi.json", _document(openapi.document(version)), methods=["GET"], name="openapi"),
        Route("/asyncapi.json", _document(asyncapi.document(version)), methods=["GET"], name="asyncapi"),
        Route("/docs", files.pop("index.html"), methods=["GET"], name="docs"),
        *(Route(f"/docs/{name}", endpoint, methods=["GET"]) for name, endpoint in files.items()),
    ]


def _document(made: dict[str, Any]) -> Endpoint:
    return _serve(gzip.compress(msgspec.json.encode(made), mtime=0), JSON)


def _file(name: str, media: str) -> Endpoint:
    folder = resources.files("eventhub.documents") / "static"
    packed = folder / f"{name}.gz"
    return _serve(packed.read_bytes() if packed.is_file() else gzip.compress((folder / name).read_bytes()), media)


def _serve(packed: bytes, media: str) -> Endpoint:
    """Answers with these bytes, gzip as they are kept, unpacked only for a client that does not take gzip."""
    etag = f'"{hashlib.sha256(packed).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding", **SAFE}

    async def answer(request: Request) -> Response:
        known = request.headers.get("if-none-match", "").split(",")
        if etag in (tag.strip().removeprefix("W/") for tag in known):
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(packed, 200, {**headers, "Content-Encoding": "gzip"}, media)
        return Response(gzip.decompress(packed), 200, headers, media)

    return answer
