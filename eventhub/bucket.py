"""Token buckets: so many a second on average, and so many at once. Pure; times are the loop's."""

from collections import OrderedDict

KNOWN = 10_000
"""Names whose pace is remembered; the one that came longest ago is forgotten first."""


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

    def give_back(self) -> None:
        """What was taken last, one, does not count."""
        self._left = min(self._burst, self._left + 1)


class Buckets:
    """A bucket for each name, all of the same pace."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._by_name: OrderedDict[str, Bucket] = OrderedDict()

    def of(self, name: str, now: float) -> Bucket:
        """The bucket of this name, which is full when it is new."""
        bucket = self._by_name.pop(name, None) or Bucket(self._per_s, self._burst, now)
        self._by_name[name] = bucket
        if len(self._by_name) > KNOWN:
            self._by_name.popitem(last=False)
        return bucket

    def give_back(self, name: str) -> None:
        """What this name took last, one, does not count."""
        bucket = self._by_name.get(name)
        if bucket is not None:
            bucket.give_back()
