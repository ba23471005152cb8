"""How long a busy channel waits before it flushes: the more sockets get a frame each window, the longer.

A send costs the same whatever is in it, 3 to 12 µs as the machine is; a message more in a shared frame 0.07 µs. Up to
`QUIET` sockets the least window is kept. Beyond, window and sends share the growth: n times the sockets are served in
windows √n times as long. Where that is not enough, flushes come late, and windows grow until they do not.
"""

QUIET = 500
LOOK_S = 1.0
LATE = 0.25
"""A part of the window: flushes that are later than this on average are the sign of too many sends."""
WIDER, NARROWER = 1.5, 1.1
MOST = 12.5
"""Times the least window that it may become: 250 ms of 20."""


class Pace:
    """The window of a node's channels, in seconds. Times are the loop's."""

    def __init__(self, least_s: float) -> None:
        self.window_s = least_s
        self._least_s = least_s
        self._stretch = 1.0
        self._since = 0.0
        self._sends = self._flushes = 0
        self._late_s = 0.0

    def late(self, late_s: float) -> None:
        """A flush that was due came so much later."""
        self._late_s += late_s
        self._flushes += 1

    def sent(self, sockets: int, now: float) -> None:
        """A frame went to so many sockets."""
        self._sends += sockets
        if now - self._since >= LOOK_S:
            self._look(now - self._since)
            self._sends = self._flushes = 0
            self._late_s, self._since = 0.0, now

    def _look(self, passed_s: float) -> None:
        late_s = self._late_s / self._flushes if self._flushes else 0.0
        if late_s > LATE * self.window_s:
            self._stretch = min(MOST, self._stretch * WIDER)
        else:
            self._stretch = max(1.0, self._stretch / NARROWER)
        # After a pause it says little, and at worst that a window is too short for a second.
        busy = self._sends / passed_s * self.window_s
        self.window_s = self._least_s * min(MOST, max(1.0, (busy / QUIET) ** 0.5) * self._stretch)
