"""A frame: messages that go out in one piece, one a line, made into WebSocket bytes once for all sockets that get it.

A server's frames are unmasked (RFC 6455, 5.1), and without context takeover a compressed one depends on nothing before
it (RFC 7692, 7.1.1), so both forms are the same for everybody.
"""

from collections.abc import Sequence

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode

DEFLATED_BYTES = range(512, 65_536)
"""Sizes that are worth compressing, and take less than a millisecond."""
LEVEL = 1


class Frame:
    """Messages, joined; `packed` is the frame as it goes over the wire, and `size_bytes` how long its text is."""

    __slots__ = ("_deflated", "packed", "size_bytes")

    def __init__(self, messages: Sequence[bytes]) -> None:
        text = b"\n".join(messages)
        self.size_bytes = len(text)
        self.packed: bytes = WebSocketFrame(Opcode.TEXT, text).serialize(mask=False)
        self._deflated: bytes | None = None

    @property
    def data(self) -> bytes:
        """The text alone."""
        return self.packed[len(self.packed) - self.size_bytes :]

    @property
    def deflated(self) -> bytes:
        """The frame under permessage-deflate; as it is where compressing is not worth it."""
        if self._deflated is None:
            self._deflated = self.packed
            if self.size_bytes in DEFLATED_BYTES:
                deflate = PerMessageDeflate(True, True, 15, 15, {"level": LEVEL})
                frame = WebSocketFrame(Opcode.TEXT, self.data)
                self._deflated = frame.serialize(mask=False, extensions=[deflate])
        return self._deflated
