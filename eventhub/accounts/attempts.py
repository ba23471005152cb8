"""How often a password may be tried, from one address and for one user. Each node counts its own."""

from collections import OrderedDict

from eventhub.errors import LimitError

KNOWN = 10_000
"""Names that are remembered; the one that tried longest ago is forgotten first."""


class _Bucket:
    """So many a second on average, `burst` at once."""

    __slots__ = ("at", "left")

    def __init__(self, burst: float, now: float) -> None:
        self.left, self.at = burst, now


class Attempts:
    """Counts attempts by name. Times are the loop's, in seconds."""

    def __init__(self, what: str, *, per_minute: float, burst: int) -> None:
        self._what, self._per_s, self._burst = what, per_minute / 60, burst
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, name: str, now: float) -> None:
        """An attempt. Raises LimitError, which says for how long there is none."""
        bucket = self._buckets.pop(name, None) or _Bucket(self._burst, now)
        self._buckets[name] = bucket
        if len(self._buckets) > KNOWN:
            self._buckets.popitem(last=False)
        bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._per_s)
        bucket.at = now
        if bucket.left < 1:
            wait_s = (1 - bucket.left) / self._per_s
            raise LimitError(f"too many logins {self._what}; wait, then try again", retry_after_s=wait_s)
        bucket.left -= 1

    def give_back(self, name: str) -> None:
        """The attempt was a good one and does not count."""
        bucket = self._buckets.get(name)
        if bucket is not None:
            bucket.left = min(self._burst, bucket.left + 1)
