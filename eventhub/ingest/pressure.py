"""Who waits when a node has too much to do: sensors first, then social media, broadcast last (path: step 1).

A position that comes late is worth little and the next one replaces it; a goal is what everybody waits for.
"""

import asyncio
from collections import deque
from math import inf
from typing import Literal, NamedTuple

EVERY_S = 0.1
KEPT = 10
"""Looks at the loop: only when all of them were late is the node overloaded, and not merely woken up."""
Cause = Literal["pending", "late", "turn"]


class Bearable(NamedTuple):
    """Up to where a source is taken: the part of `max_pending_bytes` in hand, and how late the loop is, in seconds."""

    pending: float
    late_s: float


BEARABLE = {
    "sensors": Bearable(0.5, 0.25),
    "social": Bearable(0.75, 0.5),
    # Only what does not fit is refused: a loop that is late delays a goal, a refusal delays it more.
    "broadcast": Bearable(1.0, inf),
}


def overload(source: str, *, pending: float, late_s: float) -> Cause | None:
    """Why a request of this source has to wait, None when it is taken.

    `pending` is the part of what may be in hand that is, with this request. Pure.
    """
    bearable = BEARABLE[source]
    if pending > bearable.pending:
        return "pending"
    return "late" if late_s > bearable.late_s else None


class Lateness:
    """How late the event loop comes to its timers, seen ten times a second."""

    def __init__(self) -> None:
        self._looks: deque[float] = deque([0.0] * KEPT, KEPT)

    def note(self, late_s: float) -> None:
        """A timer came so much later than it was due."""
        self._looks.append(late_s)

    def late_s(self) -> float:
        """How late every timer of the last second was at least. A single pause, however long, is none."""
        return min(self._looks)

    async def run(self) -> None:
        """Look for ever; costs ten timers a second."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + EVERY_S
            await asyncio.sleep(EVERY_S)
            self.note(max(0.0, loop.time() - due))
