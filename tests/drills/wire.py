"""The lightest WebSocket client there can be: thousands of them fit into the process of a drill."""

import asyncio
import base64
import json
import os
from collections.abc import Callable
from typing import Any, cast

ADDRESSES = 250
HANDSHAKE_S = 20
TEXT, CLOSE = 1, 8


class RefusedError(ConnectionError):
    """The node answered the handshake with something else than an upgrade."""


class Wire(asyncio.Protocol):
    """An open connection. `take` gets each message; `ended` is done with the close code, or None when it was cut."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int | None] = loop.create_future()
        self._upgraded: asyncio.Future[None] = loop.create_future()
        self._take = take
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._code: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._upgraded.done():
            self._upgraded.set_exception(RefusedError("it was cut amid the handshake"))
        if not self.ended.done():
            self.ended.set_result(self._code)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded.done():
            self._upgrade()
        if self._upgraded.done():
            self._frames()

    async def upgrade(self, port: int) -> None:
        """Shake hands. Raises ConnectionError."""
        assert self._transport is not None
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: eventhub.v1+json\r\n\r\n".encode()
        )
        await self._upgraded

    def say(self, **command: Any) -> None:
        """Send a command."""
        self._send(0x80 | TEXT, json.dumps(command).encode())

    def cut(self) -> None:
        """Drop it without a word."""
        assert self._transport is not None
        self._transport.abort()

    def _send(self, head: int, payload: bytes) -> None:
        assert self._transport is not None
        size = len(payload)
        told = bytes((head, 0x80 | size)) if size < 126 else bytes((head, 0x80 | 126)) + size.to_bytes(2, "big")
        # A mask of zeros is a mask.
        self._transport.write(told + b"\0\0\0\0" + payload)

    def _upgrade(self) -> None:
        head, found, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if not found:
            return
        if not head.startswith(b"HTTP/1.1 101"):
            self._upgraded.set_exception(RefusedError(head.split(b"\r\n")[0].decode()))
            self.cut()
            return
        self._upgraded.set_result(None)
        self._buffer = bytearray(rest)

    def _frames(self) -> None:
        data, at = bytes(self._buffer), 0
        while len(data) - at >= 2:
            size, start = data[at + 1] & 127, at + 2
            if size > 125:
                width = 2 if size == 126 else 8
                size, start = int.from_bytes(data[start : start + width], "big"), start + width
            if len(data) < start + size:
                break
            self._frame(data[at] & 15, data[start : start + size])
            at = start + size
        if at:
            del self._buffer[:at]

    def _frame(self, kind: int, payload: bytes) -> None:
        if kind == TEXT:
            for line in payload.split(b"\n"):
                self._take(line)
        elif kind == CLOSE and self._transport is not None:
            self._code = int.from_bytes(payload[:2], "big")
            self._send(0x80 | CLOSE, payload[:2])
            self._transport.close()


async def connect(port: int, token: str, take: Callable[[bytes], None], *, number: int = 0) -> Wire:
    """A connection that has said who it is, from a loopback address by its number. Raises OSError."""
    source = f"127.0.2.{1 + number % ADDRESSES}"
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(HANDSHAKE_S):
            _, wire = await loop.create_connection(lambda: Wire(take), "127.0.0.1", port, local_addr=(source, 0))
            await wire.upgrade(port)
    except TimeoutError as error:
        raise RefusedError("no answer to the handshake") from error
    wire.say(id=1, type="connect", token=token)
    return wire
