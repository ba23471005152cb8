"""A node as a replay sees it, with faults."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from eventhub.server import bind
from tests.support.wait import until

Fault = Callable[[Request], Awaitable[Response | None]]


class Server:
    """Takes what a node takes, and does as each fault says, once."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.faults: list[Fault] = []
        self.happened = 0
        self.declared: dict[str, Any] | None = None
        self.url = ""
        self._socket = bind("127.0.0.1", 0, exact=True, setting="port")
        self._server: Any = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._socket.fileno() < 0:
            port = int(self.url.rpartition(":")[2])
            self._socket = bind("127.0.0.1", port, exact=True, setting="port")
        app = Starlette(
            routes=[
                Route("/v1/matches/{match_id}", self._put, methods=["PUT"]),
                Route("/v1/ingest/{rest:path}", self._post, methods=["POST"]),
            ]
        )
        self._server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=1))
        self._server.capture_signals = _no_signals
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        await until(lambda: self._server.started, "the server to start")

    async def stop(self) -> None:
        self._server.should_exit = True
        assert self._task is not None
        await self._task
        self._socket.close()

    async def _put(self, request: Request) -> Response:
        assert request.headers["if-none-match"] == "*"
        if self.declared is not None:
            return JSONResponse({"code": "exists", "match": self.declared}, 412)
        told = await request.json()
        if "home" not in told:
            return JSONResponse({"detail": "the match cannot be read"}, 400)
        self.declared = told
        return JSONResponse(self.declared, 201)

    async def _post(self, request: Request) -> Response:
        lines = [json.loads(line) for line in (await request.body()).split(b"\n")]
        if self.faults:
            answer = await self.faults.pop(0)(request)
            self.happened += 1
            if answer is not None:
                return answer
        self.lines += lines
        self.paths.append(request.url.path)
        return JSONResponse({"accepted": len(lines), "items": [], "rejected": []}, 202)


class _no_signals:  # noqa: N801
    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        return
