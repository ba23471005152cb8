"""The outbox of one client: frames in order, bounded in bytes, and the one task that writes them (path: connection)."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from eventhub.delivery.messages import Frame


class Wire(Protocol):
    """What writes to a client: a WebSocket of some server, later a raw transport."""

    async def send(self, frame: Frame) -> None:
        """Write a frame; may wait for the client."""

    async def close(self, code: int, reason: str) -> None:
        """Close; may wait for the client."""


class _End(NamedTuple):
    code: int
    reason: str


class Outbox:
    """Frames that wait for the client. What would exceed the bound is refused, and so is all that follows."""

    def __init__(self, limit_bytes: int, *, on_overflow: Callable[[], None]) -> None:
        self.queued_bytes = 0
        self.closed = False
        self._limit_bytes = limit_bytes
        self._drain_bytes = limit_bytes // 4
        self._on_overflow = on_overflow
        self._frames: deque[Frame] = deque()
        self._end: _End | None = None
        self._close_timeout_s = 0.0
        self._work: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._deadline: asyncio.Timeout | None = None

    @property
    def room_bytes(self) -> int:
        """How much may be queued now."""
        return self._limit_bytes - self.queued_bytes

    def put(self, frame: Frame) -> bool:
        """Queue a frame; False when it was refused. Never waits."""
        if self.closed:
            return False
        size = self.queued_bytes + frame.size_bytes
        if size > self._limit_bytes:
            self.closed = True
            self._on_overflow()
            return False
        self.queued_bytes = size
        self._frames.append(frame)
        if self._work is not None:
            _set(self._work)
        return True

    def finish(self, last: Sequence[Frame], code: int, reason: str, *, timeout_s: float) -> None:
        """After what is queued and `last`, close; give the client `timeout_s` seconds to take it. Later calls: none."""
        if self._end is not None:
            return
        self.closed = True
        self._frames.extend(last)
        self.queued_bytes += sum(frame.size_bytes for frame in last)
        self._end = _End(code, reason)
        self._close_timeout_s = timeout_s
        if self._deadline is not None:
            self._arm(self._deadline)
        for future in (self._work, self._drained):
            if future is not None:
                _set(future)

    async def drained(self, timeout_s: float) -> None:
        """Wait until a quarter of the bound or less is queued. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while self.queued_bytes > self._drain_bytes and not self.closed:
                if self._drained is None or self._drained.done():
                    self._drained = asyncio.get_running_loop().create_future()
                await asyncio.shield(self._drained)

    async def pump(self, wire: Wire) -> None:
        """Write until `finish` is done. Raises what the wire raises, TimeoutError when the client did not take it."""
        try:
            async with asyncio.timeout(None) as self._deadline:
                if self._end is not None:
                    self._arm(self._deadline)
                await self._write(wire)
        finally:
            self._deadline = None

    async def _write(self, wire: Wire) -> None:
        while True:
            while self._frames:
                frame = self._frames.popleft()
                await wire.send(frame)
                self.queued_bytes -= frame.size_bytes
                if self._drained is not None and self.queued_bytes <= self._drain_bytes:
                    _set(self._drained)
            if self._end is not None:
                await wire.close(self._end.code, self._end.reason)
                return
            self._work = asyncio.get_running_loop().create_future()
            await self._work
            self._work = None

    def _arm(self, deadline: asyncio.Timeout) -> None:
        deadline.reschedule(asyncio.get_running_loop().time() + self._close_timeout_s)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
