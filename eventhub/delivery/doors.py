"""Who may come in, and how fast: bounds of clients on a node, from one address, and of one user.

They are told in `connected` before they are enforced, and refusals say when to come again. Each node counts its own.
"""

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Iterable

from eventhub.bucket import Bucket
from eventhub.errors import LimitError, UnavailableError

KNOWN = 10_000
"""Addresses whose pace is remembered; the one that knocked longest ago is forgotten first."""
IPV6_PREFIX = 64
"""What one subscriber of a network usually has: all of it counts as one address."""


class Doors:
    """Counts the clients of a node."""

    def __init__(
        self, *, most: int, per_address: int, per_user: int, handshakes_per_s: float, handshakes_burst: int
    ) -> None:
        self.count = 0
        self._most, self._per_address, self._per_user = most, per_address, per_user
        self._pace = handshakes_per_s, handshakes_burst
        self._addresses: Counter[str] = Counter()
        self._users: Counter[str] = Counter()
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def knock(self, address: str, now: float) -> None:
        """A handshake begins. Raises LimitError for its address, UnavailableError when the node is full."""
        wait_s = self._bucket(address, now).take(now)
        if wait_s:
            raise LimitError("this address connects too often; wait, and keep connections open", retry_after_s=wait_s)
        if self._addresses[address] >= self._per_address:
            raise LimitError(
                f"this address has {self._per_address} connections, the most it may; close some",
                retry_after_s=5,
            )
        if self.count >= self._most:
            raise UnavailableError(
                f"this node has {self._most} connections, the most it takes; try another",
                retry_after_s=1,
            )

    def enter(self, address: str) -> None:
        """A client is in."""
        self.count += 1
        self._addresses[address] += 1

    def leave(self, address: str, user: str | None) -> None:
        """A client is gone; `user` is the one that it was counted for."""
        self.count -= 1
        self._fewer(self._addresses, address)
        if user is not None:
            self._fewer(self._users, user)

    def name(self, user: str) -> None:
        """A client has said who it is. Raises LimitError."""
        if self._users[user] >= self._per_user:
            raise LimitError(
                f"this user has {self._per_user} connections here, the most it may; close some",
                retry_after_s=5,
            )
        self._users[user] += 1

    def _bucket(self, address: str, now: float) -> Bucket:
        bucket = self._buckets.pop(address, None) or Bucket(*self._pace, now)
        self._buckets[address] = bucket
        if len(self._buckets) > KNOWN:
            self._buckets.popitem(last=False)
        return bucket

    @staticmethod
    def _fewer(counts: Counter[str], key: str) -> None:
        counts[key] -= 1
        if not counts[key]:
            del counts[key]


class Addresses:
    """Where a request comes from, through the proxies that are trusted (CIDR)."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        """Raises ValueError for what is no network."""
        self._trusted = [ipaddress.ip_network(one, strict=False) for one in trusted]

    def of(self, peer: str | None, forwarded_for: str) -> str:
        """The address to count: the last one in X-Forwarded-For that no trusted proxy is, else the peer's own."""
        hops = [*forwarded_for.split(","), peer or ""]
        while len(hops) > 1 and self._is_trusted(hops[-1].strip()):
            hops.pop()
        return network(hops[-1].strip()) or network(peer or "") or "unknown"

    def _is_trusted(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        return any(address in one for one in self._trusted)


def network(text: str) -> str:
    """What is counted as one address: an IPv4 address, or the /64 of an IPv6 one; empty for what is neither."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
    return str(address)
