"""A token bucket: so many a second on average, and so many at once. Pure; times are the loop's."""


class Bucket:
    """So many a second on average, `burst` at once."""

    __slots__ = ("_at", "_burst", "_left", "_per_s")

    def __init__(self, per_s: float, burst: float, now: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._left, self._at = burst, now

    def wait_s(self, now: float, cost: float = 1) -> float:
        """0 when `cost` may be taken now, else in how many seconds; takes nothing.

        What costs more than the burst may be taken when the bucket is full: it would never come through otherwise.
        """
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s)
        self._at = now
        return max(0.0, (min(cost, self._burst) - self._left) / self._per_s)

    def take(self, now: float, cost: float = 1) -> float:
        """Take `cost`, whole: 0, or for how many seconds it is too much, and then nothing was taken."""
        wait_s = self.wait_s(now, cost)
        if not wait_s:
            self._left -= cost
        return wait_s
