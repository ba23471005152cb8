"""How often a password may be tried, from one address and for one user. Each node counts its own."""

from eventhub.bucket import Buckets
from eventhub.errors import LimitError


class Attempts:
    """Counts attempts by name. Times are the loop's, in seconds."""

    def __init__(self, what: str, *, per_minute: float, burst: int) -> None:
        self._what, self._buckets = what, Buckets(per_minute / 60, burst)

    def take(self, name: str, now: float) -> None:
        """An attempt. Raises LimitError, which says for how long there is none."""
        wait_s = self._buckets.of(name, now).take(now)
        if wait_s:
            raise LimitError(f"too many logins {self._what}; wait, then try again", retry_after_s=wait_s)

    def give_back(self, name: str) -> None:
        """The attempt was a good one and does not count."""
        self._buckets.give_back(name)
