"""Who may come in, and how fast: bounds of clients on a node, from one address, and of one user.

They are told in `connected` before they are enforced, and refusals say when to come again. Each node counts its own
clients; what the others count is looked up in memory, as they said it last, so that nothing here ever waits.
"""

import ipaddress
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Protocol

from eventhub.bucket import Buckets
from eventhub.errors import LimitError, UnavailableError

IPV6_PREFIX = 64
"""What one subscriber of a network usually has: all of it counts as one address."""


class Elsewhere(Protocol):
    """What the other nodes count, as they said it last."""

    @property
    def addresses(self) -> Mapping[str, int]:
        """Clients by address."""

    @property
    def users(self) -> Mapping[str, int]:
        """Clients by user."""


class Nowhere:
    """There are no other nodes, or nobody knows of them."""

    addresses: Mapping[str, int] = MappingProxyType({})
    users: Mapping[str, int] = MappingProxyType({})


class Doors:
    """Counts the clients of a node. `…_total` are bounds over all nodes, as far as `elsewhere` knows of them."""

    def __init__(
        self,
        *,
        most: int,
        per_address: int,
        per_user: int,
        per_address_total: int,
        per_user_total: int,
        handshakes_per_s: float,
        handshakes_burst: int,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.count = 0
        self.addresses: Counter[str] = Counter()
        self.users: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        """Clients that were refused, by cause: `rate`, `address`, `user`, `full`, `origin`, `token`, `draining`."""
        self.limited: Counter[str] = Counter()
        """What clients that are in asked for too often: `changes` of subscriptions, `commands`."""
        self._most, self._per_address, self._per_user = most, per_address, per_user
        self._per_address_total, self._per_user_total = per_address_total, per_user_total
        self._elsewhere: Elsewhere = elsewhere or Nowhere()
        self._handshakes = Buckets(handshakes_per_s, handshakes_burst)

    def knock(self, address: str, now: float) -> None:
        """A handshake begins. Raises LimitError for its address, UnavailableError when the node is full."""
        wait_s = self._handshakes.of(address, now).take(now)
        if wait_s:
            self.refused["rate"] += 1
            raise LimitError("this address connects too often; wait, and keep connections open", retry_after_s=wait_s)
        here, there = self.addresses[address], self._elsewhere.addresses.get(address, 0)
        self._bound("address", here, there, self._per_address, self._per_address_total)
        if self.count >= self._most:
            self.refused["full"] += 1
            raise UnavailableError(
                f"this node has {self._most} connections, the most it takes; try another",
                retry_after_s=1,
            )

    def enter(self, address: str) -> None:
        """A client is in."""
        self.count += 1
        self.addresses[address] += 1

    def leave(self, address: str, user: str | None) -> None:
        """A client is gone; `user` is the one that it was counted for."""
        self.count -= 1
        self._fewer(self.addresses, address)
        if user is not None:
            self._fewer(self.users, user)

    def name(self, user: str) -> None:
        """A client has said who it is. Raises LimitError."""
        here, there = self.users[user], self._elsewhere.users.get(user, 0)
        self._bound("user", here, there, self._per_user, self._per_user_total)
        self.users[user] += 1

    def _bound(self, whose: str, here: int, there: int, most: int, total: int) -> None:
        if here >= most:
            where = f"{here} connections to this node"
        elif here + there >= total:
            where, most = f"{here + there} connections to all nodes", total
        else:
            return
        self.refused[whose] += 1
        raise LimitError(f"this {whose} has {where}, and may have {most}; close some", retry_after_s=5)

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
