"""The outbox of one client: frames in order, bounded in bytes, written as the client takes them (path: connection).

While nothing waits, a frame goes straight to the wire, and there is no task. What waits is kept by reference: a frame
that a thousand clients wait for is held once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from eventhub.delivery.frame import Frame

OFFERED = 0.75
"""Of what may wait for a client, so much may be events of its channels."""


class Wire(Protocol):
    """What writes to a client. It calls `pause` and `resume` of the outbox, as a transport calls its protocol."""

    def write(self, frame: Frame) -> None:
        """Take a frame; never waits."""

    def waiting_bytes(self) -> int:
        """How much of what was written the client's machine has not taken."""

    def end(self, code: int, reason: str) -> None:
        """Begin the closing handshake behind what was written."""

    def abort(self) -> None:
        """Cut the connection; what was not taken is lost."""


class Backlog:
    """What all outboxes of a process hold, in bytes, and how much they may."""

    __slots__ = ("held_bytes", "limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.held_bytes = 0
        self.limit_bytes = limit_bytes


class Outbox:
    """Frames for one client. `on_overflow`: it holds all it may; `on_stuck`: the client took nothing for `stuck_s`."""

    __slots__ = (
        "_backlog", "_close_timer", "_drained", "_end", "_frames", "_limit_bytes", "_on_overflow", "_on_stuck",
        "_stuck_s", "_timer", "_wire", "_write", "closed", "queued_bytes",
    )  # fmt: skip

    def __init__(
        self,
        limit_bytes: int,
        *,
        backlog: Backlog,
        stuck_s: float,
        on_overflow: Callable[[], None],
        on_stuck: Callable[[], None],
    ) -> None:
        self.queued_bytes = 0
        self.closed = False
        self._limit_bytes, self._backlog, self._stuck_s = limit_bytes, backlog, stuck_s
        self._on_overflow, self._on_stuck = on_overflow, on_stuck
        self._frames: deque[Frame] | None = None
        self._wire: Wire | None = None
        self._write: Callable[[Frame], None] | None = None
        """The wire's `write` while nothing waits."""
        self._end: tuple[int, str] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None

    @property
    def room_bytes(self) -> int:
        """How much may be queued now."""
        return self._limit_bytes - self.queued_bytes

    @property
    def direct(self) -> bool:
        """Nothing waits for the client."""
        return self._write is not None

    def attach(self, wire: Wire) -> None:
        """The client is there: write what waits, and from now on what comes."""
        self._wire = wire
        self.resume()

    def offer(self, frame: Frame) -> bool:
        """Take a frame that the client can be given later in another form; False when there is no room. Never waits."""
        write = self._write
        if write is not None:
            write(frame)
            return True
        # Answers and heartbeats must still have room when events have none.
        return not self.closed and self._has_room(frame, OFFERED * self._limit_bytes) and self._queue(frame)

    def put(self, frame: Frame) -> bool:
        """Take a frame; False when it was refused, which ends the client. Never waits."""
        write = self._write
        if write is not None:
            write(frame)
            return True
        if self.closed:
            return False
        if not self._has_room(frame, self._limit_bytes):
            self.closed = True
            self._on_overflow()
            return False
        return self._queue(frame)

    def finish(self, last: Sequence[Frame], code: int, reason: str, *, timeout_s: float) -> bool:
        """After what is queued and `last`, close; give the client `timeout_s` seconds for it. A later call is False."""
        if self._end is not None:
            return False
        self.closed, self._end = True, (code, reason)
        for frame in last:
            self._queue(frame)
        wire = self._wire
        if wire is not None:
            self._close_timer = asyncio.get_running_loop().call_later(timeout_s, wire.abort)
        if self._write is not None:
            self.resume()
        self._wake()
        return True

    def gone(self) -> None:
        """The wire is no more."""
        self.closed, self._write, self._wire = True, None, None
        self._backlog.held_bytes -= self.queued_bytes
        self.queued_bytes, self._frames = 0, None
        for timer in (self._timer, self._close_timer):
            if timer is not None:
                timer.cancel()
        self._wake()

    def pause(self) -> None:
        """The wire has enough: keep what comes."""
        self._write = None
        if self._timer is None and self._wire is not None:
            self._watch(self._wire.waiting_bytes())

    def resume(self) -> None:
        """The wire has room: write what waits until it has enough again."""
        wire = self._wire
        if wire is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._write = wire.write
        frames = self._frames
        while frames and self._write is not None:
            frame = frames.popleft()
            self.queued_bytes -= frame.size_bytes
            self._backlog.held_bytes -= frame.size_bytes
            wire.write(frame)
        if self._write is not None:
            self._frames = None
            if self._end is not None:
                self._write = None
                wire.end(*self._end)
            self._wake()

    async def drained(self) -> None:
        """Wait until nothing waits for the client, or it is gone."""
        while self._write is None and not self.closed:
            if self._drained is None or self._drained.done():
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)

    def _has_room(self, frame: Frame, limit_bytes: float) -> bool:
        # A client that has nothing waiting may have one frame, whatever the others hold.
        size = frame.size_bytes
        whole = self._backlog.held_bytes + size <= self._backlog.limit_bytes or not self._frames
        return whole and self.queued_bytes + size <= limit_bytes

    def _queue(self, frame: Frame) -> bool:
        if self._frames is None:
            self._frames = deque()
        self._frames.append(frame)
        self.queued_bytes += frame.size_bytes
        self._backlog.held_bytes += frame.size_bytes
        return True

    def _watch(self, waiting_bytes: int) -> None:
        """Look again after `stuck_s` whether anything of this was taken."""
        self._timer = asyncio.get_running_loop().call_later(self._stuck_s, self._look, waiting_bytes)

    def _look(self, before_bytes: int) -> None:
        self._timer = None
        if self._wire is not None and self._write is None:
            now_bytes = self._wire.waiting_bytes()
            if now_bytes < before_bytes:
                self._watch(now_bytes)
            else:
                self._on_stuck()

    def _wake(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
