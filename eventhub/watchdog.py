"""The watchdog: a thread that the event loop pets, and that ends the process when the loop stands still.

A loop that stands still answers no probe, closes no connection and keeps its partitions for as long as its consumers'
threads send heartbeats. So the process ends itself, and whatever runs it starts it again.
"""

import asyncio
import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator

import structlog

EXIT_CODE = 70
TELL_S = 2.0
log = structlog.get_logger(__name__)


class Watchdog:
    """Dumps every thread's stack when the loop was silent for `dump_after_s`, once each time; ends at `exit_after_s`.

    Time in which the whole process stood still (SIGSTOP, a paused container) is not silence. Code that holds the
    interpreter's lock for ever stops this thread too: that is what a probe from outside is for.
    """

    def __init__(
        self,
        *,
        dump_after_s: float = 10.0,
        exit_after_s: float = 30.0,
        every_s: float = 1.0,
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        self._dump_after_s, self._exit_after_s, self._every_s = dump_after_s, exit_after_s, every_s
        self._leave = leave
        self._petted = time.monotonic()
        self._dumped = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the running loop."""
        self._petted = time.monotonic()
        petting = asyncio.get_running_loop().create_task(self._pet(), name="watchdog")
        self._thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            petting.cancel()

    async def _pet(self) -> None:
        while True:
            self._petted = time.monotonic()
            await asyncio.sleep(self._every_s)

    def _watch(self) -> None:
        seen = time.monotonic()
        while not self._stopped.wait(self._every_s):
            now = time.monotonic()
            # This thread does nothing but wait, so where it is late the loop could not run either.
            late_s = now - seen - self._every_s
            seen = now
            if late_s > self._every_s:
                self._petted += late_s
            self._judge(now - self._petted)

    def _judge(self, silent_s: float) -> None:
        if silent_s < self._dump_after_s:
            self._dumped = False
        elif not self._dumped:
            self._dumped = True
            self._tell("the event loop stands still", silent_s, stacks=_stacks())
        if silent_s >= self._exit_after_s:
            self._tell("the event loop does not come back; ending the process", silent_s)
            self._leave(EXIT_CODE)

    def _tell(self, what: str, silent_s: float, **more: object) -> None:
        """Log, but wait for it only so long: whoever stands still may hold the log's lock, or its pipe may be full."""
        told = {"silent_s": round(silent_s, 1), **more}
        teller = threading.Thread(target=lambda: log.critical(what, **told), name="watchdog-tells", daemon=True)
        teller.start()
        teller.join(TELL_S)


def _stacks() -> dict[str, list[str]]:
    """The stack of each thread, outermost call first, in Python's own words."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {
        f"{names.get(ident, 'unknown')} {ident}": [
            line for entry in traceback.format_stack(frame) for line in entry.rstrip().splitlines()
        ]
        for ident, frame in sys._current_frames().items()
    }
