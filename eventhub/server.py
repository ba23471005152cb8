"""uvicorn around an ASGI application: sockets bound before anything is served, signals left to the node."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import uvicorn

from eventhub.errors import ConfigError, UnavailableError

NEXT_PORTS = 20
START_TIMEOUT_S = 10
STOP_TIMEOUT_S = 5


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


class Listener:
    """Serves one application on one bound socket, between `async with`."""

    def __init__(self, app: Any, bound: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="websockets-sansio",
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
