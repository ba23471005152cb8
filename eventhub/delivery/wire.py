"""An open WebSocket: a small object on its transport, and no task (path: the last step to the client).

What comes in is parsed by websockets' protocol without I/O; what goes out are frames that are packed already. Both
directions end here: the session is told once that the client is gone.
"""

import asyncio
import logging
import struct
from collections.abc import Sequence
from socket import SO_LINGER, SOL_SOCKET
from typing import Protocol

from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode
from websockets.protocol import OPEN, SERVER
from websockets.protocol import Protocol as Parser

from eventhub.delivery.frame import Frame
from eventhub.delivery.outbox import Outbox
from eventhub.errors import EventhubError, MalformedError

FRAGMENTS = 1_000
"""Frames of one message; its bytes are limited, and an empty frame has none."""
AT_ONCE = struct.pack("ii", 1, 0)
"""socket(7): linger, for no time."""
LINGER_S = 5
"""How long the last bytes may wait for a client that has said goodbye."""
QUIET = logging.Logger(__name__, logging.WARNING)
"""websockets says of each connection that it was opened and closed."""


class Session(Protocol):
    """Who is at the other end, as far as a wire knows."""

    outbox: Outbox

    def handle(self, text: bytes) -> None:
        """A message came."""

    def refuse(self, error: EventhubError) -> None:
        """Something came that ends the session."""

    def end(self) -> None:
        """The client is gone."""


class SocketWire(asyncio.Protocol):
    """The protocol of a transport from the end of the handshake on."""

    __slots__ = ("_deflate", "_is_text", "_parser", "_parts", "_session", "_transport")

    def __init__(
        self, transport: asyncio.Transport, session: Session, *, extensions: Sequence[Extension], max_bytes: int
    ) -> None:
        self._transport, self._session = transport, session
        self._parser = Parser(SERVER, state=OPEN, max_size=max_bytes, logger=QUIET)
        self._parser.extensions = list(extensions)
        # Shared frames are compressed with the whole window, which a client may rule out.
        self._deflate = any(
            isinstance(one, PerMessageDeflate) and one.local_max_window_bits == 15 for one in extensions
        )
        self._parts: list[bytes] | None = None
        self._is_text = False

    def write(self, frame: Frame) -> None:
        """Hand a frame to the transport, which calls `pause_writing` when it holds enough."""
        self._transport.write(frame.deflated if self._deflate else frame.packed)

    def waiting_bytes(self) -> int:
        """What the transport still holds."""
        return self._transport.get_write_buffer_size()

    def end(self, code: int, reason: str) -> None:
        """Send the close frame; the transport is closed when the client answers it, or aborted by the outbox."""
        if self._parser.close_sent is None:
            self._parser.send_close(code, reason)
            self._pass_on()

    def abort(self) -> None:
        """Cut it, by a reset: else the kernel would keep what was not taken, and wait for the client."""
        socket = self._transport.get_extra_info("socket")
        if socket is not None:
            socket.setsockopt(SOL_SOCKET, SO_LINGER, AT_ONCE)
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes came: messages go to the session, pings are answered."""
        self._parser.receive_data(data)
        for event in self._parser.events_received():
            if isinstance(event, WebSocketFrame):
                self._take(event)
        self._pass_on()

    def pause_writing(self) -> None:
        """The transport holds enough."""
        self._session.outbox.pause()

    def resume_writing(self) -> None:
        """The transport has room."""
        self._session.outbox.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, for whatever reason."""
        self._session.end()

    def _take(self, frame: WebSocketFrame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._is_text, self._parts = frame.opcode is Opcode.TEXT, []
        elif frame.opcode is not Opcode.CONT:
            return
        parts = self._parts
        if parts is None or self._parser.close_sent is not None:
            return
        parts.append(bytes(frame.data))
        if len(parts) > FRAGMENTS:
            self._parser.fail(1009, "too many fragments")
        elif frame.fin:
            self._parts = None
            self._message(b"".join(parts))

    def _message(self, message: bytes) -> None:
        if not self._is_text:
            self._session.refuse(MalformedError("the stream takes text frames, this one is binary"))
            return
        try:
            message.decode()
        except UnicodeDecodeError:
            self._parser.fail(1007, "not UTF-8")
        else:
            self._session.handle(message)

    def _pass_on(self) -> None:
        """Write what the parser has to say: pongs, and closes, behind which the transport is closed."""
        said = self._parser.data_to_send()
        if not said:
            return
        closing = not said[-1]
        # Whoever pings and does not read would fill our memory with pongs.
        if closing or self._session.outbox.direct or self._parser.close_sent is not None:
            self._transport.write(b"".join(said))
        if closing:
            self._transport.close()
            asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)
