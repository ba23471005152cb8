"""The clock of all heartbeats: one timer for a node, where one for each client would cost 600 bytes each.

The period is cut into parts, and each part has its clients: a wheel that turns once a period.
"""

import asyncio
from collections.abc import Callable

PARTS = 32
Beat = Callable[[], None]


class Beats:
    """Calls everybody once a period, spread over it. Begins with the first `add`, and rests while there is nobody."""

    def __init__(self, period_s: float) -> None:
        self._part_s = period_s / PARTS
        self._parts: list[dict[object, Beat]] = [{} for _ in range(PARTS)]
        self._at = 0
        self._timer: asyncio.TimerHandle | None = None
        self._count = 0

    def add(self, who: object, beat: Beat) -> int:
        """From now on; the first time after about a period. Returns the part to `remove` it from."""
        # The part that was called last is the furthest away.
        part = (self._at - 1) % PARTS
        self._parts[part][who] = beat
        self._count += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._part_s, self._turn)
        return part

    def remove(self, who: object, part: int) -> None:
        """No more; doing it twice does nothing."""
        if self._parts[part].pop(who, None) is not None:
            self._count -= 1

    def _turn(self) -> None:
        part, self._at, self._timer = self._at, (self._at + 1) % PARTS, None
        for beat in list(self._parts[part].values()):
            beat()
        if self._count:
            self._timer = asyncio.get_running_loop().call_later(self._part_s, self._turn)
