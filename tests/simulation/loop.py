"""A deterministic event loop: virtual time, several processes, and a seeded choice of whose turn it is.

Within a process callbacks run in the order in which they were scheduled, as asyncio promises; between processes any
order is legal, so the seed chooses. A frozen process keeps what is scheduled for it; a dead one never runs again.
"""

import asyncio
import heapq
import sys
import traceback
from asyncio import events
from collections import deque
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any

CALLBACKS_MAX = 150_000
"""More than any schedule takes; a schedule beyond it spins."""
FIRST_MS = 1_780_000_000_000
"""The wall clock at virtual second 0."""


class StuckError(AssertionError):
    """Nothing is scheduled any more, or there is no end to it."""


class Handle:
    """A callback of a process. Not asyncio's: this one is made a few thousand times a schedule."""

    __slots__ = ("_args", "_callback", "_context", "_process", "dropped")

    def __init__(self, callback: Any, args: tuple[Any, ...], context: Context, process: "Process") -> None:
        self._callback, self._args, self._context, self._process = callback, args, context, process
        self.dropped = False

    def cancel(self) -> None:
        """It will not run."""
        self.dropped = True

    def cancelled(self) -> bool:
        """Whether it will not."""
        return self.dropped


class Process:
    """One process of the simulated platform: its callbacks that are due, and the context in which they run."""

    __slots__ = ("context", "dead", "frozen", "listed", "loop", "name", "ready")

    def __init__(self, loop: "SimLoop", name: str) -> None:
        self.loop, self.name = loop, name
        self.ready: deque[Handle] = deque()
        self.frozen = self.dead = self.listed = False
        self.context: Context = copy_context()
        self.context.run(PROCESS.set, self)

    def run(self, work: Callable[..., Any], *args: Any) -> Any:
        """Do something in the name of this process; from outside of it."""
        before, self.loop.current = self.loop.current, self
        try:
            return self.context.run(work, *args)
        finally:
            self.loop.current = before

    def start(self, coroutine: Any) -> asyncio.Task[Any]:
        """A task of this process."""
        return asyncio.Task(coroutine, loop=self.loop, context=self.context)

    def freeze(self) -> None:
        """Stop here, as SIGSTOP does."""
        self.frozen = True
        self.loop.unlist(self)

    def thaw(self) -> None:
        """Go on where it stopped; everything that is due comes at once."""
        self.frozen = False
        if self.ready:
            self.loop.enlist(self)

    def kill(self) -> None:
        """End without a trace, as SIGKILL does."""
        self.dead = True
        self.loop.unlist(self)
        self.loop.graveyard.append(list(self.ready))
        self.ready.clear()


PROCESS: ContextVar[Process] = ContextVar("PROCESS")


class SimLoop(asyncio.BaseEventLoop):
    """Runs callbacks of several processes in virtual time; `rng` chooses between processes."""

    def __init__(self, rng: Random) -> None:
        super().__init__()
        self.rng = rng
        self.now = 0.0
        self.callbacks = 0
        self.names = 0
        self.failures: list[str] = []
        # What dead processes had is kept until the end, so that no finaliser of theirs runs meanwhile.
        self.graveyard: list[Any] = []
        self._runnable: list[Process] = []
        self._timers: list[tuple[float, int, Handle]] = []
        self._order = 0
        self._ended = False
        self.world = self.current = Process(self, "world")

    def time(self) -> float:
        """Virtual seconds."""
        return self.now

    def now_ms(self) -> int:
        """The simulated wall clock."""
        return FIRST_MS + int(self.now * 1000)

    def enlist(self, process: Process) -> None:
        """The process may have its turn."""
        if not process.frozen and not process.listed:
            process.listed = True
            self._runnable.append(process)

    def unlist(self, process: Process) -> None:
        """The process does not have turns any more."""
        if process.listed:
            process.listed = False
            self._runnable.remove(process)

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> Any:
        """In its process's order."""
        process = self.current if context is None else context.get(PROCESS, self.world)
        handle = Handle(callback, args, context or process.context, process)
        if process.dead:
            self.graveyard.append(handle)
            return handle
        process.ready.append(handle)
        if not process.listed and not process.frozen:
            process.listed = True
            self._runnable.append(process)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> Any:
        """At a virtual time; of equal times in the order of the calls."""
        process = self.current if context is None else context.get(PROCESS, self.world)
        handle = Handle(callback, args, context or process.context, process)
        self._order += 1
        heapq.heappush(self._timers, (when, self._order, handle))
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> Any:
        """After a virtual delay."""
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What asyncio would only log is a failure of the schedule."""
        error = context.get("exception")
        where = "".join(traceback.format_exception(error)[-3:]) if error is not None else ""
        self.failures.append(f"{context.get('message')}: {where}")

    def stop(self) -> None:
        """After this callback."""
        self._ended = True

    def is_running(self) -> bool:
        """Only one loop ever runs in a thread."""
        return events._get_running_loop() is self

    def run_forever(self) -> None:
        """Until `stop`."""
        before = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=None, finalizer=self._finalise)
        events._set_running_loop(self)
        self._ended = False
        try:
            self._turns()
        finally:
            events._set_running_loop(None)
            sys.set_asyncgen_hooks(*before)

    def _finalise(self, generator: Any) -> None:
        self.call_soon(self.create_task, generator.aclose())

    def _turns(self) -> None:
        runnable, draw = self._runnable, self.rng.random
        while not self._ended:
            if not runnable:
                self._advance()
                continue
            index = int(draw() * len(runnable)) if len(runnable) > 1 else 0
            process = runnable[index]
            handle = process.ready.popleft()
            if not process.ready:
                process.listed = False
                del runnable[index]
            if handle.dropped:
                continue
            self.callbacks += 1
            if self.callbacks > CALLBACKS_MAX:
                raise StuckError(f"{self.callbacks} callbacks in {self.now:.1f} virtual seconds")
            self.current = process
            try:
                handle._context.run(handle._callback, *handle._args)
            except Exception as error:
                self.call_exception_handler({"message": f"{process.name}: a callback failed", "exception": error})

    def _advance(self) -> None:
        timers = self._timers
        while timers and timers[0][2].dropped:
            heapq.heappop(timers)
        if not timers:
            raise StuckError("nothing is scheduled any more")
        now = self.now = max(self.now, timers[0][0])
        while timers and timers[0][0] <= now:
            handle = heapq.heappop(timers)[2]
            process = handle._process
            if process.dead:
                self.graveyard.append(handle)
            elif not handle.dropped:
                process.ready.append(handle)
                self.enlist(process)
