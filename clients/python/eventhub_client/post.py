"""One kept HTTP connection to a node, with nothing but the standard library, in a thread while it waits."""

import asyncio
import contextlib
import http.client
import socket
import urllib.parse
from typing import NamedTuple

from eventhub_client.errors import LostError


class Answer(NamedTuple):
    """What a node answered; `retry_after_s` is 0 where it says nothing of it."""

    status: int
    body: bytes
    retry_after_s: float


class Post:
    """Posts to one node, one request at a time; a request that is cancelled is cut.

    Raises ValueError for an address that is none.
    """

    def __init__(self, node: str, *, timeout_s: float) -> None:
        parts = urllib.parse.urlsplit(node)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{node!r} is no address of a node; give one such as http://localhost:8000")
        made = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._http = made(parts.hostname, parts.port, timeout=timeout_s)
        self._prefix = parts.path.rstrip("/")
        self._socket: socket.socket | None = None

    async def post(self, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        """The answer, whatever its status. Raises LostError when there is none: the node may have taken it or not."""
        try:
            return await asyncio.to_thread(self._post, self._prefix + path, body, headers)
        except asyncio.CancelledError:
            self._cut()
            raise
        except (OSError, http.client.HTTPException) as error:
            # No answer counts that is not whole; the next request has a connection of its own.
            self._http.close()
            raise LostError(f"{type(error).__name__}: {error}".rstrip(": ")) from error

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        if self._http.sock is None:
            self._http.connect()
            self._socket = self._http.sock
        self._http.request("POST", path, body, headers)
        answer = self._http.getresponse()
        return Answer(answer.status, answer.read(), _seconds(answer.getheader("Retry-After")))

    def _cut(self) -> None:
        """Wake the thread that waits: its socket ends under it."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def _seconds(retry_after: str | None) -> float:
    """What Retry-After asks for, where it is a number; a date (RFC 9110) is left to the back-off."""
    try:
        return max(0.0, float(retry_after or 0))
    except ValueError:
        return 0.0
