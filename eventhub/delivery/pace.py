"""How long a busy channel waits before it flushes: the more sockets get a frame each window, the longer.

A send costs some 3 µs whatever is in it, a message more in a shared frame 0.07 µs. Up to `QUIET` sockets the least
window is kept. Beyond, window and sends share the growth: n times the sockets are served in windows √n times as long.
"""

QUIET = 500
LOOK_S = 1.0
MOST = 12.5
"""Times the least window that it may become: 250 ms of 20."""


class Pace:
    """The window of a node's channels, in seconds. Times are the loop's."""

    def __init__(self, least_s: float) -> None:
        self.window_s = least_s
        self._least_s = least_s
        self._sends = 0
        self._since = 0.0

    def sent(self, sockets: int, now: float) -> None:
        """A frame went to so many sockets."""
        self._sends += sockets
        passed_s = now - self._since
        if passed_s >= LOOK_S:
            # After a pause it says little, and at worst that a window is too short for a second.
            busy = self._sends / passed_s * self.window_s
            self.window_s = self._least_s * min(MOST, max(1.0, (busy / QUIET) ** 0.5))
            self._sends, self._since = 0, now
