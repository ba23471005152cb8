"""The limit: `transport.write` of frames that are built once a window, to every socket; nothing else is done.

No tokens, no channels, no bounds, and what a client sends is not read.
"""

import asyncio
import base64
import gc
import hashlib
import re
import sys
from typing import cast

import uvloop

from benchmarks.fanout.lines import Lines

WINDOW_S = 0.02
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Client(asyncio.Protocol):
    """A socket."""

    def __init__(self, transports: dict["Client", asyncio.Transport]) -> None:
        self._transports = transports
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transports.pop(self, None)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer += data
        if self not in self._transports and b"\r\n\r\n" in self._buffer:
            self._upgrade(self._buffer, self._transport)

    def _upgrade(self, head: bytes, transport: asyncio.Transport) -> None:
        key = re.search(rb"(?i)sec-websocket-key: (\S+)", head)
        assert key is not None
        accept = base64.b64encode(hashlib.sha1(key[1] + GUID).digest())
        transport.write(
            b"HTTP/1.1 101 \r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n" % accept
        )
        self._transports[self], self._buffer = transport, b""


def frame(text: bytes) -> bytes:
    """A text frame (RFC 6455, 5.2) of at least 126 bytes."""
    size = len(text)
    return (b"\x81\x7e" + size.to_bytes(2) if size < 65_536 else b"\x81\x7f" + size.to_bytes(8)) + text


async def serve(port: int, publish: int) -> None:
    """Serve until killed; prints a line once it listens."""
    transports: dict[Client, asyncio.Transport] = {}
    pending: list[bytes] = []
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: Client(transports), "127.0.0.1", port, backlog=4096)
    await loop.create_server(lambda: Lines(pending.append), "127.0.0.1", publish)
    gc.freeze()
    print("-", flush=True)
    began, turn = loop.time(), 0
    while True:
        turn += 1
        await asyncio.sleep(max(0, began + turn * WINDOW_S - loop.time()))
        if pending:
            data = frame(b"\n".join(pending))
            pending.clear()
            for transport in transports.values():
                transport.write(data)


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
