"""A bound socket, and one application served on it."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

import uvicorn

from eventhub.errors import ConfigError, UnavailableError
from eventhub.server.handshake import Handshake
from eventhub.server.http import Http

NEXT_PORTS = 20
START_TIMEOUT_S = 10
STOP_TIMEOUT_S = 5
BACKLOG = 4096
SEND_BUFFER_BYTES = 131_072
"""What the kernel holds for a client that does not read; it doubles this for its own bookkeeping."""
UNSENT_BYTES = 32_768
"""Of that, what may wait to be sent: it is what a goal has to wait for.

Without it a socket takes more only once a third of its buffer is free, at 8 KiB/s after more than 10 s, and a slow
client would look like a stuck one.
"""
USER_TIMEOUT_MS = 60_000
"""After so long without an acknowledgement the kernel gives a peer up that is gone without a word.

Not less: while the window opens by less than what is to be sent next, Linux counts on although the client reads, and
20 s cut half of the clients that read 8 KiB/s. Who takes nothing is found by the outbox before that.
"""


def bind(host: str, port: int, *, exact: bool, setting: str) -> socket.socket:
    """A listening socket; the next free port when `exact` is False. Raises ConfigError when the port is taken."""
    for candidate in range(port, port + (1 if exact or port == 0 else NEXT_PORTS)):
        try:
            bound = socket.create_server((host, candidate), backlog=BACKLOG, reuse_port=False)
        except OSError as error:
            refusal = error
        else:
            # Connections inherit them.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
            return bound
    raise ConfigError(f"cannot listen on {host}:{port} ({refusal.strerror}); choose another port by {setting}")


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The node handles signals for both of its listeners."""
        yield


class Listener:
    """Serves one application on one bound socket, between `async with`."""

    def __init__(self, app: Any, bound: socket.socket) -> None:
        waiting: dict[Http, None] = {}
        config = uvicorn.Config(
            app,
            # uvicorn calls it like a class and asks nothing else of it.
            http=cast(type[asyncio.Protocol], partial(Http, waiting=waiting)),
            ws=cast(type[asyncio.Protocol], Handshake),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
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
